package io.github.sa3edge

import java.io.File
import java.io.IOException

private val OPERATORS = (
    "Abs Add And Attention AveragePool Cast Ceil Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos CumSum " +
        "DequantizeLinear Div DynamicQuantizeLinear Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND " +
        "Gelu Gemm Greater GreaterOrEqual Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual " +
        "Log LogSoftmax MatMul MatMulInteger Max Min Mod Mul Neg Not Or Pad Pow Range Reciprocal ReduceMax ReduceMean " +
        "ReduceMin ReduceSum Relu Reshape RMSNormalization RotaryEmbedding Round ScatterND Shape Sigmoid Sign Sin Slice " +
        "Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Unsqueeze Where"
    ).split(" ").toSet()

/** What our exporter writes, and its near kin, by domain. */
private val KNOWN = mapOf(
    "" to OPERATORS,
    "ai.onnx" to OPERATORS,
    "com.microsoft" to setOf("MultiHeadAttention", "RotaryEmbedding", "SkipSimplifiedLayerNormalization"),
)
private const val LARGEST_GRAPH = 64L shl 20 // weights lie beside it; the largest we export has 2 MB
private const val DEEPEST = 8

/**
 * Looks through an ONNX file before a runtime gets it: bundles may come from strangers.
 *
 * Throws [EngineException], as the runtime itself would later, for operators that no export writes, functions of its own, graphs within graphs, and weights
 * in any file but those that the manifest lists for this graph.
 */
internal fun inspectGraph(bundle: Bundle, graph: GraphName, artifact: Artifact): OnnxSummary {
    val file = bundle.resolve(artifact.files[0])
    val folder = artifact.files[0].path.substringBeforeLast('/', "")
    val beside = artifact.files.drop(1).map { it.path }.toSet()
    if (file.length() > LARGEST_GRAPH) throw EngineException("$file has ${file.length()} bytes; a graph has at most $LARGEST_GRAPH")
    val model = try {
        OnnxSummary.read(file)
    } catch (error: IOException) {
        throw EngineException("$file cannot be read: ${error.message}", error)
    } catch (error: IndexOutOfBoundsException) {
        throw EngineException("$file is not an ONNX graph", error)
    }
    model.operators.firstOrNull { (domain, operator) -> operator !in KNOWN[domain].orEmpty() }?.let { (domain, operator) ->
        throw EngineException("$file has the operator ${quoted(if (domain.isEmpty()) operator else "$domain.$operator")}, which no export writes")
    }
    if (model.functions) throw EngineException("$file has functions of its own; no bundle of ours has any")
    if (model.subgraphs) throw EngineException("$file has graphs within the graph; no bundle of ours has any")
    for (location in model.locations) {
        val path = if (folder.isEmpty()) location else "$folder/$location"
        if (path !in beside) {
            throw EngineException("$file takes weights from ${quoted(location)}, which the manifest does not list for ${graph.key}")
        }
    }
    return model
}

/** What [inspectGraph] asks of a file. */
internal class OnnxSummary private constructor() {
    val operators = LinkedHashSet<Pair<String, String>>() // domain, operator
    val locations = LinkedHashSet<String>()
    var functions = false
        private set
    var subgraphs = false
        private set

    /** Whether a MatMulInteger leaves out the zero point of its weights. */
    var impliedZeroPoints = false
        private set

    private fun model(message: Protobuf) = message.fields { field, value ->
        when (field) {
            MODEL_GRAPH -> graph(value(), 0)
            MODEL_FUNCTIONS -> functions = true
        }
    }

    private fun graph(message: Protobuf, depth: Int) {
        if (depth > DEEPEST) throw IndexOutOfBoundsException("graphs within graphs")
        message.fields { field, value ->
            when (field) {
                GRAPH_NODE -> node(value(), depth)
                GRAPH_INITIALIZER -> tensor(value())
                GRAPH_SPARSE -> value().fields { part, inner -> if (part == 1 || part == 2) tensor(inner()) }
            }
        }
    }

    private fun node(message: Protobuf, depth: Int) {
        var domain = ""
        var operator = ""
        var inputs = 0
        message.fields { field, value ->
            when (field) {
                NODE_INPUT -> inputs++
                NODE_OPERATOR -> operator = value().text()
                NODE_DOMAIN -> domain = value().text()
                NODE_ATTRIBUTE -> value().fields { part, inner ->
                    when (part) {
                        ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS -> tensor(inner())
                        ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS -> {
                            subgraphs = true
                            graph(inner(), depth + 1)
                        }
                    }
                }
            }
        }
        operators.add(domain to operator)
        if (operator == "MatMulInteger" && inputs < 4) impliedZeroPoints = true
    }

    private fun tensor(message: Protobuf) = message.fields { field, value ->
        if (field == TENSOR_EXTERNAL) {
            var key = ""
            var text = ""
            value().fields { part, inner -> if (part == 1) key = inner().text() else if (part == 2) text = inner().text() }
            if (key == "location") locations.add(text)
        }
    }

    companion object {
        // Field numbers of onnx.proto.
        private const val MODEL_GRAPH = 7
        private const val MODEL_FUNCTIONS = 25
        private const val GRAPH_NODE = 1
        private const val GRAPH_INITIALIZER = 5
        private const val GRAPH_SPARSE = 15
        private const val NODE_INPUT = 1
        private const val NODE_OPERATOR = 4
        private const val NODE_ATTRIBUTE = 5
        private const val NODE_DOMAIN = 7
        private const val ATTRIBUTE_TENSOR = 5
        private const val ATTRIBUTE_GRAPH = 6
        private const val ATTRIBUTE_TENSORS = 10
        private const val ATTRIBUTE_GRAPHS = 11
        private const val TENSOR_EXTERNAL = 13

        /** Throws IndexOutOfBoundsException for what is no protobuf message. */
        fun read(file: File): OnnxSummary {
            val bytes = file.readBytes()
            return OnnxSummary().also { it.model(Protobuf(bytes, 0, bytes.size)) }
        }
    }
}

/** A protobuf message in [bytes], from [start] until [end]. */
private class Protobuf(private val bytes: ByteArray, private val start: Int, private val end: Int) {
    private var at = start

    fun text() = String(bytes, start, end - start, Charsets.UTF_8)

    /** Calls [visit] for each field; its value is asked for only where it is a message, a string or bytes. */
    fun fields(visit: (Int, () -> Protobuf) -> Unit) {
        at = start
        while (at < end) {
            val tag = varint()
            when ((tag and 7).toInt()) {
                0 -> varint()
                1 -> skip(8)
                2 -> {
                    val length = varint()
                    if (length < 0 || length > end - at) throw IndexOutOfBoundsException("a field reaches beyond its message")
                    val from = at
                    at += length.toInt()
                    val to = at
                    visit((tag ushr 3).toInt()) { Protobuf(bytes, from, to) }
                }
                5 -> skip(4)
                else -> throw IndexOutOfBoundsException("unknown kind of field")
            }
        }
    }

    private fun skip(count: Int) {
        if (count > end - at) throw IndexOutOfBoundsException("a field reaches beyond its message")
        at += count
    }

    private fun varint(): Long {
        var value = 0L
        for (shift in 0 until 64 step 7) {
            if (at >= end) throw IndexOutOfBoundsException("a number reaches beyond its message")
            val byte = bytes[at++].toLong()
            value = value or ((byte and 0x7f) shl shift)
            if (byte >= 0) return value
        }
        throw IndexOutOfBoundsException("a number is too long")
    }
}
