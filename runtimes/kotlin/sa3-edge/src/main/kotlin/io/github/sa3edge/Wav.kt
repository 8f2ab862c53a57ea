package io.github.sa3edge

import java.io.BufferedInputStream
import java.io.DataInputStream
import java.io.EOFException
import java.io.File
import java.io.FileInputStream
import java.io.IOException
import java.io.InputStream
import java.io.OutputStream
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.util.Random
import kotlin.math.abs

private const val PCM = 1
private const val FLOAT = 3
private const val EXTENSIBLE = 0xfffe
private const val BLOCK = 1 shl 14 // frames

/** A WAV file's format, and where its samples lie. */
internal class WavFile private constructor(
    private val file: File,
    val rate: Int,
    val channels: Int,
    private val bits: Int,
    private val float: Boolean,
    private val start: Long,
    val frames: Long,
) {
    /** The first [count] frames as (channels, count). Throws [RequestException] if the file ends before. */
    fun read(count: Int): Array<FloatArray> = try {
        FileInputStream(file).use { input ->
            skip(input, start)
            val data = DataInputStream(BufferedInputStream(input, 1 shl 16))
            val audio = Array(channels) { FloatArray(count) }
            val bytes = ByteArray(BLOCK * channels * bits / 8)
            var at = 0
            while (at < count) {
                val frames = minOf(BLOCK, count - at)
                data.readFully(bytes, 0, frames * channels * bits / 8)
                decode(bytes, frames, audio, at)
                at += frames
            }
            audio
        }
    } catch (_: EOFException) {
        throw RequestException("$file is damaged: it ends before its $frames frames")
    } catch (error: IOException) {
        throw RequestException("$file cannot be read: ${error.message}", error)
    }

    private fun decode(bytes: ByteArray, frames: Int, audio: Array<FloatArray>, at: Int) {
        val buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
        for (i in at until at + frames) {
            for (channel in audio) {
                channel[i] = when {
                    float && bits == 64 -> buffer.double.toFloat()
                    float -> buffer.float
                    bits == 8 -> ((buffer.get().toInt() and 255) - 128) / 128f
                    bits == 16 -> buffer.short / 32768f
                    bits == 24 -> (buffer.short.toInt() and 0xffff or (buffer.get().toInt() shl 16)) / 8388608f
                    else -> (buffer.int / 2147483648.0).toFloat()
                }
            }
        }
    }

    companion object {
        /** Throws [RequestException] for a file that is no WAV file or in a format that is not known. */
        fun open(file: File): WavFile = try {
            RandomAccessFile(file, "r").use { open(file, it) }
        } catch (_: EOFException) {
            throw RequestException("$file cannot be read as audio: it ends before its samples")
        } catch (error: IOException) {
            throw RequestException("$file cannot be read: ${error.message}", error)
        }

        private fun open(file: File, data: RandomAccessFile): WavFile {
            fun refuse(reason: String): Nothing = throw RequestException("$file cannot be read as audio: $reason")
            if (data.length() < 12 || name(data) != "RIFF") refuse("its format is unknown; convert it to wav")
            data.skipBytes(4)
            if (name(data) != "WAVE") refuse("its format is unknown; convert it to wav")
            var format: ByteBuffer? = null
            while (data.filePointer + 8 <= data.length()) {
                val chunk = name(data)
                val size = Integer.reverseBytes(data.readInt()).toLong() and 0xffffffffL
                val start = data.filePointer
                if (chunk == "fmt ") {
                    if (size !in 16..4096) refuse("its header is damaged")
                    val bytes = ByteArray(size.toInt())
                    data.readFully(bytes)
                    format = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN)
                } else if (chunk == "data") {
                    val header = format ?: refuse("its samples come before its header")
                    return describe(file, header, start, size, data.length(), ::refuse)
                }
                data.seek(start + size + size % 2)
            }
            refuse("it has no samples")
        }

        private fun describe(
            file: File,
            header: ByteBuffer,
            start: Long,
            size: Long,
            length: Long,
            refuse: (String) -> Nothing,
        ): WavFile {
            var kind = header.getShort(0).toInt() and 0xffff
            if (kind == EXTENSIBLE && header.capacity() >= 26) kind = header.getShort(24).toInt() and 0xffff
            val channels = header.getShort(2).toInt() and 0xffff
            val rate = header.getInt(4)
            val bits = header.getShort(14).toInt() and 0xffff
            val align = header.getShort(12).toInt() and 0xffff
            val known = kind == PCM && bits in setOf(8, 16, 24, 32) || kind == FLOAT && bits in setOf(32, 64)
            if (!known) refuse("WAV format $kind of $bits bits is not known; save it with 16 or 24 bits")
            if (channels !in 1..64 || rate <= 0 || align != channels * bits / 8) refuse("its header is damaged")
            if (size != 0xffffffffL && start + size > length) {
                throw RequestException("$file is damaged: it ends after ${(length - start) / align} of ${size / align} frames")
            }
            return WavFile(file, rate, channels, bits, kind == FLOAT, start, minOf(size, length - start) / align)
        }

        private fun name(data: RandomAccessFile): String {
            val bytes = ByteArray(4)
            data.readFully(bytes)
            return String(bytes, Charsets.ISO_8859_1)
        }

        private fun skip(input: InputStream, count: Long) {
            var left = count
            while (left > 0) {
                val skipped = input.skip(left)
                if (skipped <= 0) throw EOFException()
                left -= skipped
            }
        }
    }
}

/** How samples are stored in a WAV file. */
public enum class WavDepth(public val key: String, internal val bits: Int) {
    PCM_16("16", 16),
    PCM_24("24", 24),
    FLOAT_32("float", 32),
}

/**
 * Writes [audio] (channels, samples) as a WAV file that appears whole or not at all, with [info] in its INFO chunk by
 * RIFF's names. Returns how many samples were beyond full scale and are clipped. Throws [Sa3Exception].
 *
 * 16 bits are dithered (triangular, one step), but for samples that need no rounding; the same each time.
 */
@JvmOverloads
public fun writeWav(
    file: File,
    audio: Array<FloatArray>,
    sampleRate: Int,
    depth: WavDepth = WavDepth.PCM_24,
    info: Map<String, String> = emptyMap(),
): Int {
    var clipped = 0
    writeWhole(file) { clipped = writeWav(it, audio, sampleRate, depth, info) }
    return clipped
}

internal fun writeWav(out: OutputStream, audio: Array<FloatArray>, sampleRate: Int, depth: WavDepth, info: Map<String, String>): Int {
    val frames = audio[0].size
    val width = depth.bits / 8
    val align = audio.size * width
    val fields = info.entries.filter { it.value.isNotEmpty() }.map { (name, text) -> chunk(name, text.toByteArray() + 0) }
    val list = if (fields.isEmpty()) ByteArray(0) else chunk("LIST", fields.fold("INFO".toByteArray()) { all, field -> all + field })
    val size = frames.toLong() * align
    if (size + list.size > 0xffffff00L) throw Sa3Exception("a WAV file holds 4 GiB at most; this clip has $size bytes")
    val head = ByteBuffer.allocate(44).order(ByteOrder.LITTLE_ENDIAN)
    head.put("RIFF".toByteArray()).putInt((36 + size + size % 2 + list.size).toInt()).put("WAVE".toByteArray())
    head.put("fmt ".toByteArray()).putInt(16).putShort((if (depth == WavDepth.FLOAT_32) FLOAT else PCM).toShort())
    head.putShort(audio.size.toShort()).putInt(sampleRate).putInt(sampleRate * align).putShort(align.toShort())
    head.putShort(depth.bits.toShort()).put("data".toByteArray()).putInt(size.toInt())
    out.write(head.array())
    val clipped = writeSamples(out, audio, depth)
    if (size % 2 == 1L) out.write(0)
    out.write(list)
    return clipped
}

private fun writeSamples(out: OutputStream, audio: Array<FloatArray>, depth: WavDepth): Int {
    val full = 1L shl (depth.bits - 1)
    val dither = Random(0)
    val buffer = ByteBuffer.allocate(BLOCK * audio.size * depth.bits / 8).order(ByteOrder.LITTLE_ENDIAN)
    var clipped = 0
    for (i in audio[0].indices) {
        for (channel in audio) {
            if (depth == WavDepth.FLOAT_32) {
                buffer.putFloat(channel[i])
                continue
            }
            val scaled = channel[i].toDouble() * full
            var rounded = Math.rint(scaled)
            if (depth == WavDepth.PCM_16) {
                val noise = dither.nextFloat() - dither.nextFloat()
                if (rounded != scaled) rounded = Math.rint(scaled + noise)
            }
            if (rounded < -full || rounded > full - 1) clipped++
            val value = rounded.coerceIn(-full.toDouble(), full - 1.0).toInt()
            buffer.putShort(value.toShort())
            if (depth == WavDepth.PCM_24) buffer.put((value shr 16).toByte())
        }
        if (!buffer.hasRemaining() || i + 1 == audio[0].size) {
            out.write(buffer.array(), 0, buffer.position())
            buffer.clear()
        }
    }
    return clipped
}

/** Chunks begin at even places; their sizes do not count what fills up. */
private fun chunk(name: String, content: ByteArray): ByteArray {
    val bytes = ByteBuffer.allocate(8 + content.size + content.size % 2).order(ByteOrder.LITTLE_ENDIAN)
    return bytes.put(name.toByteArray()).putInt(content.size).put(content).array()
}

/** The loudest sample. */
internal fun peak(audio: Array<FloatArray>): Float = audio.maxOf { channel -> channel.maxOfOrNull { abs(it) } ?: 0f }
