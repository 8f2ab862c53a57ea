package io.github.sa3edge

import java.io.File
import java.math.BigDecimal
import java.math.RoundingMode

/** The version of this library. */
public const val VERSION: String = "0.1.0"

/**
 * How a clip was made, as its tags say it: what it takes to render it again, on any host. Of a recording that was edited
 * it keeps the file's name, without folders, and its hash.
 *
 * @param model as the model was named by who asked
 */
public class ClipRecord(
    private val prompt: String,
    private val options: ClipOptions,
    private val made: Generation,
    private val pipeline: Sa3Pipeline,
    private val model: String,
) {
    private val manifest = pipeline.bundle.manifest
    private val sourceSha256 = options.initAudio?.let { sha256Of(it) }

    /** With the values filled in that were drawn or taken from the model. */
    internal val settled: ClipOptions = options.copy(
        seed = made.seed,
        steps = made.steps,
        headroom = made.headroom,
        cfg = made.guidance,
        // A continuation's length follows from its recording.
        seconds = if (options.mode == "continuation") null else made.seconds,
        initAudio = options.initAudio?.let { File(it.name) },
    )

    internal val precision: String = pipeline.bundle.artifact(GraphName.DENOISER, pipeline.engine.format).precision

    internal fun toMap(): Map<String, Any?> = mapOf(
        "version" to VERSION,
        "mode" to options.mode,
        "prompt" to prompt,
        "options" to settled.toMap(),
        "model" to model,
        "model_name" to manifest.model.name,
        "revision" to manifest.model.revision,
        "bundle" to pipeline.bundle.id,
        "precision" to precision,
        "engine" to pipeline.engine.name,
        "engine_version" to pipeline.engine.describe(),
        "synthetic" to manifest.model.synthetic,
        "source_sha256" to sourceSha256,
        "adapters" to emptyList<Any>(), // those merged while the model ran; this host merges none
    )

    /** The comment tag: JSON in ASCII, which the tags of every format carry unchanged. */
    public fun toComment(): String = canonicalJson(mapOf("sa3-edge" to toMap()))

    /** The texts of a WAV file's INFO chunk, for [writeWav]: title, software, and the record as comment. */
    public fun toWavInfo(): Map<String, String> {
        val title = if (prompt.length <= LONGEST_TITLE) prompt else prompt.take(LONGEST_TITLE - 3) + "..."
        val warning = if (manifest.model.synthetic) " (random weights: noise)" else ""
        return mapOf("INAM" to title + warning, "ISFT" to "sa3-edge $VERSION (JVM)", "ICMT" to toComment())
    }

    /** The clip as `sa3-edge generate --json` prints it: one object on one line. */
    public fun toJson(file: File, latents: File?, notes: List<String>): String {
        val samples = made.audio[0].size
        val total = made.timings.getValue("total")
        return jsonText(
            mapOf(
                "file" to file.path,
                "latents_file" to latents?.path,
                "prompt" to prompt,
                "seconds" to made.seconds,
                "samples" to samples,
                "sample_rate" to made.sampleRate,
                "seed" to made.seed,
                "steps" to made.steps,
                "headroom" to made.headroom,
                "cfg" to made.guidance,
                "mode" to options.mode,
                "options" to settled.toMap(),
                "model" to mapOf("name" to manifest.model.name, "revision" to manifest.model.revision, "bundle" to pipeline.bundle.id),
                "precision" to precision,
                "synthetic" to manifest.model.synthetic,
                "engine" to pipeline.engine.describe(),
                "version" to VERSION,
                "timings" to made.timings.mapValues { (_, seconds) -> rounded(seconds, 4) },
                "realtime_factor" to rounded(samples / made.sampleRate.toDouble() / total, 2),
                "notes" to notes,
            ),
        )
    }

    private fun rounded(value: Double, digits: Int) = BigDecimal(value).setScale(digits, RoundingMode.HALF_EVEN).toDouble()

    private companion object {
        const val LONGEST_TITLE = 100
    }
}

/** JSON with its keys in order, no spaces, in ASCII, numbers as ECMAScript writes them: the same on every host. */
internal fun canonicalJson(value: Any?): String = when (value) {
    null, is Boolean, is Int, is Long -> value.toString()
    is Double -> canonicalNumber(value)
    is Map<*, *> -> value.entries.sortedBy { it.key.toString() }
        .joinToString(",", "{", "}") { (name, item) -> "${canonicalJson(name.toString())}:${canonicalJson(item)}" }
    is Iterable<*> -> value.joinToString(",", "[", "]") { canonicalJson(it) }
    else -> jsonText(value.toString(), ascii = true)
}

private fun canonicalNumber(value: Double): String {
    require(value.isFinite()) { "JSON has no $value" }
    if (value == 0.0) return "0"
    // The shortest digits that say the number: since JDK 19 those of toString, before it sometimes one more.
    val shortest = shortest(value)
    val digits = shortest.unscaledValue().abs().toString()
    val point = digits.length - shortest.scale() // digits before the decimal point
    val sign = if (value < 0) "-" else ""
    return sign + when {
        point in digits.length..21 -> digits.padEnd(point, '0')
        point in 1..21 -> digits.substring(0, point) + "." + digits.substring(point)
        point in -5..0 -> "0." + "0".repeat(-point) + digits
        else -> {
            val exponent = point - 1
            val fraction = if (digits.length > 1) ".${digits.substring(1)}" else ""
            "${digits[0]}${fraction}e${if (exponent < 0) "-" else "+"}${Math.abs(exponent)}"
        }
    }
}

private fun shortest(value: Double): BigDecimal {
    val exact = BigDecimal(value)
    for (digits in 1..17) {
        val rounded = exact.round(java.math.MathContext(digits))
        if (rounded.toDouble() == value) return rounded.stripTrailingZeros()
    }
    return exact
}
