package io.github.sa3edge

import java.io.File

/**
 * The options that shape a clip, as people type them and as a clip's record keeps them; null or empty is "not given".
 *
 * Names and values are those of `sa3-edge generate` and of its records.
 */
public data class ClipOptions @JvmOverloads constructor(
    val seconds: Double? = null,
    val seed: Long? = null,
    val steps: Int? = null,
    val headroom: Double? = null,
    val cfg: Double? = null,
    val apg: Double = 1.0,
    val negativePrompt: String = "",
    val initAudio: File? = null,
    val noiseLevel: Double? = null,
    val schedule: String? = null,
    val inpaint: List<String> = emptyList(),
    val extend: Double? = null,
    val prepend: Double? = null,
    val splice: Boolean = true,
    val limiter: Boolean = true,
) {
    /** What kind of clip these options make. */
    public val mode: String
        get() = when {
            inpaint.isNotEmpty() -> "inpainting"
            extend != null || prepend != null -> "continuation"
            initAudio == null -> "text"
            else -> "variation"
        }

    /** Throws [RequestException] for options that do not go together, and for a recording that cannot be read. */
    @Throws(RequestException::class)
    public fun toRequest(prompt: String): GenerationRequest = GenerationRequest(
        prompt, seconds, seed, steps, headroom, edit(), cfg, negativePrompt, apg, limiter,
    )

    /** By the names of a record. */
    internal fun toMap(): Map<String, Any?> = mapOf(
        "seconds" to seconds, "seed" to seed, "steps" to steps, "headroom" to headroom, "cfg" to cfg, "apg" to apg,
        "negative_prompt" to negativePrompt, "init_audio" to initAudio?.path, "noise_level" to noiseLevel,
        "schedule" to schedule, "inpaint" to inpaint, "extend" to extend, "prepend" to prepend, "splice" to splice,
        "limiter" to limiter,
    )

    private fun edit(): Edit? {
        val continues = extend != null || prepend != null
        val wanted = listOf(
            "--noise-level or --schedule" to (noiseLevel != null || schedule != null),
            "--inpaint" to inpaint.isNotEmpty(),
            "--extend or --prepend" to continues,
        ).filter { it.second }.map { it.first }
        if (wanted.size > 1) throw RequestException("${wanted.joinToString(" and ")} do not go together; do one after the other")
        if (initAudio == null && wanted.isNotEmpty()) throw RequestException("${wanted[0]} needs a recording: --init-audio FILE")
        if (!splice && (initAudio == null || inpaint.isEmpty() && !continues)) {
            throw RequestException("--no-splice needs --inpaint, --extend or --prepend")
        }
        val source = Recording.fromWav(initAudio ?: return null)
        if (inpaint.isNotEmpty()) return Edit.Inpainting(source, inpaint.map(::parseRegion), splice)
        if (continues) return Edit.Continuation(source, extend ?: 0.0, prepend ?: 0.0, splice)
        val chosen = VariationSchedule.values().firstOrNull { it.key == (schedule ?: "monotonic") }
            ?: throw RequestException("unknown schedule ${quoted(schedule!!)}; choose monotonic or reference")
        return Edit.Variation(source, noiseLevel ?: 0.7, chosen)
    }
}

private val TIME = Regex("""(?:\d+:)?\d+(?:\.\d*)?|\.\d+""") // seconds, or minutes:seconds

/** Seconds from "90", "12.5" or "1:30". Throws [RequestException]. */
public fun parseTime(text: String): Double {
    if (!TIME.matches(text)) throw RequestException("${quoted(text)} is no time; write seconds (12.5) or minutes:seconds (1:30)")
    val minutes = text.substringBeforeLast(':', "")
    val seconds = text.substringAfterLast(':').toDouble()
    if (minutes.isNotEmpty() && seconds >= 60) throw RequestException("${quoted(text)} has more than 59 seconds after the minutes")
    return (if (minutes.isEmpty()) 0.0 else minutes.toDouble()) * 60 + seconds
}

/**
 * A region from "4:8", "4:", ":8", "1:30:1:45" or, where that could be read in two ways, "50-1:10".
 * Throws [RequestException].
 */
public fun parseRegion(text: String): Region {
    var parts = text.split(if ('-' in text) '-' else ':')
    if ('-' !in text && parts.size == 4) {
        parts = listOf("${parts[0]}:${parts[1]}", "${parts[2]}:${parts[3]}") // 1:30:1:45
    } else if ('-' !in text && parts.size == 3 && (parts[0].isEmpty() || parts[2].isEmpty())) {
        // 1:30: or :1:30
        parts = if (parts[2].isEmpty()) listOf("${parts[0]}:${parts[1]}", "") else listOf("", "${parts[1]}:${parts[2]}")
    }
    if (parts.size != 2 || parts.all { it.isEmpty() }) {
        throw RequestException("${quoted(text)} is no region; write START:END in seconds (4:8, 4:, :8) or with a dash (50-1:10)")
    }
    val (start, end) = parts.map { part -> if (part.isEmpty()) null else parseTime(part) }
    return Region(start, end)
}
