@file:JvmName("CliKt")

package io.github.sa3edge.cli

import io.github.sa3edge.ClipRecord
import io.github.sa3edge.Generation
import io.github.sa3edge.OnnxRuntimeEngine
import io.github.sa3edge.PipelineOptions
import io.github.sa3edge.Progress
import io.github.sa3edge.RequestException
import io.github.sa3edge.Sa3Exception
import io.github.sa3edge.Sa3Pipeline
import io.github.sa3edge.Stage
import io.github.sa3edge.VERSION
import io.github.sa3edge.writeNpy
import io.github.sa3edge.writeWav
import java.io.File
import java.io.FileDescriptor
import java.io.FileOutputStream
import java.io.PrintStream
import java.util.concurrent.CancellationException
import kotlin.system.exitProcess
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.runBlocking
import sun.misc.Signal

private const val INTERRUPTED = 130

private val STAGES = mapOf(
    Stage.TEXT to "Reading the prompt",
    Stage.ENCODE to "Encoding the recording",
    Stage.CONDITION to "Conditioning",
    Stage.DENOISE to "Denoising",
    Stage.DECODE to "Decoding",
)

/** Where a command writes. */
internal class Console(val out: PrintStream, val err: PrintStream)

/** Runs a command and exits: 0, 1 if something did not work, 2 for an invalid request, 130 if interrupted. */
public fun main(arguments: Array<String>) {
    // In UTF-8, whatever the system's encoding.
    val out = PrintStream(FileOutputStream(FileDescriptor.out), false, "UTF-8")
    val err = PrintStream(FileOutputStream(FileDescriptor.err), true, "UTF-8")
    val status = status(arguments.toList(), Console(out, err))
    out.flush()
    exitProcess(if (out.checkError()) 1 else status)
}

/** Runs a command; what goes wrong is one line. */
internal fun status(arguments: List<String>, console: Console): Int {
    val (status, message, error) = try {
        return run(arguments, console)
    } catch (_: CancellationException) {
        return INTERRUPTED
    } catch (error: Sa3Exception) {
        Triple(error.exitCode, error.message, error)
    } catch (error: OutOfMemoryError) {
        Triple(1, "out of memory (${error.message}); give Java more: java -Xmx2g -jar cli.jar ...", error)
    } catch (error: Exception) {
        Triple(1, "a fault of sa3-edge: $error", error)
    }
    console.err.println("error: $message")
    if ("--debug" in arguments) error.printStackTrace(console.err)
    return status
}

private fun run(arguments: List<String>, console: Console): Int {
    if (arguments.any { it == "-h" || it == "--help" }) {
        console.out.print(HELP)
        return 0
    }
    when (arguments.firstOrNull()) {
        "--version" -> console.out.println("sa3-edge $VERSION (JVM)")
        "generate" -> generate(parseArguments(arguments.drop(1)), console)
        null -> {
            console.err.print(HELP)
            return 2
        }
        else -> throw RequestException("No such command '${arguments[0]}'.")
    }
    return 0
}

private fun generate(arguments: Arguments, console: Console) {
    checkFiles(arguments)
    val request = arguments.clip.toRequest(arguments.prompt)
    if (!arguments.model.isDirectory) throw RequestException("no bundle lies in ${arguments.model}")
    val options = PipelineOptions(engine = OnnxRuntimeEngine(arguments.threads))
    Sa3Pipeline.open(arguments.model, options).use { pipeline ->
        val made = runBlocking {
            val work = async(Dispatchers.Default) { pipeline.generate(request, bar(arguments, console)) }
            Signal.handle(Signal("INT")) {
                console.err.println("interrupted")
                work.cancel()
            }
            work.await()
        }
        write(arguments, pipeline, made, console)
    }
}

/** A line that counts, where people look. */
private fun bar(arguments: Arguments, console: Console) = Progress { stage, done, total ->
    if (System.console() != null && !arguments.json && !arguments.quiet) {
        console.err.print("\r%-24s %4d/%d%s".format(STAGES.getValue(stage), done, total, if (done == total) "\n" else ""))
    }
}

/** Before any work: throws [RequestException] if the files cannot be made. */
private fun checkFiles(arguments: Arguments) {
    arguments.latents?.let { if (it.extension != "npy") throw RequestException("the latents must be a .npy file, got $it") }
    arguments.output?.let { file ->
        if (file.extension.isEmpty()) throw RequestException("the output $file has no suffix; choose wav, as in a.wav")
        if (file.extension.lowercase() != "wav") throw RequestException(".${file.extension} is no known format; choose wav")
    }
    for (file in listOfNotNull(arguments.output ?: File("untitled.wav"), arguments.latents)) {
        val folder = file.absoluteFile.parentFile
        if (file.isDirectory) throw RequestException("$file is a directory; name a file")
        if (!folder.isDirectory) throw RequestException("the directory ${file.parentFile} does not exist")
        val recording = arguments.clip.initAudio
        if (recording != null && file.exists() && recording.canonicalFile == file.canonicalFile) {
            throw RequestException("$file is the recording that is edited and would be lost; name another file")
        }
        if ((file == arguments.output || file == arguments.latents) && file.exists() && !arguments.overwrite) {
            val otherwise = if (file == arguments.output) ", without --output a clip gets a name of its own" else ""
            throw RequestException("$file exists and is not replaced; --overwrite does$otherwise")
        }
        try {
            File.createTempFile(".sa3-edge-", ".tmp", folder).delete()
        } catch (error: java.io.IOException) {
            throw RequestException("$file cannot be written: ${error.message}", error)
        }
    }
}

private fun write(arguments: Arguments, pipeline: Sa3Pipeline, made: Generation, console: Console) {
    val notes = made.notes.toMutableList()
    val model = pipeline.bundle.manifest.model
    if (model.synthetic) notes.add("${model.name} is untrained (random weights): what it makes is noise")
    val record = ClipRecord(arguments.prompt, arguments.clip, made, pipeline, model.name)
    val file = arguments.output ?: freeName(arguments.prompt, made.seed)
    val clipped = writeWav(file, made.audio, made.sampleRate, arguments.depth, record.toWavInfo())
    if (clipped > 0) notes.add("$clipped samples were louder than full scale and are clipped")
    arguments.latents?.let { writeNpy(it, made.latents, 1, made.latents.size / made.frames, made.frames) }
    if (arguments.json) {
        console.out.println(record.toJson(file, arguments.latents, notes))
        return
    }
    if (arguments.quiet) return
    notes.forEach { console.err.println("note: $it") }
    val seconds = made.audio[0].size / made.sampleRate.toDouble()
    val total = made.timings.getValue("total")
    console.out.println("%s  %.2f s of audio in %.2f s (%.1fx real time)  seed %d".format(java.util.Locale.ROOT, file, seconds, total, seconds / total, made.seed))
}

/** A readable name in the current directory that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav. */
private fun freeName(prompt: String, seed: Long): File {
    val words = Regex("""[\p{L}\p{N}_]+""").findAll(prompt.lowercase()).joinToString("-") { it.value }
    val stem = "${words.take(40).trim('-').ifEmpty { "untitled" }}-$seed"
    return (sequenceOf("$stem.wav") + generateSequence(2) { it + 1 }.map { "$stem-$it.wav" }).map(::File).first { !it.exists() }
}
