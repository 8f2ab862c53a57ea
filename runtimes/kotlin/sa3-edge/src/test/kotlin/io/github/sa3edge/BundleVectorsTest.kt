package io.github.sa3edge

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.FloatBuffer
import java.util.Base64
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.io.TempDir

class BundleVectorsTest {
    @TempDir
    lateinit var folder: File

    private fun write(vectors: JsonObject, case: JsonObject): File {
        val bundle = File(folder, case.string("name").replace(' ', '-')).apply { mkdir() }
        val files = vectors.getValue("files").jsonObject + case.getValue("files").jsonObject
        for ((name, data) in files) {
            if (data !is JsonNull) File(bundle, name).writeBytes(Base64.getDecoder().decode(data.jsonPrimitive.content))
        }
        case.stringOrNull("manifest")?.let { File(bundle, "manifest.json").writeText(it) }
        return bundle
    }

    /** What the case asks for: opening, and of some a run of a graph. */
    private fun attempt(path: File, case: JsonObject): FloatArray? {
        val bundle = Bundle.open(path)
        if (case.stringOrNull("error") != null && "load" !in case) return null
        val graph = GraphName.values().first { it.key == (case.stringOrNull("load") ?: "text_encoder") }
        val engine = OnnxRuntimeEngine()
        val ids = case["input_ids"]?.jsonArray?.map { it.jsonPrimitive.long } ?: listOf(0L)
        engine.load(bundle, graph).use { session ->
            engine.longs(ids.toLongArray(), 1, ids.size.toLong()).use { input ->
                return session.run(mapOf("input_ids" to input), Stop()).getValue("hidden").use { it.floats() }
            }
        }
    }

    @Test
    fun goodBundlesOpenAndOthersAreRefused() {
        val vectors = Vectors.json("bundles")
        for (case in vectors.objects("cases")) {
            val name = case.string("name")
            val result = runCatching { attempt(write(vectors, case), case) }
            val error = result.exceptionOrNull()
            when (case.stringOrNull("error")) {
                null -> assertDigest(case.getValue("hidden").jsonObject, result.getOrThrow()!!, name)
                "BundleError" -> assertIs<BundleException>(error, "$name: $error")
                "EngineError" -> assertIs<EngineException>(error, "$name: $error")
                else -> error(case)
            }
            if (error != null) {
                assertContains(error.message!!, case.string("says"), message = name)
                assertTrue('\n' !in error.message!!, "$name: one line")
            }
        }
    }

    @Test
    fun integerProductsAreExact() {
        val case = Vectors.json("integer")
        val x = Vectors.signal(case.getValue("x").jsonObject)
        val clip = case.getValue("x").jsonObject.double("clip").toFloat()
        val clipped = FloatArray(x.size) { x[it].coerceIn(-clip, clip) }
        val shape = case.getValue("x").jsonObject.ints("shape").map { it.toLong() }.toLongArray()
        val environment = OrtEnvironment.getEnvironment()
        OrtSession.SessionOptions().use { options ->
            if (OnnxRuntimeEngine.saturates) options.addConfigEntry("session.x64quantprecision", "1")
            environment.createSession(File(Vectors.folder, case.string("model")).path, options).use { session ->
                OnnxTensor.createTensor(environment, FloatBuffer.wrap(clipped), shape).use { input ->
                    session.run(mapOf("x" to input)).use { result ->
                        val sums = (result.get("sums").get() as OnnxTensor).intBuffer.array()
                        val q = (result.get("q").get() as OnnxTensor).byteBuffer
                        assertDigest(case.getValue("q").jsonObject, IntArray(q.remaining()) { q.get(it).toInt() and 255 }, "q")
                        assertDigest(case.getValue("sums").jsonObject, sums, "sums")
                    }
                }
            }
        }
    }

    @Test
    fun theExtremeProductIsExactWithTheOption() {
        assertEquals(setOf(OnnxRuntimeEngine.EXTREME), OnnxRuntimeEngine.product(exact = true).toSet())
    }
}
