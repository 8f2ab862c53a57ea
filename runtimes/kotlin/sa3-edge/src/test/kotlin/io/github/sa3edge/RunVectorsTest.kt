package io.github.sa3edge

import java.io.File
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.float
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.Assumptions.assumeTrue
import org.junit.jupiter.api.io.TempDir

/** Graphs and whole runs. Vectors of bundles that are not there are named and skipped. */
class RunVectorsTest {
    @TempDir
    lateinit var folder: File

    private fun bundle(name: String): File? {
        if (name != "demo-base") return Vectors.bundle(name)
        val target = File(folder, name)
        if (target.isDirectory) return target
        Vectors.demo.copyRecursively(target)
        val manifest = Json.parseToJsonElement(File(target, "manifest.json").readText()).jsonObject
        val sampler = manifest.getValue("sampler").jsonObject + Vectors.json("runs").getValue("base").jsonObject
        File(target, "manifest.json").writeText(JsonObject(manifest + ("sampler" to JsonObject(sampler))).toString())
        return target
    }

    private fun demoRuns(name: String) {
        val path = bundle(name)
        assumeTrue(path != null, "no bundle $name: runtimes/conformance/make_vectors.py --bundles build/conformance")
        runs(name, path!!)
    }

    @Test
    fun runsOfTheDemo() = demoRuns("demo")

    @Test
    fun runsOfABaseModel() = demoRuns("demo-base")

    @Test
    fun runsOfTheTinyCheckpoint() = demoRuns("tiny")

    private fun runs(name: String, path: File): Unit = runBlocking {
        val vectors = Vectors.json("runs")
        val bars = vectors.getValue("fp32").jsonObject
        Sa3Pipeline.open(path).use { pipeline ->
            val text = pipeline.bundle.manifest.text
            val tokenizer = Tokenizer.open(pipeline.bundle.resolve(text.tokenizer), text.maxTokens)
            for (case in vectors.objects("runs").filter { it.string("bundle") == name }) {
                val request = requestOf(case.getValue("request").jsonObject, case.getValue("recording") as? JsonObject, folder)
                val made = pipeline.generate(request)
                val what = "$name ${case.string("name")}"
                assertEquals(case.ints("ids"), tokenizer.encode(request.prompt).ids.toList(), what)
                assertEquals(case.double("seconds"), made.seconds, what)
                assertEquals(case.int("samples"), made.audio[0].size, what)
                val latents = relative(made.latents, Vectors.npy(case.string("latents")))
                assertTrue(latents <= bars.double("latents_relative"), "$what: latents $latents")
                val stride = case.int("audio_stride")
                val heard = made.audio.map { every(it, stride) }.reduce { all, channel -> all + channel }
                val audio = decibels(heard, Vectors.npy(case.string("audio")))
                assertTrue(audio >= bars.double("audio_db"), "$what: audio $audio dB")
                println("$what: latents $latents, audio %.1f dB".format(audio))
            }
        }
    }

    @Test
    fun graphs() {
        val vectors = Vectors.json("graphs")
        val engine = OnnxRuntimeEngine()
        for (case in vectors.objects("cases")) {
            val path = bundle(case.string("bundle"))
            if (path == null) {
                println("not run: ${case.string("graph")} of ${case.string("bundle")}, which is not there")
                continue
            }
            val graph = GraphName.values().first { it.key == case.string("graph") }
            val opened = Bundle.open(path)
            val inputs = case.objects("inputs").associate { it.string("name") to tensor(engine, it) }
            assertEquals(opened.manifest.graphs.getValue(graph).inputs.map { it.name }.toSet(), inputs.keys)
            val outputs = engine.load(opened, graph).use { it.run(inputs, Stop()) }
            for (expected in case.objects("outputs")) {
                val tensor = outputs.getValue(expected.string("name"))
                val what = "${case.string("bundle")} ${graph.key} ${expected.string("name")}"
                assertEquals(expected.ints("shape").map { it.toLong() }, tensor.shape.toList(), what)
                val values = every(tensor.floats(), expected.int("stride"))
                val reference = Vectors.npy(expected.string("values"))
                if (case.string("precision") == "fp32") {
                    assertTrue(relative(values, reference) <= vectors.double("fp32_relative"), "$what: ${relative(values, reference)}")
                } else {
                    assertTrue(decibels(values, reference) >= vectors.double("int8_db"), "$what: ${decibels(values, reference)} dB")
                }
            }
        }
    }

    private fun tensor(engine: Engine, case: JsonObject): Tensor {
        val shape = case.ints("shape").map { it.toLong() }.toLongArray()
        val count = case.ints("shape").fold(1) { all, side -> all * side }
        val ids = case["ids"]?.jsonArray?.map { it.jsonPrimitive.long }
        if (ids != null) return engine.longs(ids.toLongArray(), *shape)
        val values = when {
            "fill" in case -> case.getValue("fill").floats()[0].let { fill -> FloatArray(count) { fill } }
            "values" in case -> case.getValue("values").jsonArray.map { it.jsonPrimitive.float }.toFloatArray()
            else -> Vectors.signal(case)
        }
        return engine.floats(values, *shape)
    }
}
