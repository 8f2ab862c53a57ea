package io.github.sa3edge

import java.io.Closeable

/** A tensor that an engine holds, outside of the Java heap. */
public interface Tensor : Closeable {
    public val shape: LongArray

    /** A copy of its values; of fp32 tensors. */
    public fun floats(): FloatArray

    /** Overwrites its values, as many as it has; of fp32 tensors that [Engine.floats] made. */
    public fun put(values: FloatArray)
}

/** One loaded graph. */
public interface Session : Closeable {
    /**
     * Named tensors in, named tensors out, as the manifest describes them; the caller closes what comes out. Throws
     * [EngineException], and CancellationException soon after [stop] is raised.
     */
    public fun run(inputs: Map<String, Tensor>, stop: Stop): Map<String, Tensor>
}

/** What runs the graphs of a bundle. */
public interface Engine {
    public val name: String

    /** The format that it reads from a bundle (`onnx`). */
    public val format: String

    /** The engine, its version and where it computes, in one line. */
    public fun describe(): String

    /** A tensor of a copy of [values]. */
    public fun floats(values: FloatArray, vararg shape: Long): Tensor

    /** A tensor of a copy of [values]. */
    public fun longs(values: LongArray, vararg shape: Long): Tensor

    /** Throws [EngineException] if the graph cannot be loaded, [BundleException] if the bundle lacks it. */
    public fun load(bundle: Bundle, graph: GraphName): Session
}

/** The graphs of a bundle as an engine runs them: loaded when first needed, freed after use, checked, timed. */
internal class GraphRunner(val bundle: Bundle, val engine: Engine, private val keepLoaded: Boolean) {
    private val sessions = HashMap<GraphName, Session>()
    val timings = LinkedHashMap<String, Double>()

    /** The graphs that hold memory now. */
    val loaded: Set<GraphName> get() = sessions.keys.toSet()

    /** Throws [EngineException] if the graph fails or what comes out has other shapes than the manifest says. */
    fun run(graph: GraphName, inputs: Map<String, Tensor>, stop: Stop): Map<String, Tensor> {
        stop.check()
        val session = sessions[graph] ?: timed("${graph.key}.load") { engine.load(bundle, graph) }.also { sessions[graph] = it }
        val outputs = timed("${graph.key}.run") { session.run(inputs, stop) }
        try {
            checkShapes(graph, inputs, outputs)
        } catch (error: EngineException) {
            outputs.values.forEach { it.close() }
            throw error
        }
        return outputs
    }

    /** The values of a graph's only output. Throws [EngineException] if they are not all numbers. */
    fun compute(graph: GraphName, inputs: Map<String, Tensor>, stop: Stop): FloatArray {
        val outputs = run(graph, inputs, stop)
        val (name, tensor) = outputs.entries.single()
        val values = tensor.use { it.floats() }
        if (values.any { !it.isFinite() }) {
            throw EngineException("${engine.name} computed NaN or infinity in the ${graph.key}'s $name")
        }
        return values
    }

    /** Frees graphs that are needed no more, unless all are to be kept. */
    fun doneWith(vararg graphs: GraphName) {
        if (!keepLoaded) graphs.forEach { sessions.remove(it)?.close() }
    }

    fun free() {
        sessions.values.forEach { it.close() }
        sessions.clear()
    }

    private fun checkShapes(graph: GraphName, inputs: Map<String, Tensor>, outputs: Map<String, Tensor>) {
        val described = bundle.manifest.graphs.getValue(graph)
        val axes = HashMap<String, Long>()
        for (info in described.inputs) {
            val tensor = inputs[info.name] ?: continue
            info.shape.forEachIndexed { i, axis -> axis.name?.let { axes.getOrPut(it) { tensor.shape[i] } } }
        }
        for (info in described.outputs) {
            val shape = outputs[info.name]?.shape ?: throw EngineException("${engine.name} gave no output ${info.name} of the ${graph.key}")
            info.shape.forEachIndexed { i, axis -> axis.name?.let { if (i < shape.size && shape[i] > 0) axes.putIfAbsent(it, shape[i]) } }
            val wanted = info.shape.map { it.size?.toLong() ?: axes[it.name] ?: 1L }
            if (shape.toList() != wanted) {
                throw EngineException(
                    "${engine.name} computed float32 ${shapeText(shape.toList())} as the ${graph.key}'s ${info.name}, " +
                        "the manifest promises ${info.dtype} ${shapeText(wanted)}",
                )
            }
        }
    }

    private inline fun <T> timed(key: String, block: () -> T): T {
        val start = System.nanoTime()
        val result = block()
        timings[key] = (timings[key] ?: 0.0) + (System.nanoTime() - start) / 1e9
        return result
    }
}
