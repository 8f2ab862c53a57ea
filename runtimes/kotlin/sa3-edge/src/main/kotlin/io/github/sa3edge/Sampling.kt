package io.github.sa3edge

/** The denoiser: latents (C, T) and a time to a velocity of the same shape. */
internal fun interface Velocity {
    fun at(x: FloatArray, t: Float): FloatArray
}

/**
 * Timesteps from [noiseLevel] down to 0, one more than [steps]: computed in fp64, rounded to fp32.
 *
 * A straight line in log-SNR, as in the reference: t = sigmoid(-logsnr). A lower noise level starts the line there; its
 * inner points may exceed it.
 */
internal fun schedule(steps: Int, logsnrStart: Double, logsnrEnd: Double, noiseLevel: Double = 1.0): FloatArray {
    val step = (0.0 - noiseLevel) / steps
    val t = FloatArray(steps + 1) { i ->
        val line = i * step + noiseLevel
        val logsnr = logsnrEnd + (logsnrStart - logsnrEnd) * line
        (1.0 / (1.0 + StrictMath.exp(logsnr))).toFloat()
    }
    t[0] = noiseLevel.toFloat()
    t[steps] = 0f
    return t
}

/** The timesteps of a variation of a recording. */
internal fun variationSchedule(steps: Int, logsnrStart: Double, logsnrEnd: Double, noiseLevel: Double, kind: VariationSchedule): FloatArray {
    if (kind == VariationSchedule.REFERENCE) return schedule(steps, logsnrStart, logsnrEnd, noiseLevel)
    val t = schedule(steps, logsnrStart, logsnrEnd)
    return FloatArray(t.size) { t[it] * noiseLevel.toFloat() }
}

/**
 * Denoise completely, add fresh noise of the next level, repeat. For `rf_denoiser` models.
 *
 * [draw] draws one tensor of x's shape a step, on the last step too, where it counts nothing: the reference does.
 */
internal fun pingPong(
    velocity: Velocity,
    start: FloatArray,
    t: FloatArray,
    draw: () -> FloatArray,
    onStep: (Int) -> Unit,
): FloatArray {
    var x = start
    for (step in 0 until t.size - 1) {
        val now = t[step]
        val next = t[step + 1]
        val keep = 1f - next
        val v = velocity.at(x, now)
        val noise = draw()
        x = FloatArray(x.size) { i ->
            val denoised = x[i] - now * v[i]
            keep * denoised + next * noise[i]
        }
        onStep(step + 1)
    }
    return x
}

/** Follow the velocity in straight steps. For `rectified_flow` models. */
internal fun euler(velocity: Velocity, start: FloatArray, t: FloatArray, onStep: (Int) -> Unit): FloatArray {
    var x = start
    for (step in 0 until t.size - 1) {
        val length = t[step + 1] - t[step]
        val v = velocity.at(x, t[step])
        x = FloatArray(x.size) { i -> x[i] + length * v[i] }
        onStep(step + 1)
    }
    return x
}
