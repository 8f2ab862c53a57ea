package io.github.sa3edge

import java.io.File
import kotlin.math.PI
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive

/** What a host computes beside the graphs, against the Python host's values. */
class ArithmeticVectorsTest {
    private object Platform : Functions {
        override fun log(x: Double) = Math.log(x)

        override fun cos(x: Double) = Math.cos(x)

        override fun sin(x: Double) = Math.sin(x)
    }

    @Test
    fun everyFileOfVectorsHasItsTest() {
        val here = setOf(
            "prng", "noise", "schedule", "variation", "lengths", "tiles", "mask", "splice", "guidance", "sampler", "limiter",
        )
        val elsewhere = setOf("tokenizer", "requests", "bundles", "integer", "graphs", "runs", "limits", "version")
        val coreMlOnly = setOf("functions")
        val files = Vectors.folder.listFiles()!!.filter { it.extension == "json" }.map { it.nameWithoutExtension }.toSet()
        assertEquals(here + elsewhere + coreMlOnly, files)
        assertEquals(2, Vectors.json("version").getValue("version").jsonPrimitive.int)
    }

    @Test
    fun prng() {
        for (case in Vectors.json("prng").objects("cases")) {
            val generator = Mt19937(case.long("seed").toInt())
            val integers = IntArray(case.getValue("integers").jsonObject.int("count")) { generator.next() }
            assertDigestOfUnsigned(case.getValue("integers").jsonObject, integers)
            assertEquals(case.getValue("at_623").jsonArray.map { it.jsonPrimitive.content.toLong().toInt() }, integers.slice(623..625))
        }
    }

    private fun assertDigestOfUnsigned(digest: JsonObject, integers: IntArray) = assertDigest(digest, integers, "integers")

    @Test
    fun noiseByStrictMath() = noise(Functions.Strict)

    @Test
    fun noiseByMath() = noise(Platform)

    private fun noise(functions: Functions) {
        val vectors = Vectors.json("noise")
        for (case in vectors.objects("streams")) {
            val stream = NoiseStream(case.long("seed"), functions)
            for (draw in case.objects("draws")) assertDigest(draw, stream.normal(draw.int("count")), "noise of ${case.long("seed")}")
        }
        for (case in vectors.objects("latents")) {
            val noise = LatentNoise(case.long("seed"), case.int("channels"), case.int("allocated"), case.int("valid"), functions)
            for (draw in case.objects("draws")) assertDigest(draw, noise.draw(), "latent noise of ${case.long("seed")}")
        }
    }

    @Test
    fun schedules() {
        for (case in Vectors.json("schedule").objects("cases")) {
            val t = schedule(case.int("steps"), case.double("logsnr_start"), case.double("logsnr_end"))
            assertEquals(case.getValue("t").floats().bits(), t.bits(), "$case")
        }
    }

    @Test
    fun variations() {
        for (case in Vectors.json("variation").objects("cases")) {
            val level = case.double("noise_level")
            val line = Triple(case.int("steps"), case.double("logsnr_start"), case.double("logsnr_end"))
            for (kind in VariationSchedule.values()) {
                val t = variationSchedule(line.first, line.second, line.third, level, kind)
                assertEquals(case.getValue(kind.key).floats().bits(), t.bits(), "$kind $case")
            }
        }
    }

    @Test
    fun lengths() {
        val vectors = Vectors.json("lengths")
        val audio = vectors.getValue("audio").jsonObject
        val demo = Manifest.parse(File(Vectors.demo, "manifest.json").readBytes())
        val manifest = demo.copy(
            audio = demo.audio.copy(
                sampleRate = audio.int("sample_rate"), samplesPerFrame = audio.int("samples_per_frame"), maxFrames = audio.int("max_frames"),
            ),
        )
        for (case in vectors.objects("cases")) {
            val planned = planLengths(case.double("seconds"), case.double("headroom"), manifest)
            assertEquals(case.ints("samples_valid_allocated"), listOf(planned.samples, planned.valid, planned.allocated), "$case")
        }
        for (case in vectors.objects("seconds_of")) {
            assertEquals(case.double("seconds"), secondsOf(case.long("samples"), manifest.audio.sampleRate), "$case")
        }
        for (case in vectors.objects("refused")) {
            val error = assertFailsWith<RequestException> { planLengths(case.double("seconds"), case.double("headroom"), manifest) }
            assertEquals(case.string("message"), error.message)
        }
    }

    private fun tilesOf(case: JsonObject) = Tiles(case.int("frames"), case.int("overlap"), case.int("multiple"))

    @Test
    fun tiles() {
        for (case in Vectors.json("tiles").objects("cases")) {
            val full = case.string("full").toBoolean()
            val planned = planTiles(case.int("wanted"), case.int("available"), tilesOf(case), full)
            val expected = case.getValue("tiles").jsonArray.map { tile -> tile.jsonArray.map { it.jsonPrimitive.int } }
            assertEquals(expected, planned.map { listOf(it.start, it.stop, it.keepStart, it.keepStop) }, "$case")
        }
    }

    @Test
    fun decodings() {
        for (case in Vectors.json("tiles").objects("decoding")) {
            val signal = case.getValue("latents").jsonObject
            val rows = signal.ints("shape")[1]
            val per = case.int("samples_per_frame")
            val seen = ArrayList<List<String>>()
            val audio = Array(2) { FloatArray(case.int("wanted") * per) }
            var written = 0
            decodeTiles(Vectors.signal(signal), rows, case.int("wanted"), tilesOf(case), 2, per, { tile, frames ->
                seen.add(tile.copyOf(frames).bits())
                FloatArray(2 * frames * per) { tile[it / per] }
            }) { piece, _ ->
                for (channel in 0..1) piece[channel].copyInto(audio[channel], written)
                written += piece[0].size
            }
            val expected = case.getValue("first_channel_of_each_tile").jsonArray.map { it.floats().bits() }
            assertEquals(expected, seen)
            assertDigest(case.getValue("audio").jsonObject, audio[0] + audio[1], "decoding")
        }
    }

    @Test
    fun masks() {
        val vectors = Vectors.json("mask")
        for (case in vectors.objects("cases")) {
            val regions = case.getValue("regions").jsonArray.map { span -> span.jsonArray.map { it.jsonPrimitive.int } }
            val mask = keepMask(
                Lengths(case.int("samples"), case.int("valid"), case.int("valid")),
                regions.map { (start, end) -> Span(start, end) }, vectors.int("samples_per_frame"),
            )
            assertEquals(case.string("keep"), mask.joinToString("") { if (it == 1f) "1" else "0" }, "$case")
        }
    }

    @Test
    fun spliced() {
        val case = Vectors.json("splice")
        val samples = case.getValue("made").jsonObject.ints("shape")[1]
        val recorded = case.getValue("recording").jsonObject.ints("shape")[1]
        val recording = Vectors.stereo(case.getValue("recording").jsonObject, recorded)
        val regions = case.getValue("regions").jsonArray.map { span -> span.jsonArray.map { it.jsonPrimitive.int } }.map { (a, b) -> Span(a, b) }
        val plan = Plan(samples / 44100.0, Lengths(samples, 2, 2), recording, regions, true)
        val whole = Vectors.stereo(case.getValue("made").jsonObject, samples)
        // In pieces, as a clip comes.
        val joined = Array(2) { FloatArray(samples) }
        for (start in 0 until samples step 1700) {
            val piece = Array(2) { whole[it].copyOfRange(start, minOf(samples, start + 1700)) }
            splice(piece, start, plan, case.int("rate"))
            for (channel in 0..1) piece[channel].copyInto(joined[channel], start)
        }
        val expected = Vectors.npy(case.string("expected"))
        val fade = case.double("fade_seconds") * case.int("rate")
        for (channel in 0..1) {
            for (i in 0 until samples) {
                val distance = regions.minOf { maxOf(it.start - i, i - it.end + 1, 0) }
                val difference = abs(expected[channel * samples + i] - joined[channel][i])
                assertTrue(difference <= if (distance > 0 && distance < fade) case.double("tolerance") else 0.0, "$i: $difference")
            }
        }
    }

    @Test
    fun guidance() {
        val vectors = Vectors.json("guidance")
        val shape = vectors.ints("shape")
        fun signal(name: String) = Vectors.signal(vectors.getValue(name).jsonObject, shape)
        for (case in vectors.objects("cases")) {
            val t = case.getValue("t").floats()[0]
            val conditional = Velocity { _, _ -> signal("conditional") }
            val unconditional = Velocity { _, _ -> signal("unconditional") }
            val made = guided(conditional, unconditional, case.double("cfg"), case.double("apg")).at(signal("x"), t)
            assertNear(case.getValue("velocity").floats(), made, vectors.double("tolerance"))
        }
    }

    @Test
    fun samplers() {
        val vectors = Vectors.json("sampler")
        val sine = Velocity { x, t -> FloatArray(x.size) { (Math.sin(3.0 * x[it]) * t).toFloat() } }
        for (case in vectors.objects("cases")) {
            val noise = LatentNoise(vectors.long("seed"), vectors.int("channels"), vectors.int("allocated"), vectors.int("valid"))
            val t = schedule(case.int("steps"), vectors.double("logsnr_start"), vectors.double("logsnr_end"))
            val start = noise.draw()
            val steps = ArrayList<Int>()
            val made = if (case.string("objective") == Objective.RF_DENOISER.key) {
                pingPong(sine, start, t, noise::draw) { steps.add(it) }
            } else {
                euler(sine, start, t) { steps.add(it) }
            }
            assertNear(case.getValue("latents").floats(), made, vectors.double("tolerance"))
            assertEquals((1..case.int("steps")).toList(), steps)
        }
    }

    private fun assertNear(expected: FloatArray, made: FloatArray, tolerance: Double) {
        assertEquals(expected.size, made.size)
        for (i in expected.indices) assertEquals(expected[i].toDouble(), made[i].toDouble(), tolerance)
    }

    @Test
    fun limiter() {
        val vectors = Vectors.json("limiter")
        for (case in vectors.objects("cases")) {
            val samples = case.int("samples")
            val gains = case.getValue("gains").jsonArray.map { it.jsonPrimitive.content.toDouble() }
            val audio = Array(gains.size) { channel ->
                FloatArray(samples) { i ->
                    (gains[channel] * Math.sin(2 * PI * (case.double("hz") * i / 44100 + case.double("phase")))).toFloat()
                }
            }
            val limited = limitInPieces(audio, 3000)
            if (case.string("unchanged").toBoolean()) {
                for (channel in audio.indices) assertEquals(audio[channel].bits(), limited[channel].bits(), case.string("name"))
                continue
            }
            val ceiling = vectors.double("ceiling") * Math.pow(10.0, 0.1 / 20)
            for (channel in limited) assertTrue(truePeak(channel) <= ceiling, "${case.string("name")}: ${truePeak(channel)}")
            for (i in 0 until samples) {
                // One gain for all channels.
                assertEquals(limited[0][i] * gains[1], limited[1][i] * gains[0], 1e-6)
            }
        }
    }
}

/** As the pipeline limits a clip: in pieces of some length. */
internal fun limitInPieces(audio: Array<FloatArray>, length: Int): Array<FloatArray> {
    val limiter = Limiter(audio.size, 44100)
    val out = Array(audio.size) { FloatArray(0) }
    for (start in audio[0].indices step length) {
        val piece = Array(audio.size) { audio[it].copyOfRange(start, minOf(audio[it].size, start + length)) }
        limiter.push(piece).forEachIndexed { channel, samples -> out[channel] += samples }
    }
    limiter.finish().forEachIndexed { channel, samples -> out[channel] += samples }
    return out
}

/** The loudest value of the band-limited signal at every eighth of a sample, away from the ends: by a long sinc. */
internal fun truePeak(samples: FloatArray): Double {
    val kernels = (0..7).map { phase ->
        DoubleArray(321) { k ->
            val x = phase / 8.0 - (k - 160)
            (0.5 + 0.5 * Math.cos(PI * x / 161)) * if (x == 0.0) 1.0 else Math.sin(PI * x) / (PI * x)
        }
    }
    var peak = 0.0
    for (at in 200 until samples.size - 200) {
        for (kernel in kernels) {
            var sum = 0.0
            for (k in 0..320) sum += samples[at + k - 160] * kernel[k]
            peak = maxOf(peak, abs(sum))
        }
    }
    return peak
}
