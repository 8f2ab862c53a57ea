package io.github.sa3edge

import java.io.DataInputStream
import java.io.File
import java.io.IOException
import java.nio.Buffer
import java.nio.ByteBuffer
import java.nio.CharBuffer
import java.nio.charset.CodingErrorAction
import kotlin.math.abs
import kotlin.math.log10
import kotlin.math.sqrt

private const val SILENCE = 1e-5f // -100 dBFS: below the noise of a 16-bit recording

/**
 * A recording to edit, read when it is needed and only as far as it is needed.
 *
 * This host has no resampler: a recording must have the model's sample rate.
 */
public class Recording internal constructor(
    public val name: String,
    public val rate: Int,
    public val channels: Int,
    public val frames: Long,
    private val read: (Int) -> Array<FloatArray>,
) {
    init {
        if (frames == 0L || channels == 0) throw RequestException("$name is empty: it has no audio")
    }

    /** The recording's length in samples at [rate]. Throws [RequestException] if that is not the recording's own. */
    internal fun samplesAt(rate: Int): Long {
        if (rate != this.rate) {
            throw RequestException(
                "$name is at ${this.rate} Hz, this model takes $rate Hz; convert it first " +
                    "(e.g. ffmpeg -i IN -ar $rate OUT.wav)",
            )
        }
        return frames
    }

    /**
     * The first [samples] as ([channels], [samples]), silence where the recording has ended.
     *
     * What was done to fit is added to [notes]. Throws [RequestException] if the recording is damaged or holds NaN.
     */
    internal fun load(samples: Int, rate: Int, channels: Int, notes: MutableList<String>): Array<FloatArray> {
        val wanted = minOf(samples.toLong(), samplesAt(rate)).toInt()
        var audio = read(wanted)
        if (audio.any { channel -> channel.any { !it.isFinite() } }) {
            throw RequestException("$name holds samples that are not numbers (NaN or infinity)")
        }
        if (this.channels == 1) {
            audio = Array(channels) { audio[0] }
        } else if (this.channels != channels) {
            val (mixed, gain) = downmix(audio, channels)
            val quieter = if (gain < 1) ", %.1f dB quieter so that none clips".format(java.util.Locale.ROOT, -20 * log10(gain)) else ""
            notes.add("$name has ${this.channels} channels; they are mixed to $channels$quieter")
            audio = mixed
        }
        if (audio.all { channel -> channel.all { abs(it) < SILENCE } }) notes.add("$name is silent where it is used")
        return Array(channels) { audio[it].copyOf(samples) }
    }

    public companion object {
        /** A WAV file: 8, 16, 24 or 32 bits, or floats. Throws [RequestException] if it is missing, no WAV or empty. */
        @JvmStatic
        public fun fromWav(file: File): Recording {
            if (file.isDirectory) throw RequestException("$file is a folder, not a recording")
            if (!file.isFile) throw RequestException("the audio file $file does not exist")
            checkContents(file)
            val wav = WavFile.open(file)
            return Recording(file.path, wav.rate, wav.channels, wav.frames) { wav.read(it) }
        }

        /** [audio] (channels, samples) at [rate] Hz; the samples are not copied. */
        @JvmStatic
        @JvmOverloads
        public fun fromSamples(audio: Array<FloatArray>, rate: Int, name: String = "the recording"): Recording {
            val frames = audio.firstOrNull()?.size ?: 0
            if (audio.any { it.size != frames }) throw RequestException("$name has channels of different lengths")
            return Recording(name, rate, audio.size, frames.toLong()) { count -> Array(audio.size) { audio[it].copyOf(count) } }
        }
    }
}

private const val LOOKED_AT = 512 // bytes: every sound file has some by then that no text has

/** Throws [RequestException] for an empty file and for text, which would else be a recording of an unknown format. */
private fun checkContents(file: File) {
    val head = try {
        ByteArray(minOf(LOOKED_AT.toLong(), file.length()).toInt()).also { bytes -> file.inputStream().use { DataInputStream(it).readFully(bytes) } }
    } catch (error: IOException) {
        throw RequestException("$file cannot be read: ${error.message}", error)
    }
    if (head.isEmpty()) throw RequestException("$file is empty: there is nothing in it")
    val text = CharBuffer.allocate(LOOKED_AT)
    // Not ended: a letter that the end of what is looked at has cut is none that is wrong.
    val result = Charsets.UTF_8.newDecoder().onMalformedInput(CodingErrorAction.REPORT).decode(ByteBuffer.wrap(head), text, false)
    (text as Buffer).flip()
    if (!result.isError && text.isNotEmpty() && text.toString().codePoints().allMatch(::isWritten)) {
        throw RequestException("$file is a text, not a recording")
    }
}

/** Whether a character is one of a text: it can be seen, or ends a line. */
private fun isWritten(code: Int): Boolean = code.toChar() in " \r\n\t\ufeff" && code < 0x10000 || when (Character.getType(code).toByte()) {
    Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.PRIVATE_USE, Character.UNASSIGNED,
    Character.SPACE_SEPARATOR, Character.LINE_SEPARATOR, Character.PARAGRAPH_SEPARATOR -> false
    else -> true
}

private val HALF_POWER = sqrt(0.5)
private val SHARES = mapOf( // of a channel in left and right
    "L" to (1.0 to 0.0), "R" to (0.0 to 1.0), "C" to (HALF_POWER to HALF_POWER), "LFE" to (0.0 to 0.0),
    "Ls" to (HALF_POWER to 0.0), "Rs" to (0.0 to HALF_POWER), "Lb" to (HALF_POWER to 0.0), "Rb" to (0.0 to HALF_POWER),
    "Cs" to (0.5 to 0.5),
)
private val ORDERS = mapOf( // of WAV files
    2 to "L R", 3 to "L R C", 4 to "L R Ls Rs", 5 to "L R C Ls Rs", 6 to "L R C LFE Ls Rs",
    7 to "L R C LFE Cs Ls Rs", 8 to "L R C LFE Lb Rb Ls Rs",
)

/**
 * Several channels to few, as ITU-R BS.775 mixes them, and the gain: 1, or what keeps the mix below full scale.
 *
 * One channel is the mean of left and right; numbers of channels that have no usual order are mixed equally.
 */
internal fun downmix(audio: Array<FloatArray>, channels: Int): Pair<Array<FloatArray>, Double> {
    val given = audio.size
    val order = ORDERS[given]?.split(' ')
    val shares = Array(channels) { channel ->
        FloatArray(given) { from ->
            if (order == null || channels > 2) {
                1f / given
            } else {
                val (left, right) = SHARES.getValue(order[from])
                (if (channels == 1) (left + right) / 2 else if (channel == 0) left else right).toFloat()
            }
        }
    }
    val mixed = Array(channels) { channel ->
        FloatArray(audio[0].size) { i ->
            var sum = 0f
            for (from in 0 until given) sum += audio[from][i] * shares[channel][from]
            sum
        }
    }
    val loudest = mixed.maxOf { channel -> channel.maxOfOrNull { abs(it) } ?: 0f }
    val gain = 1 / maxOf(1.0, loudest.toDouble())
    if (gain < 1) for (channel in mixed) for (i in channel.indices) channel[i] *= gain.toFloat()
    return mixed to gain
}
