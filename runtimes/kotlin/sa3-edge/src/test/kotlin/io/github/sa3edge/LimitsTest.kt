package io.github.sa3edge

import java.io.File
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonArray
import kotlinx.serialization.json.JsonElement
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.int
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.long
import org.junit.jupiter.api.io.TempDir

/** The limits that all hosts hold a stranger's bundle to. */
class LimitsTest {
    @TempDir
    lateinit var folder: File

    private val limits = Vectors.json("limits")

    /** [whole] with [value] where [at] leads. */
    private fun put(whole: JsonElement, at: List<JsonElement>, value: JsonElement): JsonElement {
        val key = at.firstOrNull()?.jsonPrimitive ?: return value
        if (whole is JsonArray) return JsonArray(whole.mapIndexed { i, item -> if (i == key.int) put(item, at.drop(1), value) else item })
        val fields = whole.jsonObject
        return JsonObject(fields + (key.content to put(fields[key.content] ?: JsonObject(emptyMap()), at.drop(1), value)))
    }

    @Test
    fun numbersAndTextsOfAManifest() {
        val good = Json.parseToJsonElement(limits.string("manifest"))
        var refused = 0
        for (case in limits.objects("numbers")) {
            val at = case.getValue("at").jsonArray
            fun parse(value: JsonElement) = Manifest.parse(put(good, at, value).toString().toByteArray())
            case.getValue("read").jsonArray.forEach { parse(it) }
            for (value in case.getValue("refused").jsonArray) {
                val error = assertFailsWith<BundleException>("$at $value") { parse(value) }
                // Sizes that are too large together are named by what they add up to.
                assertContains(error.message!!, Regex("${at.last().jsonPrimitive.content}|frames"), "$at $value")
                refused++
            }
        }
        assertTrue(refused > 100)
        assertEquals(limits.long("manifest_bytes"), LARGEST_MANIFEST)
    }

    @Test
    fun graphs() {
        val graph = limits.getValue("graph").jsonObject
        assertEquals(graph.long("bytes"), OnnxFile.MOST_BYTES)
        assertEquals(graph.int("nodes"), OnnxFile.MOST_NODES)
        assertEquals(graph.long("elements"), OnnxFile.MOST_ELEMENTS)
        assertEquals(graph.int("axes"), OnnxFile.MOST_AXES)
        fun <T> table(name: String, read: (JsonElement) -> T) = graph.getValue(name).jsonObject.mapValues { (_, item) -> read(item) }
        assertEquals(table("opsets") { list -> list.jsonArray.map { it.jsonPrimitive.long } }, OnnxFile.OPSETS.mapValues { it.value.toList() })
        assertEquals(table("operators") { list -> list.jsonArray.map { it.jsonPrimitive.content } }, OnnxFile.OPERATORS.mapValues { it.value.sorted() })
        assertEquals(table("element_bytes") { it.jsonPrimitive.int }, OnnxFile.ELEMENT_BYTES.mapKeys { "${it.key}" })
        val numbers = { list: JsonElement -> list.jsonArray.map { it.jsonPrimitive.int } }
        assertEquals(table("fields", numbers), OnnxFile.FIELDS.mapValues { (_, known) -> known.keys.sorted() })
        assertEquals(table("once", numbers), OnnxFile.FIELDS.mapValues { (_, known) -> known.filterValues { name -> name.any { it.isLowerCase() } }.keys.sorted() })
    }

    @Test
    fun tokenizers() {
        for (case in limits.objects("tokenizers")) {
            val file = File(folder, "tokenizer.json").apply { writeText(case.string("file")) }
            val error = assertFailsWith<BundleException>(case.string("name")) { Tokenizer.open(file, 256) }
            assertContains(error.message!!, case.string("says"), message = case.string("name"))
        }
        assertEquals(limits.long("tokenizer_bytes"), LARGEST_TOKENIZER)
    }

    @Test
    fun prompts() {
        val case = limits.getValue("prompts").jsonObject
        val tokenizer = Tokenizer.open(File(Vectors.repository, case.string("tokenizer")), Int.MAX_VALUE)
        val most = case.int("read")
        assertDigest(case.getValue("ids").jsonObject, tokenizer.encode(case.string("character").repeat(most)).ids, "ids")
        val error = assertFailsWith<RequestException> { tokenizer.encode(case.string("character").repeat(most + 1)) }
        assertEquals(case.string("message"), error.message)
    }
}
