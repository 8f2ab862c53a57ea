package io.github.sa3edge

import kotlin.math.PI

private const val LOWEST_NOISE_LEVEL = 0.01 // below it the model was never trained
private const val CROSSFADE_SECONDS = 0.03

/** Samples [start, end). */
internal data class Span(val start: Int, val end: Int)

/**
 * A request with everything settled that does not need computing.
 *
 * @property source the recording where it lies in the clip, (channels, allocated samples), if there is one
 * @property regions samples to make anew, null if nothing of the recording is to be kept as it is
 * @property splice whether the recording is put back outside the regions
 */
internal class Plan(
    val seconds: Double,
    val lengths: Lengths,
    val source: Array<FloatArray>? = null,
    val regions: List<Span>? = null,
    val splice: Boolean = false,
) {
    /** The plan after the recording is encoded: its samples can be freed, unless they are spliced. */
    fun withoutSource(): Plan = if (splice) this else Plan(seconds, lengths, null, regions, false)
}

/** Settles lengths and regions, and reads the recording. Throws [RequestException] for what cannot be. */
internal fun planRequest(request: GenerationRequest, headroom: Double, manifest: Manifest, notes: MutableList<String>): Plan =
    when (val edit = request.edit) {
        null -> (request.seconds ?: DEFAULT_SECONDS).let { Plan(it, planLengths(it, headroom, manifest)) }
        is Edit.Variation -> planVariation(request, edit, headroom, manifest, notes)
        is Edit.Inpainting -> planInpainting(request, edit, headroom, manifest, notes)
        is Edit.Continuation -> planContinuation(request, edit, headroom, manifest, notes)
    }

private fun planVariation(
    request: GenerationRequest,
    edit: Edit.Variation,
    headroom: Double,
    manifest: Manifest,
    notes: MutableList<String>,
): Plan {
    if (edit.noiseLevel.isNaN() || edit.noiseLevel !in LOWEST_NOISE_LEVEL..1.0) {
        throw RequestException("noise level must be from $LOWEST_NOISE_LEVEL to 1, got ${python(edit.noiseLevel)}")
    }
    val audio = manifest.audio
    val length = edit.source.samplesAt(audio.sampleRate)
    val seconds = request.seconds ?: sourceSeconds(edit, manifest)
    val lengths = planLengths(seconds, headroom, manifest)
    if (lengths.samples.toLong() != length) {
        val action = if (lengths.samples > length) "the rest is silence" else "what comes later is not used"
        notes.add("${edit.source.name} is ${fixed(length, audio.sampleRate)} s, the clip ${general(seconds)} s; $action")
    }
    return Plan(seconds, lengths, load(edit, lengths, audio, notes))
}

private fun planInpainting(
    request: GenerationRequest,
    edit: Edit.Inpainting,
    headroom: Double,
    manifest: Manifest,
    notes: MutableList<String>,
): Plan {
    val audio = manifest.audio
    val length = edit.source.samplesAt(audio.sampleRate)
    val seconds = request.seconds ?: sourceSeconds(edit, manifest)
    val lengths = planLengths(seconds, headroom, manifest)
    if (lengths.samples > length) {
        throw RequestException(
            "${edit.source.name} ends after ${fixed(length, audio.sampleRate)} s, before the clip's ${general(seconds)} s; " +
                "to go on after its end, extend it",
        )
    }
    val regions = checkRegions(edit.regions, lengths.samples, audio.sampleRate)
    return Plan(seconds, lengths, load(edit, lengths, audio, notes), regions, edit.splice)
}

private fun planContinuation(
    request: GenerationRequest,
    edit: Edit.Continuation,
    headroom: Double,
    manifest: Manifest,
    notes: MutableList<String>,
): Plan {
    val audio = manifest.audio
    if (request.seconds != null) {
        throw RequestException("seconds follows from the recording when it is extended; leave it out")
    }
    for ((name, value) in listOf("extend" to edit.extend, "prepend" to edit.prepend)) {
        if (!value.isFinite() || value < 0 || (value > 0 && value < SHORTEST_SECONDS)) {
            throw RequestException("$name must be $SHORTEST_SECONDS seconds or more, got ${python(value)}")
        }
    }
    if (edit.extend == 0.0 && edit.prepend == 0.0) {
        throw RequestException("say by how many seconds to extend or to prepend")
    }
    val length = edit.source.samplesAt(audio.sampleRate)
    checkRoom(edit, length, manifest)
    val before = (edit.prepend * audio.sampleRate).toInt()
    val after = (edit.extend * audio.sampleRate).toInt()
    val end = before + length.toInt()
    val total = end + after
    val seconds = secondsOf(total.toLong(), audio.sampleRate)
    val lengths = planLengths(seconds, headroom, manifest)
    val recording = edit.source.load(length.toInt(), audio.sampleRate, audio.channels, notes)
    val source = Array(audio.channels) { channel ->
        FloatArray(lengths.allocated * audio.samplesPerFrame).also { recording[channel].copyInto(it, before) }
    }
    val regions = listOf(Span(0, before), Span(end, total)).filter { it.start < it.end }
    return Plan(seconds, lengths, source, regions, edit.splice)
}

private fun load(edit: Edit, lengths: Lengths, audio: AudioGeometry, notes: MutableList<String>) =
    edit.source.load(lengths.allocated * audio.samplesPerFrame, audio.sampleRate, audio.channels, notes)

/** The clip's length when none is asked for: the recording's. */
private fun sourceSeconds(edit: Edit, manifest: Manifest): Double {
    val rate = manifest.audio.sampleRate
    val seconds = secondsOf(edit.source.samplesAt(rate), rate)
    if (seconds > manifest.maxSeconds) {
        throw RequestException(
            "${edit.source.name} is ${fixed(edit.source.frames, rate)} s, more than ${manifest.model.name} takes in one pass; " +
                "say how many seconds of it to use, at most ${general(manifest.maxSeconds)}",
        )
    }
    return seconds
}

private fun checkRoom(edit: Edit.Continuation, length: Long, manifest: Manifest) {
    val rate = manifest.audio.sampleRate
    val added = Math.floor(edit.prepend * rate) + Math.floor(edit.extend * rate)
    val room = (manifest.maxSeconds * rate).toLong() - length
    if (added > room) {
        val possible = if (room > 0) "at most ${fixed(room, rate)} s can be added" else "nothing can be added"
        throw RequestException(
            "${edit.source.name} is ${fixed(length, rate)} s and the longest clip is ${general(manifest.maxSeconds)} s: " +
                "$possible, ${general(added / rate)} s were asked for",
        )
    }
}

/** Regions in samples, in order. Throws [RequestException] for one that is empty, outside or overlaps another. */
internal fun checkRegions(regions: List<Region>, samples: Int, rate: Int): List<Span> {
    if (regions.isEmpty()) throw RequestException("inpainting needs at least one region")
    val spans = regions.map { region ->
        val start = region.start ?: 0.0
        val end = region.end ?: Double.POSITIVE_INFINITY
        val said = "region ${general(start)}:${region.end?.let { general(it) } ?: ""}"
        if (!start.isFinite() || start < 0 || (region.end != null && !end.isFinite())) {
            throw RequestException("$said must lie within the clip, from 0 to ${fixed(samples.toLong(), rate)} s")
        }
        if (end < start) throw RequestException("$said ends before it starts")
        val first = Math.floor(start * rate)
        val last = if (region.end == null) samples.toDouble() else Math.floor(end * rate)
        if (first >= samples || last > samples) {
            throw RequestException("$said reaches beyond the clip's ${fixed(samples.toLong(), rate)} s")
        }
        if (first == last) throw RequestException("$said is empty")
        Span(first.toInt(), last.toInt())
    }.sortedWith(compareBy({ it.start }, { it.end }))
    for ((one, next) in spans.zipWithNext()) {
        if (next.start < one.end) throw RequestException("regions overlap at ${general(next.start / rate.toDouble())} s")
    }
    return spans
}

/** (T): 1 for latent frames to keep. A frame goes by its first sample, as in the reference. */
internal fun keepMask(lengths: Lengths, regions: List<Span>, samplesPerFrame: Int): FloatArray =
    FloatArray(lengths.valid) { frame ->
        val first = frame.toLong() * samplesPerFrame
        if (first < lengths.samples && regions.none { first >= it.start && first < it.end }) 1f else 0f
    }

/**
 * Puts the recording's samples back outside the regions, in [audio] (channels, samples), whose first sample is the
 * clip's [start]th.
 *
 * Within 30 ms of a region the two are crossfaded, all on the recording's side: what was to be made anew is all new, and
 * where a recording ends there is nothing of it beyond to fade with. Farther out the samples are the recording's.
 */
internal fun splice(audio: Array<FloatArray>, start: Int, plan: Plan, rate: Int) {
    val source = plan.source ?: return
    val regions = plan.regions ?: return
    for (i in audio[0].indices) {
        val position = start + i
        val distance = regions.minOf { maxOf(it.start - position, position - it.end + 1, 0) }
        // 0 in a region, 1 beyond the fade, half a cosine between.
        val progress = minOf(1.0, distance / (CROSSFADE_SECONDS * rate))
        if (progress <= 0.0) continue
        val share = 0.5 - 0.5 * Math.cos(PI * progress)
        for (channel in audio.indices) {
            val made = audio[channel][i]
            val kept = source[channel][position]
            audio[channel][i] = if (progress >= 1.0) kept else (made + (kept - made) * share).toFloat()
        }
    }
}

/** Seconds with two digits. */
private fun fixed(samples: Long, rate: Int) = "%.2f".format(java.util.Locale.ROOT, samples / rate.toDouble())
