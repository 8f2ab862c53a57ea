package io.github.sa3edge

import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.IOException
import java.io.OutputStream
import java.security.MessageDigest

/** Hexadecimal SHA-256 of a file. */
internal fun sha256Of(file: File): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val buffer = ByteArray(1 shl 17)
    FileInputStream(file).use { input ->
        while (true) {
            val count = input.read(buffer)
            if (count < 0) break
            digest.update(buffer, 0, count)
        }
    }
    return hex(digest.digest())
}

internal fun hex(bytes: ByteArray): String {
    val text = StringBuilder(bytes.size * 2)
    for (byte in bytes) {
        text.append(Character.forDigit(byte.toInt() shr 4 and 15, 16)).append(Character.forDigit(byte.toInt() and 15, 16))
    }
    return text.toString()
}

/** A name as a message shows it: quoted, with control characters as escapes. */
internal fun quoted(text: String): String {
    val out = StringBuilder("'")
    for (char in text) {
        when (char) {
            '\\' -> out.append("\\\\")
            in '\u0000'..'\u001f', in '\u007f'..'\u009f' -> out.append("\\x%02x".format(char.code))
            else -> out.append(char)
        }
    }
    return out.append('\'').toString()
}

/** A shape as Python shows a tuple: (1, 'tokens'), (4,). */
internal fun shapeText(shape: List<Any>): String =
    shape.joinToString(", ", "(", if (shape.size == 1) ",)" else ")") { if (it is String) quoted(it) else it.toString() }

/** Writes a file that appears whole or not at all. Throws [Sa3Exception] if it cannot be written. */
internal fun writeWhole(file: File, write: (OutputStream) -> Unit) {
    var temporary: File? = null
    try {
        temporary = File.createTempFile(".sa3-edge-", ".tmp", file.absoluteFile.parentFile)
        FileOutputStream(temporary).use { output ->
            val buffered = output.buffered(1 shl 16)
            write(buffered)
            buffered.flush()
            output.fd.sync()
        }
        if (!temporary.renameTo(file)) throw IOException("it cannot be put in place")
    } catch (error: IOException) {
        throw Sa3Exception("$file cannot be written: ${error.message}", error)
    } finally {
        temporary?.delete()
    }
}
