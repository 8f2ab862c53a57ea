package io.github.sa3edge

/** Seeds are 0 until this: MT19937 is seeded with 32 bits. */
public const val SEEDS: Long = 1L shl 32

private const val BLOCK = 16 // Box-Muller works on 16 uniforms: the first 8 make radii, the other 8 angles
private const val HALF = BLOCK / 2
private const val LENGTH = 624
private const val SHIFT = 397

/** The Mersenne Twister, as PyTorch and NumPy seed it. */
internal class Mt19937(seed: Int) {
    private val state = IntArray(LENGTH)
    private var at = LENGTH

    init {
        state[0] = seed
        for (i in 1 until LENGTH) {
            val previous = state[i - 1]
            state[i] = 1812433253 * (previous xor (previous ushr 30)) + i
        }
    }

    /** 32 random bits. */
    fun next(): Int {
        if (at == LENGTH) twist()
        var y = state[at++]
        y = y xor (y ushr 11)
        y = y xor (y shl 7 and 0x9d2c5680.toInt())
        y = y xor (y shl 15 and 0xefc60000.toInt())
        return y xor (y ushr 18)
    }

    private fun twist() {
        for (i in 0 until LENGTH) {
            val y = (state[i] and Int.MIN_VALUE) or (state[(i + 1) % LENGTH] and Int.MAX_VALUE)
            val flip = if (y and 1 == 0) 0 else 0x9908b0df.toInt()
            state[i] = state[(i + SHIFT) % LENGTH] xor (y ushr 1) xor flip
        }
        at = 0
    }
}

/** Logarithm, cosine and sine in fp64. */
internal interface Functions {
    fun log(x: Double): Double

    fun cos(x: Double): Double

    fun sin(x: Double): Double

    /** The same bits on every JVM and on Android. */
    object Strict : Functions {
        override fun log(x: Double) = StrictMath.log(x)

        override fun cos(x: Double) = StrictMath.cos(x)

        override fun sin(x: Double) = StrictMath.sin(x)
    }
}

/**
 * The reference's noise: successive draws of `torch.randn` on the CPU after `torch.manual_seed(seed)`.
 *
 * The functions are computed in fp64, each result and product is rounded to fp32: that is the same on every host.
 * Throws [RequestException] for a seed outside 0..2^32-1.
 */
public class NoiseStream internal constructor(seed: Long, private val functions: Functions) {
    public constructor(seed: Long) : this(seed, Functions.Strict)

    private val integers: Mt19937

    init {
        if (seed !in 0 until SEEDS) throw RequestException("seed must be between 0 and ${SEEDS - 1}, got $seed")
        integers = Mt19937(seed.toInt())
    }

    /** The next [count] unit normal values, at least 16. */
    public fun normal(count: Int): FloatArray {
        require(count >= BLOCK) { "PyTorch draws fewer than $BLOCK values in another way, got $count" }
        val values = FloatArray(count)
        uniform(values, 0)
        for (at in 0..count - BLOCK step BLOCK) boxMuller(values, at)
        if (count % BLOCK != 0) {
            // The last, partial block is drawn anew as a whole one that ends at the end.
            uniform(values, count - BLOCK)
            boxMuller(values, count - BLOCK)
        }
        return values
    }

    private fun uniform(values: FloatArray, from: Int) {
        for (i in from until values.size) values[i] = (integers.next() and 0xffffff) * (1f / (1 shl 24))
    }

    private fun boxMuller(values: FloatArray, at: Int) {
        for (i in at until at + HALF) {
            val log = functions.log(1.0 - values[i].toDouble()).toFloat()
            val radius = StrictMath.sqrt((-2f * log).toDouble()).toFloat()
            val angle = (TWO_PI * values[i + HALF]).toDouble()
            values[i] = radius * functions.cos(angle).toFloat()
            values[i + HALF] = radius * functions.sin(angle).toFloat()
        }
    }

    private companion object {
        const val TWO_PI = (2 * Math.PI).toFloat()
    }
}

/** Draws of latent noise: [allocated] frames each time as the reference draws them, the first [valid] returned. */
internal class LatentNoise(
    seed: Long,
    private val channels: Int,
    private val allocated: Int,
    private val valid: Int,
    functions: Functions = Functions.Strict,
) {
    private val stream = NoiseStream(seed, functions)

    /** (C, valid), a row a channel. */
    fun draw(): FloatArray = columns(stream.normal(channels * allocated), channels, 0, valid)
}
