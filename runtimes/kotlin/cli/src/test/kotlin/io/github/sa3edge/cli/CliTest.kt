package io.github.sa3edge.cli

import java.io.ByteArrayOutputStream
import java.io.File
import java.io.PrintStream
import java.util.concurrent.TimeUnit
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.io.TempDir

/** The command line, in this process where that shows the same. */
class CliTest {
    @TempDir
    lateinit var folder: File

    private val demo = File(System.getProperty("sa3.repository"), "sa3_edge/demo").canonicalPath

    private class Result(val status: Int, val out: String, val err: String)

    private fun start(vararg arguments: String): Process {
        val java = File(System.getProperty("java.home"), "bin/java").path
        val command = listOf(java, "-cp", System.getProperty("java.class.path"), "io.github.sa3edge.cli.CliKt") + arguments
        return ProcessBuilder(hearing + command).directory(folder).redirectError(File(folder, "err.txt")).redirectOutput(File(folder, "out.txt")).start()
    }

    // A shell starts what it runs in the background deaf to SIGINT, and Java keeps to that.
    private val hearing = listOf("env", "--default-signal=INT").takeIf { env ->
        runCatching { ProcessBuilder(env + "true").start().waitFor() == 0 }.getOrDefault(false)
    }.orEmpty()

    private fun result(process: Process): Result {
        assertTrue(process.waitFor(300, TimeUnit.SECONDS), "it does not end")
        val texts = listOf("out.txt", "err.txt").map { name -> File(folder, name).let { file -> file.readText().also { file.delete() } } }
        return Result(process.exitValue(), texts[0], texts[1])
    }

    private fun run(vararg arguments: String): Result {
        val out = ByteArrayOutputStream()
        val err = ByteArrayOutputStream()
        val status = status(arguments.toList(), Console(PrintStream(out, true, "UTF-8"), PrintStream(err, true, "UTF-8")))
        return Result(status, out.toString("UTF-8"), err.toString("UTF-8"))
    }

    private fun file(name: String) = File(folder, name).path

    private fun generate(vararg arguments: String) = run("generate", "--model", demo, "--seconds", "0.5", "--steps", "1", *arguments)

    @Test
    fun aClipIsWrittenAndDescribed() {
        val result = generate("lofi piano", "--seed", "7", "-o", file("a.wav"), "--save-latents", file("a.npy"), "--json")
        assertEquals(0, result.status, result.err)
        val made = Json.parseToJsonElement(result.out).jsonObject
        assertEquals("7", made.getValue("seed").jsonPrimitive.content)
        assertEquals("22050", made.getValue("samples").jsonPrimitive.content)
        // Whether the demo is trained or not, that is said.
        val untrained = "untrained" in made.getValue("notes").jsonArray.toString()
        assertEquals(made.getValue("synthetic").jsonPrimitive.content.toBoolean(), untrained)
        assertEquals(setOf("a.wav", "a.npy"), folder.list()!!.toSet())
        assertTrue(File(folder, "a.wav").length() > 22050 * 6)
    }

    @Test
    fun withoutANameItIsNamedAfterThePrompt() {
        val result = result(start("generate", "Lofi, piano!", "--model", demo, "--seconds", "0.5", "--steps", "1", "--seed", "7"))
        assertEquals(0, result.status, result.err)
        assertTrue(result.out.startsWith("lofi-piano-7.wav  0.50 s of audio"), result.out)
        assertEquals(listOf("lofi-piano-7.wav"), folder.list()!!.toList())
    }

    @Test
    fun errorsOfAProcessExitWithTwo() {
        val result = result(start("generate", "x", "--model", demo, "--seconds", "0.01"))
        assertEquals(2, result.status)
        assertEquals("error: seconds must be a number from 0.1 on, got 0.01", result.err.trim())
        assertEquals("", result.out)
    }

    @Test
    fun recordingsAreEdited() {
        assertEquals(0, generate("piano", "--seed", "1", "-o", file("a.wav")).status)
        val edits = listOf(
            listOf("--noise-level", "0.5") to "variation", listOf("--inpaint", "0.1:0.2", "--inpaint", "0.3:") to "inpainting",
        )
        for ((options, mode) in edits) {
            val result = generate("drums", "--init-audio", file("a.wav"), *options.toTypedArray(), "-o", file("b.wav"), "--overwrite", "--json")
            assertEquals(0, result.status, result.err)
            val made: JsonObject = Json.parseToJsonElement(result.out).jsonObject
            assertEquals(mode, made.getValue("mode").jsonPrimitive.content)
            assertEquals("a.wav", made.getValue("options").jsonObject.getValue("init_audio").jsonPrimitive.content)
        }
        val longer = run("generate", "x", "--model", demo, "--steps", "1", "--init-audio", file("a.wav"), "--extend", "0.5", "-o", file("c.wav"), "--json")
        assertEquals("44100", Json.parseToJsonElement(longer.out).jsonObject.getValue("samples").jsonPrimitive.content)
    }

    /** Here, not in its folder, as this process cannot go there: names of files get their folder, in messages too. */
    @Test
    fun invalidRequestsExitWithTwoAndOneLineAsEveryHostWordsIt() {
        val vectors = File(System.getProperty("sa3.repository"), "runtimes/conformance/vectors/requests.json")
        val commands = Json.parseToJsonElement(vectors.readText()).jsonObject.getValue("commands").jsonObject
        val files = commands.getValue("files").jsonObject
        for ((name, text) in files) File(folder, name).writeText(text.jsonPrimitive.content)
        val shared = commands.getValue("refused").jsonArray.map { case ->
            case.jsonObject.getValue("arguments").jsonArray.map { it.jsonPrimitive.content } to
                case.jsonObject.getValue("says").jsonPrimitive.content
        }
        val own = listOf(
            listOf("generate", "x") to "--model DIR",
            listOf("generate", "x", "--model", folder.path) to "is not a bundle",
            listOf("generate", "x", "--model", "MODEL", "--seconds", "nan") to "got nan",
            listOf("generate", "x", "--model", "MODEL", "--threads", "99999") to "threads must be from 1",
        )
        val path = Regex(""".*\.(wav|npy)""")
        for ((arguments, says) in shared + own) {
            val words = arguments.map { if (it == "MODEL") demo else if (path.matches(it)) file(it) else it }
            val result = run(*words.toTypedArray())
            assertEquals(2, result.status, "$arguments: ${result.err}")
            assertContains(result.err.replace(folder.path + File.separator, ""), says)
            assertEquals(1, result.err.trim().lines().size, result.err)
            assertEquals("", result.out)
        }
        assertEquals(files.keys, folder.list()!!.toSet())
    }

    @Test
    fun anInterruptEndsItAndLeavesNothing() {
        assumeTrue(File("/bin/kill").exists() || File("/usr/bin/kill").exists(), "no kill here")
        val process = start("generate", "x", "--model", demo, "--seconds", "10", "--steps", "10000", "--json", "-o", "a.wav")
        // Whenever it comes, before or while graphs run, it ends with 130. Java itself ends so before the command listens.
        Thread.sleep(3000)
        ProcessBuilder("kill", "-INT", process.pid().toString()).start().waitFor()
        val result = result(process)
        assertEquals(130, result.status, result.err)
        assertEquals(emptyList(), folder.list()!!.toList())
    }

    @Test
    fun helpAndVersion() {
        assertEquals(HELP, run("generate", "--help").out)
        assertTrue(run("--version").out.startsWith("sa3-edge "))
        assertEquals(2, run().status)
    }
}
