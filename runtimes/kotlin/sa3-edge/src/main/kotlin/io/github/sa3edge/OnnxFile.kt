package io.github.sa3edge

import java.io.File
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.charset.CharacterCodingException

/**
 * Looks at an ONNX file before a runtime does: is it a graph as our exporter writes them, and no more than that.
 *
 * A bundle may come from a stranger. What is not listed here is refused: other fields, operators and domains, graphs
 * inside graphs, functions, weights in files that the manifest does not name, and sizes beyond reason. The Python host's
 * `onnx_file.py` is the same, word for word; `limits.json` of the vectors has its tables.
 */
internal object OnnxFile {
    const val MOST_BYTES = 64L shl 20 // of a graph without its weights; the published denoiser's are 0.3 MB
    const val MOST_NODES = 50_000
    const val MOST_ELEMENTS = 1L shl 31 // of a tensor whose shape the file states
    const val MOST_AXES = 8

    /** Versions of operators by domain. */
    val OPSETS = mapOf("" to 21L..24L, "com.microsoft" to 1L..1L)

    /** What our exporter writes, and its near kin, by domain: pure functions of their inputs. */
    val OPERATORS: Map<String, Set<String>> = mapOf(
        "" to words(
            """
            Abs Add And Attention AveragePool Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos CumSum
            DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND
            Gelu Gemm Greater GreaterOrEqual Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual
            Log LogSoftmax MatMul MatMulInteger Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean
            ReduceMin ReduceSum Relu Reshape RMSNormalization RotaryEmbedding Round ScatterND Shape Sigmoid Sign Sin Slice
            Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where
            """,
        ),
        "com.microsoft" to words("MultiHeadAttention RotaryEmbedding SkipSimplifiedLayerNormalization"),
    )

    /** By TensorProto.DataType. */
    val ELEMENT_BYTES = mapOf(
        1L to 4, 2L to 1, 3L to 1, 4L to 2, 5L to 2, 6L to 4, 7L to 8, 9L to 1, 10L to 2, 11L to 8, 12L to 4, 13L to 8, 16L to 2,
    )
    private val DTYPES = mapOf(1L to "float32", 10L to "float16", 6L to "int32", 7L to "int64")
    private const val INT64 = 7L

    /** The input that says how large the result is. */
    private val SHAPE_INPUT = mapOf("Expand" to 1, "ConstantOfShape" to 0, "Tile" to 1, "Reshape" to 1)

    // Fields of onnx.proto by message. A name in capitals may be repeated.
    private val MODEL = mapOf(
        1 to "ir_version", 2 to "producer_name", 3 to "producer_version", 4 to "domain", 5 to "model_version",
        6 to "doc_string", 7 to "graph", 8 to "OPSETS", 14 to "METADATA",
    )
    private val GRAPH = mapOf(
        1 to "NODES", 2 to "name", 5 to "INITIALIZERS", 10 to "doc_string", 11 to "INPUTS", 12 to "OUTPUTS", 13 to "VALUES",
    )
    private val NODE = mapOf(
        1 to "INPUTS", 2 to "OUTPUTS", 3 to "name", 4 to "operator", 5 to "ATTRIBUTES", 6 to "doc_string", 7 to "domain",
    )
    private val ATTRIBUTE = mapOf(
        1 to "name", 2 to "f", 3 to "i", 4 to "s", 5 to "tensor", 7 to "FLOATS", 8 to "INTS", 13 to "doc_string", 20 to "type",
    )
    private val TENSOR = mapOf(
        1 to "DIMS", 2 to "dtype", 4 to "FLOATS", 5 to "INT32S", 7 to "INT64S", 8 to "name", 9 to "raw", 12 to "doc_string",
        13 to "EXTERNAL", 14 to "location",
    )
    private val VALUE = mapOf(1 to "name", 2 to "type", 3 to "doc_string")
    private val TYPE = mapOf(1 to "tensor", 6 to "denotation")
    private val TENSOR_TYPE = mapOf(1 to "element", 2 to "shape")
    private val SHAPE = mapOf(1 to "DIMS")
    private val DIMENSION = mapOf(1 to "size", 2 to "axis", 3 to "denotation")
    private val ENTRY = mapOf(1 to "key", 2 to "value")
    private val OPSET = mapOf(1 to "domain", 2 to "version")

    /** All of them, by what the vectors call them. */
    val FIELDS: Map<String, Map<Int, String>> = mapOf(
        "model" to MODEL, "graph" to GRAPH, "node" to NODE, "attribute" to ATTRIBUTE, "tensor" to TENSOR, "value" to VALUE,
        "type" to TYPE, "tensor_type" to TENSOR_TYPE, "shape" to SHAPE, "dimension" to DIMENSION, "entry" to ENTRY,
        "opset" to OPSET,
    )

    private fun words(text: String) = text.trim().split(Regex("\\s+")).toSet()

    /** What is asked of a graph that is ours. */
    class Summary(val impliedZeroPoints: Boolean)

    /** Throws [EngineException] unless the .onnx file of an artifact is what the manifest and our exporter say of it. */
    fun check(bundle: Bundle, graph: GraphName, artifact: Artifact): Summary {
        val file = bundle.resolve(artifact.files[0])
        val described = bundle.manifest.graphs.getValue(graph)
        val named = artifact.files.associate { it.path to it.bytes }
        val folder = artifact.files[0].path.substringBeforeLast('/', "")
        try {
            val found = readGraph(contents(file))
            compare("input", found.inputs, described.inputs)
            compare("output", found.outputs, described.outputs)
            for (tensor in found.stored) {
                val path = tensor.path ?: continue
                val size = named[if (folder.isEmpty()) path else "$folder/$path"]
                if ('/' in path || '\\' in path || size == null) {
                    throw Refusal("the weights ${quoted(tensor.name)} lie in ${quoted(path)}, which the manifest does not name")
                }
                if (tensor.offset > size - tensor.length) throw Refusal("the weights ${quoted(tensor.name)} lie beyond the end of $path")
            }
            return Summary(found.impliedZeroPoints)
        } catch (refusal: Refusal) {
            throw EngineException("$file is no ${graph.key} graph of sa3-edge: ${refusal.message}")
        } catch (error: IOException) {
            throw EngineException("$file cannot be read: ${error.message}", error)
        }
    }

    private fun contents(file: File): Bytes {
        if (file.length() > MOST_BYTES) throw Refusal("it has ${file.length()} bytes, at most $MOST_BYTES are allowed")
        val data = file.readBytes()
        return Bytes(data, 0, data.size)
    }

    /** Why a file is no graph of ours. */
    private class Refusal(message: String) : Exception(message)

    /** A tensor with a value. [path]: the file that its bytes lie in, null for this one; [integers]: those of a few. */
    private class Stored(val name: String, val path: String?, val offset: Long, val length: Long, val integers: List<Long>?)

    private class Value(val name: String, val element: Long, val shape: List<Any>)

    private class Found(
        val inputs: List<Value>,
        val outputs: List<Value>,
        val stored: List<Stored>,
        val impliedZeroPoints: Boolean,
    )

    private fun readGraph(data: Bytes): Found {
        val model = Message(data, MODEL, "model")
        val domains = HashSet<String>()
        for (opset in model.messages("OPSETS", OPSET, "opset")) {
            val domain = domainOf(opset)
            val version = opset.number("version")
            if (OPSETS[domain]?.contains(version) != true) {
                throw Refusal("it uses version $version of the operators ${quoted(domain.ifEmpty { "ai.onnx" })}")
            }
            domains.add(domain)
        }
        val graph = model.message("graph", GRAPH, "graph")
        val nodes = graph.messages("NODES", NODE, "node")
        if (nodes.size !in 1..MOST_NODES) throw Refusal("it has ${nodes.size} operators, 1 to $MOST_NODES are allowed")
        val stored = ArrayList(graph.messages("INITIALIZERS", TENSOR, "tensor").map(::stored))
        val constants = stored.associate { it.name to it.integers.orEmpty() }
        for (node in nodes) stored += checkNode(node, domains, constants)
        val (inputs, outputs) = listOf("INPUTS", "OUTPUTS", "VALUES").map { key -> graph.messages(key, VALUE, "value").map(::value) }
        val implied = nodes.any { it.text("operator") == "MatMulInteger" && it.allData("INPUTS").size < 4 }
        return Found(inputs, outputs, stored, implied)
    }

    private fun domainOf(message: Message) = message.text("domain").let { if (it == "ai.onnx") "" else it }

    private fun checkNode(node: Message, domains: Set<String>, constants: Map<String, List<Long>>): List<Stored> {
        val operator = node.text("operator")
        val domain = domainOf(node)
        if (domain !in domains || operator !in OPERATORS[domain].orEmpty()) {
            throw Refusal("it has the operator ${if (domain.isEmpty()) "" else "$domain."}$operator, which no export writes")
        }
        val inputs = node.allData("INPUTS").map { it.text() }
        inputs.getOrNull(SHAPE_INPUT[operator] ?: inputs.size)?.let { said ->
            count(said, constants[said].orEmpty().map { maxOf(1, it) })
        }
        return node.messages("ATTRIBUTES", ATTRIBUTE, "attribute of $operator").filter { it.has("tensor") }.map { attribute ->
            val tensor = stored(attribute.message("tensor", TENSOR, "tensor"))
            if (tensor.path != null) throw Refusal("a constant of $operator lies in another file")
            tensor
        }
    }

    private fun stored(tensor: Message): Stored {
        val name = tensor.text("name")
        val elements = count(name, tensor.numbers("DIMS"))
        val dtype = tensor.number("dtype")
        val size = elements * (ELEMENT_BYTES[dtype] ?: throw Refusal("${quoted(name)} is of the type $dtype, which no export writes"))
        fun check(length: Long) {
            if (length != size) throw Refusal("${quoted(name)} is of $size bytes, and $length are stored")
        }
        if (tensor.number("location") == 1L) {
            if (listOf("raw", "FLOATS", "INT32S", "INT64S").any(tensor::has)) throw Refusal("${quoted(name)} has its value twice")
            val entries = tensor.messages("EXTERNAL", ENTRY, "place of weights")
            val where = entries.associate { it.text("key") to it.text("value") }
            if (where.size != entries.size || !setOf("location", "offset", "length", "checksum").containsAll(where.keys)) {
                throw Refusal("${quoted(name)} lies elsewhere in an unknown way")
            }
            val offset = integer(where["offset"] ?: "0")
            val length = integer(where["length"] ?: "$size")
            if (offset < 0) throw Refusal("${quoted(name)} lies before the start of its file")
            check(length)
            return Stored(name, where["location"] ?: "", offset, length, null)
        }
        if (tensor.has("EXTERNAL")) throw Refusal("${quoted(name)} lies here and elsewhere")
        if (tensor.has("raw")) {
            val raw = tensor.data("raw")
            check(raw.size.toLong())
            val integers = if (dtype == INT64 && elements <= MOST_AXES) raw.longs() else null
            return Stored(name, null, 0, size, integers)
        }
        val floats = tensor.allData("FLOATS").sumOf { it.size } / Float.SIZE_BYTES
        val held = floats + tensor.numbers("INT32S").size + tensor.numbers("INT64S").size
        if (elements != held.toLong()) throw Refusal("${quoted(name)} has $elements elements, and $held are stored")
        return Stored(name, null, 0, size, null)
    }

    private fun integer(text: String) =
        text.toLongOrNull() ?: throw Refusal("it is damaged (${quoted(text.take(20))} is no integer)")

    private fun value(value: Message): Value {
        val name = value.text("name")
        val tensor = value.message("type", TYPE, "type").message("tensor", TENSOR_TYPE, "type of a tensor")
        val shape = tensor.message("shape", SHAPE, "shape").messages("DIMS", DIMENSION, "dimension").map { dimension ->
            if (dimension.has("axis")) dimension.text("axis") else dimension.number("size")
        }
        count(name, shape.filterIsInstance<Long>())
        return Value(name, tensor.number("element"), shape)
    }

    /** Throws [Refusal] unless a graph's inputs or outputs are those of the manifest, in any order. */
    private fun compare(kind: String, values: List<Value>, tensors: List<TensorInfo>) {
        val there = values.associateBy { it.name }
        val named = tensors.map { it.name }
        if (there.keys != named.toSet() || values.size != tensors.size) {
            throw Refusal("its ${kind}s are ${there.keys.joinToString(", ").ifEmpty { "none" }}, not ${named.joinToString(", ")}")
        }
        for (tensor in tensors) {
            val value = there.getValue(tensor.name)
            val shape = tensor.shape.map { it.name ?: it.size!!.toLong() }
            if (DTYPES[value.element] != tensor.dtype || value.shape != shape) {
                throw Refusal("its $kind ${tensor.name} is not ${tensor.dtype} ${shapeText(shape)} as the manifest says")
            }
        }
    }

    /** Elements of a shape within the limits. */
    private fun count(name: String, shape: List<Long>): Long {
        var count = 1L
        for (size in shape) {
            if (size < 0) throw Refusal("${quoted(name)} has a negative size")
            if (size > MOST_ELEMENTS || count * size > MOST_ELEMENTS) throw Refusal("${quoted(name)} is larger than any tensor of a model")
            count *= size
        }
        if (shape.size > MOST_AXES) throw Refusal("${quoted(name)} has ${shape.size} axes")
        return count
    }

    // Protobuf (protobuf.dev/programming-guides/encoding): a message is fields in any order, each a number, a wire type
    // and a value, which is a varint, 4 or 8 bytes, or a length and bytes.

    /** A message by the names of its fields; [what] is said of it. Throws [Refusal] for fields that are not known. */
    private class Message(data: Bytes, known: Map<Int, String>, private val what: String) {
        private val fields = HashMap<String, MutableList<Any>>() // Long or Bytes

        init {
            data.fields { number, value ->
                val name = known[number] ?: throw Refusal("its $what has a field ($number) that no export writes")
                val values = fields.getOrPut(name) { ArrayList(1) }
                if (values.isNotEmpty() && name.any { it.isLowerCase() }) throw Refusal("its $what has the $name twice")
                values.add(value)
            }
        }

        fun has(name: String) = name in fields

        fun allData(name: String): List<Bytes> = fields[name].orEmpty().map {
            it as? Bytes ?: throw Refusal("its $what has a number for the ${name.lowercase()}")
        }

        fun data(name: String): Bytes = allData(name).firstOrNull() ?: Bytes(ByteArray(0), 0, 0)

        fun text(name: String): String = data(name).text()

        /** Integers, one a field or many packed in one. */
        fun numbers(name: String): List<Long> = fields[name].orEmpty().flatMap { if (it is Bytes) it.varints() else listOf(it as Long) }

        fun number(name: String): Long =
            (fields[name]?.first() ?: 0L) as? Long ?: throw Refusal("its $what has no number for the $name")

        fun message(name: String, known: Map<Int, String>, what: String) = Message(data(name), known, what)

        fun messages(name: String, known: Map<Int, String>, what: String) = allData(name).map { Message(it, known, what) }
    }

    /** Bytes of [data], from [start] until [end]. */
    private class Bytes(private val data: ByteArray, private val start: Int, private val end: Int) {
        private var at = start
        val size get() = end - start

        fun text(): String = try {
            Charsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(data, start, size)).toString()
        } catch (_: CharacterCodingException) {
            throw Refusal("it is damaged (a text is not UTF-8)")
        }

        fun longs(): List<Long> {
            val buffer = ByteBuffer.wrap(data, start, size).order(ByteOrder.LITTLE_ENDIAN).asLongBuffer()
            return List(buffer.remaining()) { buffer.get(it) }
        }

        fun varints(): List<Long> {
            at = start
            return ArrayList<Long>().also { while (at < end) it.add(varint()) }
        }

        /** Calls [visit] with the number and the value of each field, a Long or Bytes. */
        fun fields(visit: (Int, Any) -> Unit) {
            at = start
            while (at < end) {
                val tag = varint()
                val wire = (tag and 7).toInt()
                val number = (tag shr 3).coerceIn(-1L, Int.MAX_VALUE.toLong()).toInt()
                if (wire == 0) {
                    visit(number, varint())
                    continue
                }
                val length = when (wire) {
                    1 -> 8L
                    2 -> varint()
                    5 -> 4L
                    else -> throw Refusal("it is no protobuf (wire type $wire)")
                }
                if (length < 0 || length > end - at) throw Refusal("it ends within a field")
                val from = at
                at += length.toInt()
                visit(number, Bytes(data, from, at))
            }
        }

        private fun varint(): Long {
            var value = 0L
            for (shift in 0 until 70 step 7) {
                if (at >= end) throw Refusal("it ends within a number")
                val byte = data[at++].toLong()
                if (shift < 64) value = value or ((byte and 0x7f) shl shift)
                if (byte >= 0) return value
            }
            throw Refusal("a number in it does not end")
        }
    }
}
