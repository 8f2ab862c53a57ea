package io.github.sa3edge

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonPrimitive
import kotlinx.serialization.json.double
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import org.junit.jupiter.api.io.TempDir

class RequestVectorsTest {
    @TempDir
    lateinit var folder: File

    private val vectors = Vectors.json("requests")

    @Test
    fun times() {
        for (case in vectors.objects("times")) {
            val text = case.string("text")
            val message = case.stringOrNull("message")
            if (message == null) assertEquals(case.double("seconds"), parseTime(text), text)
            else assertEquals(message, assertFailsWith<RequestException>(text) { parseTime(text) }.message)
        }
    }

    @Test
    fun regions() {
        for (case in vectors.objects("regions")) {
            val text = case.string("text")
            val message = case.stringOrNull("message")
            if (message != null) {
                assertEquals(message, assertFailsWith<RequestException>(text) { parseRegion(text) }.message)
                continue
            }
            val (start, end) = case.getValue("region").jsonArray.map { if (it is JsonNull) null else it.jsonPrimitive.double }
            assertEquals(Region(start, end), parseRegion(text), text)
        }
    }

    @Test
    fun refusals(): Unit = runBlocking {
        Sa3Pipeline.open(Vectors.demo).use { pipeline ->
            for (case in vectors.objects("refused")) {
                val recording = case.getValue("recording") as? JsonObject
                val error = assertFailsWith<RequestException>("$case") {
                    val request = requestOf(JsonObject(mapOf("prompt" to JsonPrimitive("piano")) + case.getValue("request").jsonObject), recording, folder)
                    pipeline.generate(request)
                }
                assertEquals(case.string("message"), error.message!!.replace("$folder${File.separator}", ""))
                assertEquals(emptySet(), pipeline.loaded, "nothing is computed before a request is refused")
            }
        }
    }

    @Test
    fun records(): Unit = runBlocking {
        Sa3Pipeline.open(Vectors.demo).use { pipeline ->
            for (case in vectors.objects("records")) {
                val options = optionsOf(case.getValue("options").jsonArray.map { it.jsonPrimitive.content })
                val made = pipeline.generate(options.toRequest(case.string("prompt")))
                val record = ClipRecord(case.string("prompt"), options, made, pipeline, "demo")
                val host = listOf("version", "engine", "engine_version", "model", "bundle").associateWith { "host" }
                assertEquals(case.string("record"), canonicalJson(record.toMap() + host))
            }
        }
    }

    /** The few options that the vectors' command lines have. */
    private fun optionsOf(arguments: List<String>): ClipOptions {
        var options = ClipOptions()
        val rest = arguments.iterator()
        while (rest.hasNext()) {
            options = when (val name = rest.next()) {
                "--seconds" -> options.copy(seconds = parseTime(rest.next()))
                "--seed" -> options.copy(seed = rest.next().toLong())
                "--steps" -> options.copy(steps = rest.next().toInt())
                "--headroom" -> options.copy(headroom = parseTime(rest.next()))
                "--cfg" -> options.copy(cfg = rest.next().toDouble())
                "--apg" -> options.copy(apg = rest.next().toDouble())
                "--negative-prompt" -> options.copy(negativePrompt = rest.next())
                "--no-limiter" -> options.copy(limiter = false)
                else -> error(name)
            }
        }
        return options
    }

    @Test
    fun numbers() {
        for (case in vectors.objects("numbers")) {
            val value = java.lang.Double.longBitsToDouble(java.lang.Long.parseUnsignedLong(case.string("bits"), 16))
            assertEquals(case.string("canonical"), canonicalJson(value))
        }
    }
}

/** A request's JSON as the command line would have it; the recording is a file of floats. */
fun requestOf(request: JsonObject, recording: JsonObject?, folder: File): GenerationRequest {
    fun number(name: String) = request[name]?.takeIf { it !is JsonNull }?.jsonPrimitive?.double
    var options = ClipOptions(
        seconds = number("seconds"),
        seed = number("seed")?.toLong(),
        steps = number("steps")?.toInt(),
        headroom = number("headroom"),
        cfg = number("cfg"),
        apg = number("apg") ?: 1.0,
        negativePrompt = request.stringOrNull("negative_prompt") ?: "",
        noiseLevel = number("noise_level"),
        schedule = request.stringOrNull("schedule"),
        inpaint = request["inpaint"]?.jsonArray?.map { it.jsonPrimitive.content } ?: emptyList(),
        extend = number("extend"),
        prepend = number("prepend"),
        splice = request.stringOrNull("splice") != "false",
        limiter = request.stringOrNull("limiter") != "false",
    )
    val known = setOf("prompt", "init_audio") + options.toMap().keys
    assertEquals(emptySet(), request.keys - known, "options that this test does not know")
    if (recording != null) {
        val file = File(folder, "recording.wav")
        writeWav(file, Vectors.stereo(recording, recording.int("samples")), 44100, WavDepth.FLOAT_32)
        options = options.copy(initAudio = file)
    }
    return options.toRequest(request.string("prompt"))
}
