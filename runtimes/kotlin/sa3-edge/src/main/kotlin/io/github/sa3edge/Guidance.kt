package io.github.sa3edge

/** Throws [RequestException] for values without meaning. */
internal fun checkGuidance(scale: Double, apg: Double, negativePrompt: String) {
    if (!scale.isFinite() || scale < 0) {
        throw RequestException("cfg must be 0 or more (1 is no guidance), got ${python(scale)}")
    }
    if (apg.isNaN() || apg !in 0.0..1.0) throw RequestException("apg must be from 0 to 1, got ${python(apg)}")
    if (negativePrompt.isNotEmpty() && scale == 1.0) {
        throw RequestException("a negative prompt has no effect without guidance; set cfg above 1, e.g. 3")
    }
}

/**
 * Classifier-free guidance: combines two predictions as denoised signals c and u, c + (scale - 1) d, where d = c - u.
 *
 * [apg] is how much of d's part along c is taken out (over all channels and frames, in fp64): that part makes sound
 * loud rather than closer to the prompt. Source: the reference's guidance; arXiv 2410.02416.
 */
internal fun guided(conditional: Velocity, unconditional: Velocity, scale: Double, apg: Double) = Velocity { x, t ->
    val c = denoised(x, conditional.at(x, t), t)
    val d = denoised(x, unconditional.at(x, t), t)
    var dot = 0.0
    var norm = 0.0
    for (i in c.indices) {
        d[i] = c[i] - d[i]
        dot += d[i] * c[i]
        norm += c[i] * c[i]
    }
    val along = if (norm > 0) apg * (dot / norm) else 0.0
    FloatArray(x.size) { i ->
        val combined = c[i] + (scale - 1) * (d[i] - along * c[i])
        ((x[i] - combined) / t).toFloat()
    }
}

private fun denoised(x: FloatArray, velocity: FloatArray, t: Float) =
    DoubleArray(x.size) { i -> (x[i] - t * velocity[i]).toDouble() }
