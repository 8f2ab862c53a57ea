package io.github.sa3edge

import java.io.Closeable
import java.io.IOException
import java.io.InputStream
import java.io.InputStreamReader
import java.io.Reader
import java.nio.charset.CodingErrorAction

/** Text that is not JSON, or not the JSON that was expected. */
internal class JsonException(message: String) : Exception(message)

/** A number as it is written; the reader does not decide whether it is an integer. */
internal data class JsonNumber(val text: String) {
    val isInteger: Boolean get() = text.none { it == '.' || it == 'e' || it == 'E' }
}

/**
 * Reads JSON as it streams in: a tokenizer file of 17 MB never lies in memory as a tree.
 *
 * Strict: UTF-8, one value, no duplicate names in an object that is read as a tree, at most [DEEPEST] levels.
 * The Android platform has a reader of its own, the JVM has none.
 */
internal class JsonReader(input: InputStream) : Closeable {
    private val reader: Reader = InputStreamReader(
        input,
        Charsets.UTF_8.newDecoder().onMalformedInput(CodingErrorAction.REPORT)
            .onUnmappableCharacter(CodingErrorAction.REPORT),
    )
    private val buffer = CharArray(1 shl 14)
    private var at = 0
    private var filled = 0
    private var consumed = 0L
    private var depth = 0
    private val text = StringBuilder()

    /** The first character of the next value: `{ [ " t f n` or one of a number. */
    fun peek(): Char {
        var char = read()
        while (char == ' ' || char == '\n' || char == '\r' || char == '\t') char = read()
        at--
        return char
    }

    /** Reads an object; [field] is called for each name and must read its value. */
    inline fun readObject(field: (String) -> Unit) {
        open('{')
        if (peek() == '}') expect('}') else do {
            val name = readString()
            expect(':')
            field(name)
        } while (more('}'))
        depth--
    }

    /** Reads an array; [element] is called at each element and must read it. */
    inline fun readArray(element: () -> Unit) {
        open('[')
        if (peek() == ']') expect(']') else do element() while (more(']'))
        depth--
    }

    fun readString(): String {
        expect('"')
        text.setLength(0)
        while (true) {
            val char = read()
            when {
                char == '"' -> return text.toString()
                char == '\\' -> text.append(escaped())
                char < ' ' -> fail("control character in a string")
                else -> text.append(char)
            }
        }
    }

    fun readNumber(): JsonNumber {
        peek()
        text.setLength(0)
        while (true) {
            val char = readOrNull() ?: break
            if (char !in NUMBER) {
                at--
                break
            }
            text.append(char)
        }
        val number = text.toString()
        if (!VALID_NUMBER.matches(number)) fail("invalid number")
        return JsonNumber(number)
    }

    fun readBoolean(): Boolean = if (peek() == 't') literal("true", true) else literal("false", false)

    fun readNull(): Nothing? = literal("null", null)

    /** Reads a value as Map, List, String, [JsonNumber], Boolean or null. */
    fun readValue(): Any? = when (peek()) {
        '{' -> LinkedHashMap<String, Any?>().also { map ->
            readObject { name ->
                if (name in map) fail("the name \"$name\" twice in one object")
                map[name] = readValue()
            }
        }
        '[' -> ArrayList<Any?>().also { list -> readArray { list.add(readValue()) } }
        '"' -> readString()
        't', 'f' -> readBoolean()
        'n' -> readNull()
        else -> readNumber()
    }

    fun skipValue() {
        when (peek()) {
            '{' -> readObject { skipValue() }
            '[' -> readArray { skipValue() }
            '"' -> readString()
            't', 'f' -> readBoolean()
            'n' -> readNull()
            else -> readNumber()
        }
    }

    /** Raises JsonException if anything but space follows. */
    fun end() {
        while (true) {
            val char = readOrNull() ?: return
            if (char != ' ' && char != '\n' && char != '\r' && char != '\t') fail("trailing characters")
        }
    }

    override fun close() = reader.close()

    private fun open(bracket: Char) {
        expect(bracket)
        if (++depth > DEEPEST) fail("more than $DEEPEST levels")
    }

    private fun more(closing: Char): Boolean = when (peek()) {
        ',' -> true.also { expect(',') }
        closing -> false.also { expect(closing) }
        else -> fail("expected ',' or '$closing'")
    }

    private fun expect(char: Char) {
        if (peek() != char) fail("expected '$char'")
        at++
    }

    private fun <T> literal(word: String, value: T): T {
        peek()
        for (char in word) if (read() != char) fail("invalid character")
        return value
    }

    private fun escaped(): Char = when (val char = read()) {
        '"', '\\', '/' -> char
        'b' -> '\b'
        'f' -> '\u000c'
        'n' -> '\n'
        'r' -> '\r'
        't' -> '\t'
        'u' -> {
            var code = 0
            repeat(4) {
                val digit = Character.digit(read(), 16)
                if (digit < 0) fail("invalid escape")
                code = code * 16 + digit
            }
            code.toChar()
        }
        else -> fail("invalid escape")
    }

    private fun read(): Char = readOrNull() ?: fail("input data was truncated")

    private fun readOrNull(): Char? {
        if (at == filled) {
            consumed += filled
            filled = try {
                reader.read(buffer)
            } catch (error: java.nio.charset.CharacterCodingException) {
                throw JsonException("it is not UTF-8")
            }
            at = 0
            if (filled <= 0) {
                filled = 0
                return null
            }
        }
        return buffer[at++]
    }

    private fun fail(reason: String): Nothing = throw JsonException("JSON is malformed: $reason (character ${consumed + at})")

    companion object {
        const val DEEPEST = 64
        private const val NUMBER = "0123456789+-.eE"
        private val VALID_NUMBER = Regex("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?")

        /** A whole document as [readValue] gives it. */
        @Throws(JsonException::class, IOException::class)
        fun parse(data: ByteArray): Any? = JsonReader(data.inputStream()).use { reader ->
            reader.readValue().also { reader.end() }
        }
    }
}

/** JSON on one line, from Map, List, String, Number, Boolean and null; in ASCII, for every reader's sake, if [ascii]. */
internal fun jsonText(value: Any?, ascii: Boolean = false): String = StringBuilder().also { write(value, it, ascii) }.toString()

private fun write(value: Any?, out: StringBuilder, ascii: Boolean) {
    when (value) {
        null, is Boolean -> out.append(value)
        is Float, is Double -> {
            require((value as Number).toDouble().isFinite()) { "JSON has no $value" }
            out.append(value)
        }
        is Number -> out.append(value)
        is Map<*, *> -> {
            var separator = "{"
            if (value.isEmpty()) out.append('{')
            for ((name, item) in value) {
                out.append(separator)
                write(name.toString(), out, ascii)
                out.append(": ")
                write(item, out, ascii)
                separator = ", "
            }
            out.append('}')
        }
        is Iterable<*> -> {
            out.append('[')
            value.forEachIndexed { index, item ->
                if (index > 0) out.append(", ")
                write(item, out, ascii)
            }
            out.append(']')
        }
        else -> writeString(value.toString(), out, ascii)
    }
}

private fun writeString(text: String, out: StringBuilder, ascii: Boolean) {
    out.append('"')
    for ((index, char) in text.withIndex()) {
        when {
            char == '"' || char == '\\' -> out.append('\\').append(char)
            char == '\n' -> out.append("\\n")
            char == '\r' -> out.append("\\r")
            char == '\t' -> out.append("\\t")
            char < ' ' || (ascii && char > '~') || isHalf(text, index) -> {
                out.append("\\u").append(Integer.toHexString(char.code or 0x10000).substring(1))
            }
            else -> out.append(char)
        }
    }
    out.append('"')
}

/** Whether the character at [index] is half a surrogate pair without its other half. */
internal fun isHalf(text: String, index: Int): Boolean {
    val char = text[index]
    if (char.isHighSurrogate()) return index + 1 == text.length || !text[index + 1].isLowSurrogate()
    return char.isLowSurrogate() && (index == 0 || !text[index - 1].isHighSurrogate())
}
