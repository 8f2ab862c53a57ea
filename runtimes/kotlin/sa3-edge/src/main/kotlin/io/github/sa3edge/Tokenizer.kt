package io.github.sa3edge

import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.util.PriorityQueue

internal const val LARGEST_TOKENIZER = 64L shl 20 // bytes; the published one has 33 MB
private const val LONGEST_TEXT = 100_000 // characters; the model reads some 256 tokens
private const val MOST_GROWTH = 64 // times as long as the prompt

/**
 * Prompts to token ids: the byte-pair encoding of Gemma's `tokenizer.json`, without begin or end token, cut to
 * `max_tokens` as the model was trained.
 *
 * Reads what that format needs and refuses what it does not know: a `Replace` normalizer, a `Split` that does nothing
 * after it, BPE with byte fallback, merges as strings or pairs, added tokens. The `post_processor` is not used.
 * Safe to use from several threads.
 */
public class Tokenizer private constructor(private val model: BpeModel, private val maxTokens: Int) {
    /** Token [ids], at most the model's number, and how many more the text has. */
    public class Encoding internal constructor(public val ids: IntArray, public val cut: Int)

    /** Throws [RequestException] for half a surrogate pair, which no encoding has, and for a text beyond reason. */
    @Throws(RequestException::class)
    public fun encode(text: String): Encoding {
        for (index in text.indices) {
            if (isHalf(text, index)) {
                val code = Integer.toHexString(text[index].code)
                throw RequestException("the prompt is not valid Unicode: half a surrogate pair, U+${code.uppercase()}, at $index")
            }
        }
        val characters = text.codePointCount(0, text.length)
        if (characters > LONGEST_TEXT) throw RequestException("the prompt has $characters characters, at most $LONGEST_TEXT are read")
        val ids = IntList()
        model.encode(text, ids)
        return Encoding(ids.first(minOf(ids.size, maxTokens)), maxOf(0, ids.size - maxTokens))
    }

    public companion object {
        /** Reads a `tokenizer.json`. Throws [BundleException] for a file that is none, or of another kind. */
        @JvmStatic
        @Throws(BundleException::class)
        public fun open(file: File, maxTokens: Int): Tokenizer = try {
            if (file.length() > LARGEST_TOKENIZER) throw JsonException("it has ${file.length()} bytes, at most $LARGEST_TOKENIZER are read")
            val model = JsonReader(FileInputStream(file)).use { reader -> BpeReader(reader).read().also { reader.end() } }
            Tokenizer(model, maxTokens)
        } catch (error: UnknownPartException) {
            throw BundleException("$file is not a tokenizer that sa3-edge runs: ${error.message}", error)
        } catch (error: JsonException) {
            throw BundleException("$file is not a tokenizer: ${error.message}", error)
        } catch (error: IOException) {
            throw BundleException("$file cannot be read: ${error.message}", error)
        }
    }
}

/** Parts that other tokenizers have; the message says which. */
private class UnknownPartException(message: String) : Exception(message)

/** What byte-pair encoding needs. Strings are compared by their code units: é is not e + U+0301. */
private class BpeModel(
    private val vocabulary: HashMap<String, Int>,
    private val merges: Merges,
    private val added: AddedTokens,
    private val replace: Pair<String, String>?,
    private val unknown: Int?,
    private val fuseUnknown: Boolean,
    byteFallback: Boolean,
    private val ignoreMerges: Boolean,
) {
    // The id of each byte's token; Gemma has them all.
    private val bytes: Array<Int?>? =
        if (byteFallback) Array(256) { vocabulary["<0x%02X>".format(it)] } else null

    fun encode(text: String, out: IntList) {
        var start = 0
        var at = 0
        while (at < text.length) {
            val length = added.longestAt(text, at)
            if (length == 0) {
                at++
                continue
            }
            encodePlain(text.substring(start, at), out)
            out.add(added.idOf(text.substring(at, at + length)))
            at += length
            start = at
        }
        encodePlain(text.substring(start), out)
    }

    private fun encodePlain(text: String, out: IntList) {
        if (text.isEmpty()) return
        val normal = if (replace == null) text else text.replace(replace.first, replace.second)
        val whole = if (ignoreMerges) vocabulary[normal] else null
        if (whole != null) out.add(whole) else merge(symbols(normal), out)
    }

    /** The text's code points as ids: of the vocabulary, else of their UTF-8 bytes, else unknown. */
    private fun symbols(text: String): IntList {
        val ids = IntList()
        var lastUnknown = false
        var at = 0
        while (at < text.length) {
            val end = at + Character.charCount(text.codePointAt(at))
            val char = text.substring(at, end)
            at = end
            val id = vocabulary[char]
            if (id != null) {
                ids.add(id)
                lastUnknown = false
                continue
            }
            val fallback = bytes?.let { of -> char.toByteArray().map { of[it.toInt() and 255] } }
            if (fallback != null && fallback.all { it != null }) {
                fallback.forEach { ids.add(it!!) }
                lastUnknown = false
            } else if (unknown != null) {
                if (!(fuseUnknown && lastUnknown)) ids.add(unknown)
                lastUnknown = true
            }
        }
        return ids
    }

    /** Joins neighbours, always the pair that was learned first, and of equal ones the leftmost. */
    private fun merge(ids: IntList, out: IntList) {
        val count = ids.size
        val symbol = ids.first(count)
        val previous = IntArray(count) { it - 1 }
        val next = IntArray(count) { if (it + 1 < count) it + 1 else -1 }
        val alive = BooleanArray(count) { true }
        val offers = PriorityQueue<Long>() // rank, then place

        fun offer(at: Int) {
            if (at < 0 || next[at] < 0) return
            val rank = merges.rank(symbol[at], symbol[next[at]])
            if (rank >= 0) offers.add(rank.toLong() shl 32 or at.toLong())
        }
        for (at in 0 until count) offer(at)
        while (true) {
            val offer = offers.poll() ?: break
            val rank = (offer ushr 32).toInt()
            val at = offer.toInt()
            val right = if (alive[at]) next[at] else -1
            // Since the offer was made, either side may have been merged with another.
            if (right < 0 || merges.rank(symbol[at], symbol[right]) != rank) continue
            symbol[at] = merges.result(rank)
            alive[right] = false
            next[at] = next[right]
            if (next[at] >= 0) previous[next[at]] = at
            offer(previous[at])
            offer(at)
        }
        var at = 0
        while (at >= 0 && at < count) {
            out.add(symbol[at])
            at = next[at]
        }
    }
}

/** Merges by their pair of ids: an open hash table, a fifth of what a map of objects takes. */
private class Merges(left: IntList, right: IntList, private val results: IntArray) {
    private val mask = Integer.highestOneBit(maxOf(8, left.size * 2)) * 2 - 1
    private val keys = LongArray(mask + 1) { -1 }
    private val ranks = IntArray(mask + 1)

    init {
        for (rank in 0 until left.size) {
            val key = key(left[rank], right[rank])
            val slot = slot(key)
            // Of a pair that is listed twice, the last one counts, as in the reference's map.
            keys[slot] = key
            ranks[slot] = rank
        }
    }

    fun rank(left: Int, right: Int): Int {
        val slot = slot(key(left, right))
        return if (keys[slot] < 0) -1 else ranks[slot]
    }

    fun result(rank: Int): Int = results[rank]

    private fun key(left: Int, right: Int) = left.toLong() shl 32 or right.toLong()

    private fun slot(key: Long): Int {
        val mixed = key * -7046029254386353131L
        var slot = (mixed xor (mixed ushr 32)).toInt() and mask
        while (keys[slot] >= 0 && keys[slot] != key) slot = slot + 1 and mask
        return slot
    }
}

/** Tokens that are found in the raw text before all else: leftmost, the longest of those. */
private class AddedTokens(private val ids: Map<String, Int>) {
    private val lengthsByFirst: Map<Char, IntArray> = ids.keys.groupBy { it[0] }.mapValues { (_, tokens) ->
        tokens.map { it.length }.distinct().sortedDescending().toIntArray()
    }

    fun longestAt(text: String, at: Int): Int {
        val lengths = lengthsByFirst[text[at]] ?: return 0
        return lengths.firstOrNull { at + it <= text.length && text.substring(at, at + it) in ids } ?: 0
    }

    fun idOf(token: String): Int = ids.getValue(token)
}

/** Reads `tokenizer.json` as it streams in. */
private class BpeReader(private val reader: JsonReader) {
    private val added = LinkedHashMap<String, Int>()
    private val normalizedAdded = ArrayList<String>()
    private var replace: Pair<String, String>? = null
    private var split: String? = null
    private val vocabulary = HashMap<String, Int>()
    private val left = ArrayList<String>() // of merges that came before the vocabulary
    private val right = ArrayList<String>()
    private val leftIds = IntList()
    private val rightIds = IntList()
    private val results = IntList()
    private var unknown: String? = null
    private var fuseUnknown = false
    private var byteFallback = false
    private var ignoreMerges = false

    fun read(): BpeModel {
        var seen = false
        reader.readObject { name ->
            when (name) {
                "added_tokens" -> if (reader.peek() == 'n') reader.readNull() else reader.readArray { readAdded(reader.readValue()) }
                "normalizer" -> readNormalizer(reader.readValue())
                "pre_tokenizer" -> readPreTokenizer(reader.readValue())
                "model" -> {
                    readModel()
                    seen = true
                }
                else -> reader.skipValue()
            }
        }
        if (!seen) throw JsonException("it has no model")
        for (at in left.indices) addMerge(left[at], right[at])
        if (split != null && replace?.first != split) throw UnknownPartException("its pre_tokenizer splits at ${quoted(split!!)}, which is left in the text")
        for (token in normalizedAdded) {
            val (from, to) = replace ?: continue
            if (from in token || to in token) throw UnknownPartException("the added token ${quoted(token)} is found in normalized text")
        }
        val unknownId = unknown?.let { vocabulary[it] ?: throw JsonException("its vocabulary lacks the unknown token ${quoted(it)}") }
        return BpeModel(
            vocabulary, Merges(leftIds, rightIds, results.first(results.size)), AddedTokens(added), replace, unknownId,
            fuseUnknown, byteFallback, ignoreMerges,
        )
    }

    private fun readAdded(value: Any?) {
        val token = value as? Map<*, *> ?: throw JsonException("an added token is no object")
        val content = token["content"] as? String ?: throw JsonException("an added token has no content")
        for (flag in listOf("single_word", "lstrip", "rstrip")) {
            if (token[flag] == true) throw UnknownPartException("the added token ${quoted(content)} has $flag")
        }
        if (content.isEmpty()) return
        if (token["normalized"] == true) normalizedAdded.add(content)
        added[content] = asId(token["id"])
    }

    private fun readNormalizer(value: Any?) {
        replace = readStep(value, "normalizer", "Replace")
    }

    private fun readPreTokenizer(value: Any?) {
        split = readStep(value, "pre_tokenizer", "Split")?.first
    }

    /** The text that a part looks for, and its content; null if there is no such part. */
    private fun readStep(value: Any?, kind: String, known: String): Pair<String, String>? {
        if (value == null) return null
        val step = value as? Map<*, *> ?: throw JsonException("its $kind is no object")
        if (step["type"] != known) {
            // Python's word for nothing: the other hosts say it so.
            throw UnknownPartException("its $kind is ${quoted((step["type"] ?: "None").toString().take(64))}, not one of $known")
        }
        val pattern = (step["pattern"] as? Map<*, *>)?.get("String") as? String
            ?: throw UnknownPartException("its $kind matches a regular expression")
        val content = (step["content"] ?: "") as? String ?: throw JsonException("its $kind has no text for its content")
        val growth = content.codePointCount(0, content.length).toDouble() / pattern.codePointCount(0, pattern.length)
        if (pattern.isEmpty() || growth > MOST_GROWTH) throw UnknownPartException("its $kind makes text many times as long")
        return pattern to content
    }

    private fun readModel() = reader.readObject { name ->
        when (name) {
            "type" -> {
                val type = reader.readValue()
                if (type != "BPE") throw UnknownPartException("its model is ${quoted(type.toString().take(64))}, not one of BPE")
            }
            "vocab" -> reader.readObject { token -> vocabulary[token] = asId(reader.readNumber()) }
            "merges" -> reader.readArray { readMerge() }
            "unk_token" -> unknown = reader.readValue()?.let { it as? String ?: throw JsonException("its unknown token is no text") }
            "fuse_unk" -> fuseUnknown = reader.readValue() == true
            "byte_fallback" -> byteFallback = reader.readValue() == true
            "ignore_merges" -> ignoreMerges = reader.readValue() == true
            "dropout" -> {
                val value = reader.readValue()
                if (value != null && (value as? JsonNumber)?.text?.toDouble() != 0.0) {
                    throw UnknownPartException("it drops merges at random, so the same text gives other tokens each time")
                }
            }
            "continuing_subword_prefix", "end_of_word_suffix" -> {
                val value = reader.readValue()
                if (value != null && value != "") throw UnknownPartException("its model has $name")
            }
            else -> reader.skipValue()
        }
    }

    private fun readMerge() {
        val first: String
        val second: String
        if (reader.peek() == '"') {
            val merge = reader.readString()
            val space = merge.indexOf(' ')
            if (space < 0 || merge.indexOf(' ', space + 1) >= 0) throw JsonException("the merge ${quoted(merge)} is not of two tokens")
            first = merge.substring(0, space)
            second = merge.substring(space + 1)
        } else {
            val pair = reader.readValue() as? List<*>
            if (pair?.size != 2 || pair.any { it !is String }) throw JsonException("a merge is not of two tokens")
            first = pair[0] as String
            second = pair[1] as String
        }
        if (vocabulary.isEmpty()) {
            left.add(first)
            right.add(second)
        } else {
            addMerge(first, second)
        }
    }

    private fun addMerge(first: String, second: String) {
        fun id(token: String) = vocabulary[token] ?: throw JsonException("a merge makes ${quoted(token)}, which its vocabulary lacks")
        leftIds.add(id(first))
        rightIds.add(id(second))
        results.add(id(first + second))
    }

    private fun asId(value: Any?): Int = (value as? JsonNumber)?.text?.toIntOrNull()?.takeIf { it >= 0 }
        ?: throw JsonException("a token's id is not a number from 0 on")
}

/** Ints that grow, without a box for each. */
private class IntList {
    private var values = IntArray(64)
    var size = 0
        private set

    operator fun get(index: Int): Int = values[index]

    fun add(value: Int) {
        if (size == values.size) values = values.copyOf(size * 2)
        values[size++] = value
    }

    fun first(count: Int): IntArray = values.copyOf(count)
}
