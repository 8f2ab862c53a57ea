package io.github.sa3edge

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import kotlin.math.log10
import kotlin.math.sqrt
import kotlin.test.assertEquals
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonNull
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.double
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long

/** The vectors of `runtimes/conformance`, as its README says they are written. */
object Vectors {
    val repository: File = File(System.getProperty("sa3.repository") ?: "../../..").canonicalFile
    val folder = File(repository, "runtimes/conformance/vectors")
    val demo = File(repository, "sa3_edge/demo")

    /** Bundles that `make_vectors.py --bundles` makes; null where nobody has made them. */
    fun bundle(name: String): File? = when (name) {
        "demo" -> demo
        else -> File(System.getenv("SA3_CONFORMANCE_BUNDLES") ?: "$repository/build/conformance", name).takeIf { it.isDirectory }
    }

    fun json(name: String): JsonObject = Json.parseToJsonElement(File(folder, "$name.json").readText()).jsonObject

    /** fp32, C order. */
    fun npy(name: String): FloatArray {
        val data = ByteBuffer.wrap(File(folder, name).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
        val start = 10 + data.getShort(8)
        val header = String(data.array(), 10, start - 10, Charsets.ISO_8859_1)
        assert("'<f4'" in header && "'fortran_order': False" in header) { header }
        data.position(start)
        return FloatArray(data.remaining() / 4) { data.float }
    }

    /** The contract's noise times a gain; of fewer than 16 values the first of 16. */
    fun signal(case: JsonObject, shape: List<Int> = case.ints("shape")): FloatArray {
        val count = shape.fold(1) { all, side -> all * side }
        val gain = case["gain"]?.jsonPrimitive?.double?.toFloat() ?: 1f
        val noise = NoiseStream(case.long("seed")).normal(maxOf(count, 16))
        return FloatArray(count) { noise[it] * gain }
    }

    /** A signal of two channels. */
    fun stereo(case: JsonObject, samples: Int): Array<FloatArray> {
        val values = signal(case, listOf(2, samples))
        return arrayOf(values.copyOfRange(0, samples), values.copyOfRange(samples, 2 * samples))
    }
}

fun JsonObject.objects(name: String): List<JsonObject> = getValue(name).jsonArray.map { it.jsonObject }

fun JsonObject.string(name: String): String = getValue(name).jsonPrimitive.content

fun JsonObject.stringOrNull(name: String): String? = get(name)?.takeIf { it !is JsonNull }?.jsonPrimitive?.content

fun JsonObject.int(name: String): Int = getValue(name).jsonPrimitive.int

fun JsonObject.long(name: String): Long = getValue(name).jsonPrimitive.long

fun JsonObject.double(name: String): Double = getValue(name).jsonPrimitive.double

fun JsonObject.ints(name: String): List<Int> = getValue(name).jsonArray.map { it.jsonPrimitive.int }

/** fp32 values from the hex digits of their bits. */
fun JsonElement.floats(): FloatArray = when (this) {
    is JsonArray -> FloatArray(size) { fromBits(get(it).jsonPrimitive.content) }
    else -> floatArrayOf(fromBits(jsonPrimitive.content))
}

private fun fromBits(hex: String) = java.lang.Float.intBitsToFloat(hex.toLong(16).toInt())

fun FloatArray.bits(): List<String> = map { "%08x".format(java.lang.Float.floatToRawIntBits(it)) }

/** Whether [values] are those that [digest] stands for, bit for bit. */
fun assertDigest(digest: JsonObject, values: FloatArray, what: String) {
    val ends = digest.getValue("head").jsonArray.size
    assertEquals(digest.int("count"), values.size, what)
    assertEquals(digest.getValue("head").jsonArray.map { it.jsonPrimitive.content }, values.take(ends).toFloatArray().bits(), "$what: head")
    assertEquals(digest.getValue("tail").jsonArray.map { it.jsonPrimitive.content }, values.takeLast(ends).toFloatArray().bits(), "$what: tail")
    assertEquals(digest.string("sha256"), sha256(values.size) { putFloat(values[it]) }, what)
}

fun assertDigest(digest: JsonObject, values: IntArray, what: String) {
    assertEquals(digest.int("count"), values.size, what)
    val head = digest.getValue("head").jsonArray.map { it.jsonPrimitive.long.toInt() }
    assertEquals(head, values.take(head.size), "$what: head")
    assertEquals(digest.string("sha256"), sha256(values.size) { putInt(values[it]) }, what)
}

private fun sha256(count: Int, put: ByteBuffer.(Int) -> Unit): String {
    val bytes = ByteBuffer.allocate(count * 4).order(ByteOrder.LITTLE_ENDIAN)
    for (i in 0 until count) bytes.put(i)
    return hex(MessageDigest.getInstance("SHA-256").digest(bytes.array()))
}

/** ||a - b|| / ||b|| over all values. */
fun relative(a: FloatArray, b: FloatArray): Double {
    assertEquals(b.size, a.size)
    var difference = 0.0
    var norm = 0.0
    for (i in b.indices) {
        difference += (a[i].toDouble() - b[i]) * (a[i].toDouble() - b[i])
        norm += b[i].toDouble() * b[i]
    }
    return sqrt(difference / norm)
}

/** Signal-to-noise ratio of [a] against [b]. */
fun decibels(a: FloatArray, b: FloatArray): Double = -20 * log10(relative(a, b))

fun every(values: FloatArray, stride: Int): FloatArray = values.filterIndexed { i, _ -> i % stride == 0 }.toFloatArray()
