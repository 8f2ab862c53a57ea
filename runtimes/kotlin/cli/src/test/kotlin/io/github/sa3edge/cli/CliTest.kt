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
        return ProcessBuilder(command).directory(folder).redirectError(File(folder, "err.txt")).redirectOutput(File(folder, "out.txt")).start()
    }

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

    @Test
    fun invalidRequestsExitWithTwoAndOneLine() {
        File(folder, "there.wav").writeText("x")
        val cases = mapOf(
            listOf("generate") to "give a prompt",
            listOf("generate", "x") to "--model DIR",
            listOf("generate", "x", "y", "--model", demo) to "unexpected extra argument(s) (y)",
            listOf("generate", "x", "--model", "nowhere") to "no bundle lies in nowhere",
            listOf("generate", "x", "--model", folder.path) to "is not a bundle",
            listOf("generate", "x", "--model", demo, "--seconds", "abc") to "'abc' is not a valid number",
            listOf("generate", "x", "--model", demo, "--steps", "1.5") to "'1.5' is not a valid integer",
            listOf("generate", "x", "--model", demo, "--seconds", "nan") to "got nan",
            listOf("generate", "x", "--model", demo, "--seconds") to "requires an argument",
            listOf("generate", "x", "--model", demo, "--bogus") to "No such option: --bogus",
            listOf("generate", "x", "--model", demo, "--seconds", "0.01") to "seconds must be a number from 0.1 on, got 0.01",
            listOf("generate", "x", "--model", demo, "--bits", "12") to "wav cannot store 12 bits",
            listOf("generate", "x", "--model", demo, "-o", "a.flac") to "choose wav",
            listOf("generate", "x", "--model", demo, "-o", file("none/a.wav")) to "none does not exist",
            listOf("generate", "x", "--model", demo, "-o", file("there.wav")) to "is there already",
            listOf("generate", "x", "--model", demo, "--init-audio", file("there.wav"), "-o", file("there.wav"), "--overwrite") to "is the recording",
            listOf("generate", "x", "--model", demo, "--save-latents", "a.txt") to ".npy",
            listOf("generate", "x", "--model", demo, "--threads", "99999") to "threads must be from 1",
            listOf("frob") to "No such command 'frob'",
        )
        for ((arguments, says) in cases) {
            val result = run(*arguments.toTypedArray())
            assertEquals(2, result.status, "$arguments: ${result.err}")
            assertContains(result.err, says)
            assertEquals(1, result.err.trim().lines().size, result.err)
            assertEquals("", result.out)
        }
        assertEquals(listOf("there.wav"), folder.list()!!.toList())
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
