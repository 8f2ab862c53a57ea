package io.github.sa3edge

/** A graph of a bundle, under its name in the manifest. */
public enum class GraphName(public val key: String) {
    TEXT_ENCODER("text_encoder"),
    CONDITIONER("conditioner"),
    DENOISER("denoiser"),
    DECODER("decoder"),
    ENCODER("encoder"),
}

/** `RF_DENOISER` models take the ping-pong sampler, `RECTIFIED_FLOW` ones Euler's. */
public enum class Objective(public val key: String) {
    RF_DENOISER("rf_denoiser"),
    RECTIFIED_FLOW("rectified_flow"),
}

/** A file of the bundle; [path] is relative to the bundle's folder, with forward slashes. */
public data class BundleFile(val path: String, val sha256: String, val bytes: Long)

/** A side of a tensor: a [size], or an axis by its [name], whose length the host chooses. */
public data class Axis(val size: Int?, val name: String?) {
    override fun toString(): String = name ?: size.toString()
}

/** An input or output of a graph. [pad] and [per] are of Core ML packages: what fills a length up; `run` or `step`. */
public data class TensorInfo(
    val name: String,
    val dtype: String,
    val shape: List<Axis>,
    val pad: String? = null,
    val per: String? = null,
)

/** Signal-to-noise ratio against PyTorch at one length, as the exporter measured it. */
public data class Parity(val length: Int, val snrDb: Double, val psnrDb: Double?)

/** One graph in one format. The first of [files] is the one to load; the others lie beside it. */
public data class Artifact(
    val files: List<BundleFile>,
    val precision: String,
    val parity: List<Parity>,
    val inputs: List<TensorInfo> = emptyList(),
    val outputs: List<TensorInfo> = emptyList(),
    val functions: Map<String, Map<String, Int>> = emptyMap(),
    val computeUnits: String? = null,
    val layers: Map<String, Layer> = emptyMap(),
)

/** Where a graph has a layer's weight, for hosts that merge adapters into it: initializers that are rows of it. */
public data class Layer(val shape: List<Int>, val parts: List<Part>)

/** An initializer that is [rows] rows of a layer's weight (outputs, ...), from [first] on, perhaps [transposed]. */
public data class Part(val initializer: String, val first: Int, val rows: Int, val transposed: Boolean)

/** A graph's interface, the same in every format, and its files by format (`onnx`, `coreml`). */
public data class Graph(
    val description: String,
    val inputs: List<TensorInfo>,
    val outputs: List<TensorInfo>,
    val artifacts: Map<String, Artifact>,
)

/** A LoRA that was merged into the weights. */
public data class Adapter(val file: String, val sha256: String, val strength: Double)

/** Where the weights come from. [synthetic] weights are random numbers: what they make is noise; say so. */
public data class Model(
    val name: String,
    val revision: String,
    val licence: String,
    val synthetic: Boolean,
    val adapters: List<Adapter>,
)

/** Geometry. A latent frame is [samplesPerFrame] samples of every channel; a pass takes [maxFrames] at most. */
public data class AudioGeometry(
    val sampleRate: Int,
    val channels: Int,
    val samplesPerFrame: Int,
    val latentChannels: Int,
    val maxFrames: Int,
)

/** The prompt's side: [hiddenSize] is the width of the text encoder's output. */
public data class TextGeometry(val tokenizer: BundleFile, val maxTokens: Int, val hiddenSize: Int)

/** How to sample, and the model's own defaults. */
public data class Sampler(
    val objective: Objective,
    val logsnrStart: Double,
    val logsnrEnd: Double,
    val steps: Int,
    val guidance: Double,
    val headroomSeconds: Double,
)

/** How to cut a sequence, in frames: what a tile adds, what it shares with its neighbours, what divides its length. */
public data class Tiles(val frames: Int, val overlap: Int, val multiple: Int)

/** Tiles of the graphs that work on parts of a clip. */
public data class Tiling(val decoder: Tiles, val encoder: Tiles)

/** `manifest.json`: all that a host needs to know of a bundle. Each field is described in `runtimes/README.md`. */
public data class Manifest(
    val schemaVersion: Int,
    val model: Model,
    val audio: AudioGeometry,
    val text: TextGeometry,
    val sampler: Sampler,
    val tiles: Tiling,
    val graphs: Map<GraphName, Graph>,
    val memoryTokens: Int?,
    val madeWith: Map<String, String>,
    val unknownConfigKeys: List<String>,
) {
    /** The longest clip of one pass, in whole seconds where the frames allow it. */
    public val maxSeconds: Double
        get() = Math.floorDiv(audio.maxFrames.toLong() * audio.samplesPerFrame, audio.sampleRate.toLong()).toDouble()

    public companion object {
        public const val FILE_NAME: String = "manifest.json"

        /** The schemas that this host reads. */
        public val SCHEMA_VERSIONS: List<Int> = listOf(2, 3)

        /** Reads `manifest.json`. Unknown or missing fields and other schemas are a [BundleException] that names them. */
        @Throws(BundleException::class)
        public fun parse(data: ByteArray): Manifest = try {
            readManifest(Section.root(JsonReader.parse(data))).also(::checkSizes)
        } catch (error: JsonException) {
            throw BundleException("$FILE_NAME is not valid: ${error.message}", error)
        }
    }
}

/** Bytes of a manifest; those of published models have 20 kB. */
internal const val LARGEST_MANIFEST = 16L shl 20

// Beyond reason: a size that only a mistake, or malice, has is refused before anything is reserved for it.
private const val LARGEST = 1 shl 20
private const val LARGEST_GAIN = 1e6
private const val LONGEST_NAME = 1024
private const val MOST_SAMPLES = 1L shl 29 // of a whole clip, or of a tile with its neighbours, all channels
private const val MOST_AXES = 8
private val SHA256 = Regex("[0-9a-f]{64}")
private val DTYPES = listOf("float32", "float16", "int64", "int32")
private val COMPUTE_UNITS = listOf("all", "cpu_and_ne", "cpu_and_gpu", "cpu_only")
private val PADS = listOf("zeros", "mask", "repeat_last")
private val PERS = listOf("run", "step")

/** Throws [BundleException] where sizes that are each within bounds ask for more than any model needs together. */
private fun checkSizes(manifest: Manifest) {
    val audio = manifest.audio
    val tiles = listOf(manifest.tiles.decoder, manifest.tiles.encoder).maxOf { it.frames + 2L * it.overlap }
    val frames = maxOf(audio.maxFrames.toLong(), tiles)
    // Each of the three is below 2^22, so the product fits.
    if (frames * audio.samplesPerFrame * audio.channels > MOST_SAMPLES) {
        throw BundleException("${Manifest.FILE_NAME} is not valid: $frames frames of ${audio.samplesPerFrame} samples are too many")
    }
}

private fun readManifest(root: Section): Manifest {
    // Before all else: of another schema, everything else may be otherwise.
    val version = root.peek("schema_version")
    if (version != null) {
        val number = (version as? JsonNumber)?.takeIf { it.isInteger }?.text?.toIntOrNull()
        if (number !in Manifest.SCHEMA_VERSIONS) {
            val said = if (version is JsonNumber) version.text else jsonText(version)
            throw BundleException(
                "schema version $said is not one that this sa3-edge reads " +
                    "(${Manifest.SCHEMA_VERSIONS.joinToString(" or ")}); export the bundle again or use another sa3-edge",
            )
        }
    }
    return root.read {
        val schema = int("schema_version")
        Manifest(
            schemaVersion = schema,
            model = section("model").read {
                Model(
                    string("name"), string("revision"), string("licence"), boolean("synthetic"),
                    list("adapters") { adapter ->
                        adapter.asSection().read { Adapter(string("file"), string("sha256"), double("strength")) }
                    },
                )
            },
            audio = section("audio").read {
                AudioGeometry(
                    size("sample_rate"), size("channels"), size("samples_per_frame"), size("latent_channels"),
                    size("max_frames"),
                )
            },
            text = section("text").read {
                TextGeometry(section("tokenizer").read { readFile() }, size("max_tokens"), size("hidden_size"))
            },
            sampler = section("sampler").read {
                Sampler(
                    choice("objective", Objective.values().map { it.key }).let { key ->
                        Objective.values().first { it.key == key }
                    },
                    gain("logsnr_start"), gain("logsnr_end"), int("steps", 1, 10_000), gain("guidance"),
                    double("headroom_seconds", 0.0, 3600.0),
                )
            },
            tiles = section("tiles").read {
                Tiling(section("decoder").read { readTiles() }, section("encoder").read { readTiles() })
            },
            graphs = map("graphs") { graph -> graph.asSection().read { readGraph(schema) } }.mapKeys { (key, _) ->
                GraphName.values().firstOrNull { it.key == key }
                    ?: throw JsonException("Invalid enum value '$key' - at `key` in `$.graphs`")
            },
            memoryTokens = if (schema >= 3) int("memory_tokens", 0, LARGEST) else null,
            madeWith = map("made_with") { it.asString() },
            unknownConfigKeys = list("unknown_config_keys") { it.asString() },
        )
    }
}

private fun Section.readFile() = BundleFile(string("path", 1, LONGEST_NAME), sha256(), long("bytes", 0, 1L shl 40))

private fun Section.sha256(): String {
    val sha256 = string("sha256")
    if (!SHA256.matches(sha256)) throw JsonException("Expected `str` of 64 hex digits${at("sha256")}")
    return sha256
}

private fun Section.gain(name: String) = double(name, -LARGEST_GAIN, LARGEST_GAIN)

private fun Section.size(name: String) = int(name, 1, LARGEST)

private fun Section.readTiles() = Tiles(size("frames"), int("overlap", 0, LARGEST), size("multiple"))

private fun Section.readGraph(schema: Int) = Graph(
    string("description"),
    list("inputs") { it.asSection().read { readTensor(false) } },
    list("outputs") { it.asSection().read { readTensor(false) } },
    map("artifacts") { it.asSection().read { readArtifact(schema) } },
)

private fun Section.readTensor(packaged: Boolean) = TensorInfo(
    string("name", 0, LONGEST_NAME),
    choice("dtype", DTYPES),
    list("shape", most = MOST_AXES) { axis ->
        when (axis.value) {
            is String -> Axis(null, axis.asString(0, LONGEST_NAME))
            is JsonNumber -> Axis(axis.asInt(0, Int.MAX_VALUE), null)
            else -> throw axis.wrong("int | str")
        }
    },
    if (packaged) choice("pad", PADS) else null,
    if (packaged) choice("per", PERS) else null,
)

private fun Section.readArtifact(schema: Int) = Artifact(
    list("files", least = 1) { it.asSection().read { readFile() } },
    string("precision"),
    list("parity") { parity ->
        parity.asSection().read { Parity(int("length"), double("snr_db"), if (has("psnr_db")) doubleOrNull("psnr_db") else null) }
    },
    if (has("inputs")) list("inputs") { it.asSection().read { readTensor(schema >= 3) } } else emptyList(),
    if (has("outputs")) list("outputs") { it.asSection().read { readTensor(false) } } else emptyList(),
    if (has("functions")) {
        map("functions") { sizes -> sizes.asMap { it.asInt() } }
    } else {
        emptyMap()
    },
    if (has("compute_units")) choiceOrNull("compute_units", COMPUTE_UNITS) else null,
    if (has("layers")) map("layers", LONGEST_NAME) { it.asSection().read { readLayer() } } else emptyMap(),
)

private fun Section.readLayer() = Layer(
    list("shape", 2, 4) { it.asInt(1, LARGEST) },
    list("parts", least = 1) { part ->
        part.asSection().read { Part(string("initializer", 0, LONGEST_NAME), int("first", 0, LARGEST), size("rows"), boolean("transposed")) }
    },
)

/** A value and where it stands, for messages. */
internal class Located(val value: Any?, private val path: String) {
    fun wrong(expected: String) = JsonException("Expected `$expected`, got `${kind(value)}`${at()}")

    fun at() = if (path == "$") "" else " - at `$path`"

    fun asSection(): Section = Section(asMapOfAny(), path)

    /** Of so many code points. */
    fun asString(least: Int = 0, most: Int = Int.MAX_VALUE): String {
        val text = value as? String ?: throw wrong("str")
        val count = text.codePointCount(0, text.length)
        if (count < least) throw JsonException("Expected `str` of length >= $least${at()}")
        if (count > most) throw JsonException("Expected `str` of length <= $most${at()}")
        return text
    }

    fun asBoolean(): Boolean = value as? Boolean ?: throw wrong("bool")

    fun asLong(least: Long = Long.MIN_VALUE, most: Long = Long.MAX_VALUE): Long {
        val number = (value as? JsonNumber)?.takeIf { it.isInteger } ?: throw wrong("int")
        val long = number.text.toLongOrNull() ?: throw JsonException("Integer value out of range${at()}")
        if (long < least) throw JsonException("Expected `int` >= $least${at()}")
        if (long > most) throw JsonException("Expected `int` <= $most${at()}")
        return long
    }

    fun asInt(least: Int? = null, most: Int? = null): Int {
        val long = asLong(least?.toLong() ?: Long.MIN_VALUE, most?.toLong() ?: Long.MAX_VALUE)
        if (long != long.toInt().toLong()) throw JsonException("Integer value out of range${at()}")
        return long.toInt()
    }

    fun asDouble(least: Double = Double.NEGATIVE_INFINITY, most: Double = Double.POSITIVE_INFINITY): Double {
        val double = (value as? JsonNumber)?.text?.toDouble() ?: throw wrong("float")
        if (!double.isFinite()) throw JsonException("Number out of range${at()}")
        if (double < least) throw JsonException("Expected `float` >= $least${at()}")
        if (double > most) throw JsonException("Expected `float` <= $most${at()}")
        return double
    }

    fun <T> asMap(read: (Located) -> T): Map<String, T> =
        asMapOfAny().entries.associate { (key, item) -> key to read(Located(item, "$path[...]")) }

    fun <T> asList(read: (Located) -> T): List<T> =
        (value as? List<*> ?: throw wrong("array")).mapIndexed { index, item -> read(Located(item, "$path[$index]")) }

    @Suppress("UNCHECKED_CAST") // the reader makes no other maps
    private fun asMapOfAny(): Map<String, Any?> = value as? Map<String, Any?> ?: throw wrong("object")

    private fun kind(value: Any?) = when (value) {
        null -> "null"
        is String -> "str"
        is JsonNumber -> if (value.isInteger) "int" else "float"
        is Boolean -> "bool"
        is List<*> -> "array"
        else -> "object"
    }
}

/** An object whose every field must be read, and which has no others. */
internal class Section(private val fields: Map<String, Any?>, private val path: String) {
    private val read = HashSet<String>()

    /** What [block] reads from this object. Raises JsonException for a field that it did not read. */
    inline fun <T> read(block: Section.() -> T): T {
        val result = block()
        finish()
        return result
    }

    fun finish() {
        val unknown = fields.keys.firstOrNull { it !in read } ?: return
        throw JsonException("Object contains unknown field `$unknown`${Located(null, path).at()}")
    }

    fun peek(name: String): Any? = fields[name]

    fun has(name: String): Boolean = name in fields

    fun section(name: String): Section = field(name).asSection()

    fun at(name: String) = Located(null, "$path.$name").at()

    fun string(name: String, least: Int = 0, most: Int = Int.MAX_VALUE) = field(name).asString(least, most)

    fun boolean(name: String) = field(name).asBoolean()

    fun int(name: String, least: Int? = null, most: Int? = null) = field(name).asInt(least, most)

    fun long(name: String, least: Long, most: Long) = field(name).asLong(least, most)

    fun double(name: String, least: Double = Double.NEGATIVE_INFINITY, most: Double = Double.POSITIVE_INFINITY) =
        field(name).asDouble(least, most)

    fun doubleOrNull(name: String) = field(name).let { if (it.value == null) null else it.asDouble() }

    fun choice(name: String, choices: List<String>): String {
        val field = field(name)
        val value = field.asString()
        if (value !in choices) throw JsonException("Invalid enum value '$value'${field.at()}")
        return value
    }

    fun choiceOrNull(name: String, choices: List<String>) =
        if (peek(name) == null) null.also { field(name) } else choice(name, choices)

    fun <T> list(name: String, least: Int = 0, most: Int = Int.MAX_VALUE, read: (Located) -> T): List<T> {
        val field = field(name)
        val list = field.asList(read)
        if (list.size < least) throw JsonException("Expected `array` of length >= $least${field.at()}")
        if (list.size > most) throw JsonException("Expected `array` of length <= $most${field.at()}")
        return list
    }

    fun <T> map(name: String, longestKey: Int = Int.MAX_VALUE, read: (Located) -> T): Map<String, T> {
        val field = field(name)
        val map = field.asMap(read)
        map.keys.forEach { Located(it, "key` in `$path.$name").asString(0, longestKey) }
        return map
    }

    private fun field(name: String): Located {
        if (name !in fields) throw JsonException("Object missing required field `$name`${Located(null, path).at()}")
        read.add(name)
        return Located(fields[name], "$path.$name")
    }

    companion object {
        fun root(value: Any?): Section = Located(value, "$").asSection()
    }
}
