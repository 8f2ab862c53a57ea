package io.github.sa3edge

import kotlin.math.ceil

/** The shortest clip. */
public const val SHORTEST_SECONDS: Double = 0.1

/** [samples] of audio; latent frames that the model attends to ([valid]) and that noise is drawn for ([allocated]). */
public data class Lengths(val samples: Int, val valid: Int, val allocated: Int)

/**
 * Lengths for a clip of [seconds] with [headroom] seconds after it, as the reference counts them, in fp64.
 *
 * The model composes an ending into the headroom, which is cut off. Throws [RequestException] for lengths that the
 * model cannot make.
 */
@Throws(RequestException::class)
public fun planLengths(seconds: Double, headroom: Double, manifest: Manifest): Lengths {
    if (!seconds.isFinite() || seconds < SHORTEST_SECONDS) {
        throw RequestException("seconds must be a number from $SHORTEST_SECONDS on, got ${python(seconds)}")
    }
    if (seconds > manifest.maxSeconds) {
        throw RequestException(
            "${general(seconds)} seconds is more than ${manifest.model.name} makes in one pass; " +
                "the longest clip is ${general(manifest.maxSeconds)} s",
        )
    }
    if (!headroom.isFinite() || headroom < 0) {
        throw RequestException("headroom must be 0 or more seconds, got ${python(headroom)}")
    }
    val (rate, _, frame, _, longest) = manifest.audio
    val samples = (seconds * rate).toInt()
    if (!(headroom * rate).isFinite()) throw RequestException("a time in the request is too large: ${general(headroom)} s")
    val valid = ceil(samples / frame.toDouble()) + Math.floor(headroom * rate / frame)
    var allocated = ceil(Math.floor((seconds + headroom) * rate) / frame)
    allocated += allocated % 2
    return Lengths(samples, minOf(valid, longest.toDouble()).toInt(), minOf(allocated, longest.toDouble()).toInt())
}

/** Seconds that count as exactly this many samples: (seconds * rate).toInt() == samples. */
internal fun secondsOf(samples: Long, rate: Int): Double {
    val seconds = samples / rate.toDouble()
    return if ((seconds * rate).toLong() == samples) seconds else Math.nextUp(seconds)
}

/** A number as Python writes it with "g": 6 digits, no trailing zeros. */
internal fun general(number: Double): String = when {
    number.isNaN() -> "nan"
    number.isInfinite() -> if (number > 0) "inf" else "-inf"
    else -> {
        val rounded = java.math.BigDecimal(number).round(java.math.MathContext(6))
        val exponent = if (rounded.signum() == 0) 0 else rounded.precision() - rounded.scale() - 1
        if (exponent < -5 + 1 || exponent >= 6) {
            val digits = rounded.unscaledValue().abs().toString().trimEnd('0')
            val sign = if (rounded.signum() < 0) "-" else ""
            val fraction = if (digits.length > 1) ".${digits.substring(1)}" else ""
            "%s%s%se%s%02d".format(sign, digits[0], fraction, if (exponent < 0) "-" else "+", Math.abs(exponent))
        } else {
            rounded.stripTrailingZeros().toPlainString()
        }
    }
}

/** A number as Python writes it. */
internal fun python(number: Double): String = when {
    number.isNaN() -> "nan"
    number.isInfinite() -> if (number > 0) "inf" else "-inf"
    else -> number.toString()
}
