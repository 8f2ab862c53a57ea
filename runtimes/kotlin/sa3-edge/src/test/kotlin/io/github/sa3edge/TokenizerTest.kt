package io.github.sa3edge

import java.io.File
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.jsonArray
import kotlinx.serialization.json.jsonObject
import kotlinx.serialization.json.jsonPrimitive
import kotlinx.serialization.json.int
import org.junit.jupiter.api.io.TempDir

class TokenizerTest {
    @TempDir
    lateinit var folder: File

    private val vectors = Vectors.json("tokenizer")

    private fun open(path: String, most: Int = Int.MAX_VALUE) = Tokenizer.open(File(Vectors.repository, path), most)

    @Test
    fun everyTextOfEveryTokenizer() {
        var checked = 0
        for (index in generateSequence(0) { it + 1 }.takeWhile { "tokenizer_$it" in vectors }) {
            val path = vectors.string("tokenizer_$index")
            val tokenizer = open(path)
            for (case in vectors.objects("cases_$index")) {
                val ids = tokenizer.encode(case.string("text")).ids
                val what = "$path: ${quoted(case.string("text"))}"
                when (val expected = case.getValue("ids")) {
                    is JsonObject -> assertDigest(expected, ids, what)
                    else -> assertEquals(expected.jsonArray.map { it.jsonPrimitive.int }, ids.toList(), what)
                }
                checked++
            }
        }
        assertTrue(checked > 200, "only $checked texts")
    }

    @Test
    fun halvesOfSurrogatePairsAreRefused() {
        val tokenizer = open(vectors.string("tokenizer_0"))
        for (case in vectors.objects("refused")) {
            val text = String(case.getValue("utf16").jsonArray.map { it.jsonPrimitive.content.toInt(16).toChar() }.toCharArray())
            assertContains(assertFailsWith<RequestException> { tokenizer.encode(text) }.message!!, "not valid Unicode")
        }
    }

    @Test
    fun aLongPromptIsCutAndSaid() {
        val case = vectors.getValue("cut").jsonObject
        val most = case["max_tokens"]?.jsonPrimitive?.int ?: 256
        val encoding = open(case.string("tokenizer"), most).encode(case.string("text"))
        assertEquals(case.int("cut"), encoding.cut)
        assertEquals(most, encoding.ids.size)
    }

    private fun model(more: String = "", top: String = "") = File(folder, "tokenizer.json").apply {
        writeText("""{$top "model": {"type": "BPE", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2, "ab": 3, "é": 4} $more}}""")
    }

    private fun refusal(more: String = "", top: String = "") =
        assertFailsWith<BundleException> { Tokenizer.open(model(more, top), 9) }.message!!

    @Test
    fun whatTheFormatDoesNotNeedIsRefused() {
        assertContains(refusal(""", "merges": ["a c"]"""), "'c'")
        assertContains(refusal(""", "merges": ["a b b"]"""), "two tokens")
        assertContains(refusal(""", "dropout": 0.1"""), "at random")
        assertContains(refusal(""", "continuing_subword_prefix": "##""""), "continuing_subword_prefix")
        assertContains(refusal("", """"normalizer": {"type": "NFC"},"""), "normalizer")
        assertContains(refusal("", """"pre_tokenizer": {"type": "Whitespace"},"""), "pre_tokenizer")
        assertContains(refusal("", """"pre_tokenizer": {"type": "Split", "pattern": {"String": " "}},"""), "pre_tokenizer")
        assertContains(refusal("", """"added_tokens": [{"id": 1, "content": "x", "lstrip": true}],"""), "lstrip")
        for (text in listOf("", "{", "[]", "{}", "null", """{"model": {"type": "WordPiece"}}""")) {
            val file = File(folder, "broken.json").apply { writeText(text) }
            assertContains(assertFailsWith<BundleException>(text) { Tokenizer.open(file, 9) }.message!!, "is not a tokenizer")
        }
    }

    @Test
    fun mergesMayComeBeforeTheVocabulary() {
        val file = File(folder, "tokenizer.json")
        file.writeText("""{"model": {"type": "BPE", "merges": [["a", "b"]], "vocab": {"ab": 7, "a": 1, "b": 2}}}""")
        assertEquals(listOf(7, 1), Tokenizer.open(file, 9).encode("aba").ids.toList())
    }

    @Test
    fun charactersAreNotComparedByEquivalence() {
        val tokenizer = Tokenizer.open(model(""", "merges": ["a b"]"""), 9)
        assertEquals(listOf(3, 4, 0, 0), tokenizer.encode("abée\u0301").ids.toList())
    }
}
