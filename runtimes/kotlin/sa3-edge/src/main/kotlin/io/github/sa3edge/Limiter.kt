package io.github.sa3edge

import kotlin.math.PI
import kotlin.math.abs
import kotlin.math.cos
import kotlin.math.pow
import kotlin.math.sin
import kotlin.math.sqrt

/** -0.3 dBTP: lossy encoders overshoot a little more. */
internal val CEILING: Double = 10.0.pow(-0.3 / 20)

private val AIM = CEILING * 10.0.pow(-0.1 / 20)
private const val LOOK_AHEAD_SECONDS = 0.003
private const val OVERSAMPLING = 8 // finds peaks between samples to 0.1 dB
private const val TAPS = 32

/**
 * A look-ahead limiter: what would be louder than full scale is turned down, not cut off, all channels together.
 *
 * It takes a clip in pieces and gives it back some milliseconds later, the same samples however it was cut. Where no
 * true peak within its reach exceeds -0.4 dBFS, samples are as they were. Not bit-equal to other hosts' limiters.
 */
internal class Limiter(private val channels: Int, rate: Int) {
    private val reach = maxOf(1, (LOOK_AHEAD_SECONDS * rate).toInt())
    private val context = 2 * reach + TAPS
    private val window = DoubleArray(2 * reach + 1) { 0.5 - 0.5 * cos(2 * PI * (it + 1) / (2 * reach + 2)) }.let { hann ->
        val sum = hann.sum()
        DoubleArray(hann.size) { hann[it] / sum }
    }
    private var held = Array(channels) { FloatArray(0) } // samples from `start` on
    private var start = 0
    private var given = 0 // samples that were given back

    /** The samples that are settled now. */
    fun push(piece: Array<FloatArray>): Array<FloatArray> {
        held = Array(channels) { held[it] + piece[it] }
        return settle(maxOf(given, start + held[0].size - context))
    }

    /** The rest. */
    fun finish(): Array<FloatArray> = settle(start + held[0].size)

    private fun settle(until: Int): Array<FloatArray> {
        val from = given - start
        val to = until - start
        val gain = gains(maxOf(0, from - 2 * reach), minOf(held[0].size, to + 2 * reach), from, to)
        val out = Array(channels) { channel ->
            FloatArray(to - from) { i ->
                val sample = held[channel][from + i]
                if (gain == null) sample else (sample * gain[i]).toFloat()
            }
        }
        given = until
        val drop = maxOf(0, given - context - start)
        held = Array(channels) { held[it].copyOfRange(drop, held[it].size) }
        start += drop
        return out
    }

    /** Gains of the held samples [from, to), seen from [first, last); null if all are 1. */
    private fun gains(first: Int, last: Int, from: Int, to: Int): DoubleArray? {
        val between = DoubleArray(last - first + 1) { peakAfter(first - 1 + it) }
        val needed = DoubleArray(last - first) { i ->
            val at = held.maxOf { channel -> abs(channel[first + i]) }.toDouble()
            minOf(1.0, AIM / maxOf(at, between[i], between[i + 1], 1e-9))
        }
        if (needed.all { it == 1.0 }) return null
        val low = slidingMinimum(needed)
        return DoubleArray(to - from) { i ->
            var sum = 0.0
            for (k in window.indices) {
                sum += window[k] * low[(from - first + i + k - reach).coerceIn(0, low.size - 1)]
            }
            minOf(sum, 1.0)
        }
    }

    /** The loudest of all channels between the sample [left] and the next. */
    private fun peakAfter(left: Int): Double {
        if (left < 0 || left + 1 >= held[0].size) return 0.0
        var peak = 0.0
        for (channel in held) {
            // A reconstructed peak is not twice its samples.
            if (maxOf(abs(channel[left]), abs(channel[left + 1])) < AIM / 2) continue
            for (phase in PHASES) peak = maxOf(peak, abs(interpolate(channel, left, phase)))
        }
        return peak
    }

    private fun interpolate(channel: FloatArray, left: Int, phase: FloatArray): Double {
        var sum = 0f
        val begin = left - TAPS / 2 + 1
        for (k in maxOf(0, -begin) until minOf(TAPS, channel.size - begin)) sum += channel[begin + k] * phase[k]
        return sum.toDouble()
    }

    private fun slidingMinimum(values: DoubleArray): DoubleArray {
        val length = 2 * reach + 1
        var low = DoubleArray(values.size + 2 * reach) { values[(it - reach).coerceIn(0, values.size - 1)] }
        var covered = 1
        while (covered < length) {
            val step = minOf(covered, length - covered)
            low = DoubleArray(low.size - step) { minOf(low[it], low[it + step]) }
            covered += step
        }
        return low
    }

    private companion object {
        /** Windowed sinc between two samples, a row for each eighth. */
        val PHASES: List<FloatArray> = (1 until OVERSAMPLING).map { phase ->
            val taps = DoubleArray(TAPS) { k ->
                val x = k - (TAPS / 2 - 1) - phase / OVERSAMPLING.toDouble()
                sin(PI * x) / (PI * x) * kaiser(x / (TAPS / 2))
            }
            val sum = taps.sum()
            FloatArray(TAPS) { (taps[it] / sum).toFloat() }
        }

        fun kaiser(x: Double): Double = if (abs(x) >= 1) 0.0 else bessel(8.0 * sqrt(1 - x * x)) / bessel(8.0)

        fun bessel(x: Double): Double {
            var term = 1.0
            var sum = 1.0
            for (k in 1..40) {
                term *= (x / 2 / k) * (x / 2 / k)
                sum += term
            }
            return sum
        }
    }
}
