package io.github.sa3edge.cli

import io.github.sa3edge.ClipOptions
import io.github.sa3edge.RequestException
import io.github.sa3edge.WavDepth
import io.github.sa3edge.parseTime
import java.io.File

internal const val HELP = """Usage: java -jar cli.jar generate [OPTIONS] PROMPT

  Make a clip from a prompt, or from a recording. The options are those of `sa3-edge generate`.

  -m, --model DIR             The bundle's folder.
  -s, --seconds S             Length of the clip, seconds or mm:ss: 30, or the recording's, by default.
      --seed N                The same seed gives the same music; random by default.
      --steps N               Denoising steps; the model's own by default.
      --headroom S            Seconds composed beyond the end and cut off; the model's own by default.
      --threads N             CPU threads; one a physical core by default.

Editing a recording
      --init-audio FILE       A WAV file at the model's sample rate.
      --noise-level X         Variation: how far from the recording, 0.01 to 1; 0.7 by default.
      --schedule NAME         Variation: monotonic (default) or reference.
      --inpaint START:END     Make this anew, seconds or mm:ss; 4:8, 4:, :8. Repeatable.
      --extend S              Go on for so many seconds, or mm:ss, after the recording.
      --prepend S             Begin so many seconds, or mm:ss, before the recording.
      --splice, --no-splice   Put the recording's own samples back where it is kept (default) or not.

Guidance
      --cfg X                 Classifier-free guidance; 1 is none. The model's own by default.
      --negative-prompt TEXT  What guidance leads away from.
      --apg X                 Adaptive projected guidance: 1 all (default), 0 plain guidance.

Output
  -o, --output FILE           The WAV file to write; named after the prompt by default.
      --overwrite             Replace files that are there.
      --bits N                16, 24 (default) or float.
      --limiter, --no-limiter Turn peaks down, not clip them (default), or not.
      --save-latents FILE     Also write the latents, (1, C, T) float32 .npy.
      --json                  Print the result as one JSON object.
  -q, --quiet                 Print only errors.
      --debug                 Show a traceback with errors.
  -h, --help                  Show this message.
      --version               Print the version.
"""

/** What a command line asks for. */
internal class Arguments(
    val prompt: String,
    val model: File,
    val clip: ClipOptions,
    val output: File?,
    val latents: File?,
    val depth: WavDepth,
    val overwrite: Boolean,
    val threads: Int?,
    val json: Boolean,
    val quiet: Boolean,
)

/** Options of one letter by their long names. */
private val SHORT = mapOf("-m" to "--model", "-s" to "--seconds", "-o" to "--output", "-q" to "--quiet")
private val FLAGS = setOf("--splice", "--no-splice", "--limiter", "--no-limiter", "--overwrite", "--json", "--quiet", "--debug")
private val VALUES = setOf(
    "--model", "--seconds", "--seed", "--steps", "--headroom", "--threads", "--init-audio", "--noise-level", "--schedule",
    "--inpaint", "--extend", "--prepend", "--cfg", "--negative-prompt", "--apg", "--output", "--bits", "--save-latents",
)

/** Reads what comes after `generate`. Throws [RequestException]. */
internal fun parseArguments(arguments: List<String>): Arguments {
    val given = LinkedHashMap<String, MutableList<String>>()
    val words = ArrayList<String>()
    val rest = arguments.iterator()
    while (rest.hasNext()) {
        val word = rest.next()
        if (word == "--") {
            rest.forEach { words.add(it) }
        } else if (!word.startsWith("-") || word == "-") {
            words.add(word)
        } else {
            val typed = if (word.startsWith("--")) word.substringBefore('=') else word
            val name = SHORT[typed] ?: typed
            val values = given.getOrPut(name) { ArrayList() }
            when {
                name in FLAGS && '=' !in word -> values.add("")
                name !in VALUES -> throw RequestException("No such option: $typed")
                '=' in word -> values.add(word.substringAfter('='))
                rest.hasNext() -> values.add(rest.next())
                else -> throw RequestException("option '$name' requires an argument")
            }
        }
    }
    if (words.isEmpty()) throw RequestException("give a prompt (it may be empty, \"\")")
    if (words.size > 1) throw RequestException("the prompt is more than one word; put it in quotes: generate \"${words.joinToString(" ")}\"")
    return Typed(given).toArguments(words[0])
}

private class Typed(private val given: Map<String, List<String>>) {
    private fun text(name: String): String? = given[name]?.last()

    private fun file(name: String): File? = text(name)?.let(::File)

    private fun number(name: String): Double? = text(name)?.let { text ->
        numberIn(text) ?: throw RequestException("invalid value for '$name': '$text' is not a valid float")
    }

    /** Seconds, or minutes and seconds. */
    private fun time(name: String): Double? = text(name)?.let { text ->
        try {
            numberIn(text) ?: parseTime(text)
        } catch (error: RequestException) {
            throw RequestException("invalid value for '$name': ${error.message}", error)
        }
    }

    private fun numberIn(text: String): Double? {
        val (infinite, nan) = NUMBER.matchEntire(text)?.destructured ?: return null
        if (infinite.isNotEmpty()) return if (text.startsWith('-')) Double.NEGATIVE_INFINITY else Double.POSITIVE_INFINITY
        return if (nan.isNotEmpty()) Double.NaN else text.toDouble()
    }

    private fun integer(name: String): Long? = text(name)?.let { text ->
        text.takeIf { INTEGER.matches(it) }?.toLongOrNull()
            ?: throw RequestException("invalid value for '$name': '$text' is not a valid int")
    }

    /** Of two flags that say the opposite, the last one counts. */
    private fun flag(name: String, default: Boolean): Boolean {
        val last = given.keys.lastOrNull { it == "--$name" || it == "--no-$name" } ?: return default
        return last == "--$name"
    }

    fun toArguments(prompt: String): Arguments {
        val bits = text("--bits") ?: WavDepth.PCM_24.key
        return Arguments(
            prompt,
            file("--model") ?: throw RequestException("name the bundle's folder: --model DIR"),
            ClipOptions(
                seconds = time("--seconds"),
                seed = integer("--seed"),
                steps = integer("--steps")?.coerceIn(Int.MIN_VALUE.toLong(), Int.MAX_VALUE.toLong())?.toInt(),
                headroom = time("--headroom"),
                cfg = number("--cfg"),
                apg = number("--apg") ?: 1.0,
                negativePrompt = text("--negative-prompt") ?: "",
                initAudio = file("--init-audio"),
                noiseLevel = number("--noise-level"),
                schedule = text("--schedule"),
                inpaint = given["--inpaint"] ?: emptyList(),
                extend = time("--extend"),
                prepend = time("--prepend"),
                splice = flag("splice", true),
                limiter = flag("limiter", true),
            ),
            file("--output"),
            file("--save-latents"),
            WavDepth.values().firstOrNull { it.key == bits }
                ?: throw RequestException("wav cannot store $bits bits; choose 24 or 16 or float"),
            "--overwrite" in given,
            integer("--threads")?.coerceIn(Int.MIN_VALUE.toLong(), Int.MAX_VALUE.toLong())?.toInt(),
            "--json" in given,
            "--quiet" in given,
        )
    }

    private companion object {
        val NUMBER = Regex("""[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|(inf|infinity)|(nan))""", RegexOption.IGNORE_CASE)
        val INTEGER = Regex("""[+-]?\d+""")
    }
}
