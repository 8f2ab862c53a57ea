package io.github.sa3edge

/** The clip's length when none is asked for, in seconds. */
public const val DEFAULT_SECONDS: Double = 30.0

/** From [start] to [end] in seconds; null is the beginning or the end of the clip. */
public data class Region(val start: Double?, val end: Double?)

/** How the steps of a variation go down from its noise level. */
public enum class VariationSchedule(public val key: String) {
    /** Straight down. */
    MONOTONIC("monotonic"),

    /** As the reference implementation does; inner steps may exceed the noise level. */
    REFERENCE("reference"),
}

/** How a recording is used. */
public sealed class Edit {
    public abstract val source: Recording

    /** Another version of a recording. [noiseLevel] 0.01..1 is how far from it: 1 keeps nothing of it. */
    public data class Variation(
        override val source: Recording,
        val noiseLevel: Double = 0.7,
        val schedule: VariationSchedule = VariationSchedule.MONOTONIC,
    ) : Edit()

    /**
     * Makes [regions] of a recording anew and keeps the rest. [splice] puts the recording's own samples back outside
     * the regions; false leaves the decoder's version of them.
     */
    public data class Inpainting(
        override val source: Recording,
        val regions: List<Region>,
        val splice: Boolean = true,
    ) : Edit()

    /** Goes on for [extend] seconds after a recording, or begins [prepend] seconds before it. */
    public data class Continuation(
        override val source: Recording,
        val extend: Double = 0.0,
        val prepend: Double = 0.0,
        val splice: Boolean = true,
    ) : Edit()
}

/**
 * What to make.
 *
 * @property prompt what to hear; may be empty
 * @property seconds length of the clip; null is 30 s, or the recording's length when one is edited
 * @property seed 0..2^32-1, the same seed gives the same music; null draws one
 * @property steps denoising steps; null takes the model's own
 * @property headroom seconds composed beyond the end, which are cut off; null takes the model's own
 * @property edit how a recording is used, if one is
 * @property guidance classifier-free guidance scale, 1 is none; null takes the model's own
 * @property negativePrompt what guidance leads away from
 * @property apg 1 guides only orthogonally to the prediction (adaptive projected guidance), 0 plainly
 * @property limiter keeps the peaks of what is made below full scale
 */
public data class GenerationRequest @JvmOverloads constructor(
    val prompt: String,
    val seconds: Double? = null,
    val seed: Long? = null,
    val steps: Int? = null,
    val headroom: Double? = null,
    val edit: Edit? = null,
    val guidance: Double? = null,
    val negativePrompt: String = "",
    val apg: Double = 1.0,
    val limiter: Boolean = true,
)
