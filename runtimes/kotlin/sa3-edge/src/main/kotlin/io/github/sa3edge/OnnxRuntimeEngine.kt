package io.github.sa3edge

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtLoggingLevel
import ai.onnxruntime.OrtSession
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.FloatBuffer
import java.util.concurrent.CancellationException

/**
 * ONNX Runtime on the CPU, with the options of the Python host, so that the same graphs compute the same bits.
 *
 * The classes of `ai.onnxruntime` come from the app: `com.microsoft.onnxruntime:onnxruntime`, or `onnxruntime-android`.
 *
 * @param threads how many CPU threads a graph may use; null leaves it to the runtime (one a physical core)
 */
public class OnnxRuntimeEngine @JvmOverloads constructor(private val threads: Int? = null) : Engine {
    override val name: String get() = "onnxruntime"
    override val format: String get() = "onnx"

    init {
        val most = Runtime.getRuntime().availableProcessors()
        if (threads != null && threads !in 1..most) {
            // Threads that wait for a core, while those on one spin for them, make a run many times as long.
            throw RequestException("threads must be from 1 to $most, the logical cores of this machine, got $threads")
        }
        val version = environment.version
        val (major, minor) = version.split('.').map { it.takeWhile(Char::isDigit).toInt() }
        if (major < OLDEST_MAJOR || major == OLDEST_MAJOR && minor < OLDEST_MINOR) {
            throw EngineException(
                "onnxruntime $version is too old for graphs of ONNX opset 23, $OLDEST_MAJOR.$OLDEST_MINOR or newer is needed: " +
                    "com.microsoft.onnxruntime:onnxruntime or onnxruntime-android",
            )
        }
    }

    override fun describe(): String = "onnxruntime ${environment.version} on the CPU"

    override fun floats(values: FloatArray, vararg shape: Long): Tensor {
        val buffer = direct(values.size * Float.SIZE_BYTES).asFloatBuffer()
        buffer.put(values).rewind()
        return OrtTensor(OnnxTensor.createTensor(environment, buffer, shape), buffer)
    }

    override fun longs(values: LongArray, vararg shape: Long): Tensor {
        val buffer = direct(values.size * Long.SIZE_BYTES).asLongBuffer()
        buffer.put(values).rewind()
        return OrtTensor(OnnxTensor.createTensor(environment, buffer, shape), null)
    }

    override fun load(bundle: Bundle, graph: GraphName): Session {
        val artifact = bundle.artifact(graph, format)
        val path = bundle.resolve(artifact.files[0])
        val summary = OnnxFile.check(bundle, graph, artifact)
        try {
            sessionOptions(graph, exactly(path, artifact, summary)).use { options ->
                // By path: the runtime maps the weights beside the graph and never copies them into the heap.
                return OrtGraph(environment.createSession(path.path, options), graph)
            }
        } catch (error: OrtException) {
            throw EngineException("onnxruntime cannot load $path: ${error.message}", error)
        }
    }

    /** Whether the runtime must be told to multiply bytes exactly. Throws [EngineException] where that would end the process. */
    private fun exactly(path: File, artifact: Artifact, summary: OnnxFile.Summary): Boolean {
        if ("int8" !in artifact.precision || !saturates) return false
        // 1.26.0 to 1.29.0 read an input behind the last one then, and their builds for Linux abort; 1.23.2 was seen to be right.
        if (summary.impliedZeroPoints && !environment.version.startsWith("1.23.")) {
            throw EngineException(
                "$path cannot be computed exactly by onnxruntime ${environment.version} on this processor, whose products of " +
                    "bytes saturate: use onnxruntime 1.23.2, or a bundle in fp32",
            )
        }
        return true
    }

    private fun sessionOptions(graph: GraphName, exactly: Boolean) = OrtSession.SessionOptions().apply {
        threads?.let { setIntraOpNumThreads(it) }
        // A graph that runs once in a clip is done sooner without the kernels' own copies of its weights, which stay
        // mapped. It also decides the last bits: see the contract.
        if (graph in RUN_ONCE) addConfigEntry("session.disable_prepacking", "1")
        if (exactly) addConfigEntry("session.x64quantprecision", "1")
        // Plans for memory hold for one shape; ours change from clip to clip, and the decoder peaks lower without.
        setMemoryPatternOptimization(false)
        setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR)
    }

    internal companion object {
        private const val OLDEST_MAJOR = 1 // 1.23 is the first with the operators of opset 23
        private const val OLDEST_MINOR = 23
        private val RUN_ONCE = setOf(GraphName.TEXT_ENCODER, GraphName.CONDITIONER)

        private val environment: OrtEnvironment by lazy {
            silence()
            try {
                OrtEnvironment.getEnvironment(OrtLoggingLevel.ORT_LOGGING_LEVEL_ERROR, "sa3-edge").also { it.setTelemetry(false) }
            } catch (error: LinkageError) {
                throw EngineException(
                    "onnxruntime cannot be loaded ($error); add com.microsoft.onnxruntime:onnxruntime, or onnxruntime-android",
                    error,
                )
            }
        }

        /** Newer builds have telemetry that an environment variable turns off; on Android one can be set. */
        private fun silence() {
            try {
                val os = Class.forName("android.system.Os")
                val set = os.getMethod("setenv", String::class.java, String::class.java, Boolean::class.javaPrimitiveType)
                set.invoke(null, "ORT_DISABLE_TELEMETRY", "1", true)
            } catch (_: ReflectiveOperationException) {
                // No Android: see the README for the JVM.
            }
        }

        /**
         * Whether products of unsigned and signed bytes saturate at 16 bits by default: x86 with AVX2 and without VNNI.
         * Asked of the runtime itself, whatever the processor is called.
         */
        val saturates: Boolean by lazy { product(exact = false).any { it != EXTREME } }

        /** What 4 products of 255 and 127 add up to. */
        const val EXTREME = 4 * 255 * 127

        /** The product of extremes, as the runtime computes it. */
        fun product(exact: Boolean): IntArray = OrtSession.SessionOptions().use { options ->
            if (exact) options.addConfigEntry("session.x64quantprecision", "1")
            environment.createSession(EXTREMES, options).use { session ->
                val most = direct(16).put(ByteArray(16) { 255.toByte() }).also { it.rewind() } as ByteBuffer
                OnnxTensor.createTensor(environment, most, longArrayOf(4, 4), OnnxJavaType.UINT8).use { a ->
                    session.run(mapOf("a" to a)).use { (it.get(0) as OnnxTensor).intBuffer.array() }
                }
            }
        }

        /** A graph of one MatMulInteger: a (4, 4) of unsigned bytes times (4, 16) of 127s, zero points 0. */
        private val EXTREMES: ByteArray = PROBE.chunked(2).map { it.toInt(16).toByte() }.toByteArray()

        private fun direct(bytes: Int) = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
    }
}

private const val PROBE =
    "08083ab2010a200a01610a01620a02617a0a02627a120179220d4d61744d756c496e74656765721201702a4b080408101003" +
    "4201624a407f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f" +
    "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f2a0910024202617a4a01002a0910034202627a4a01005a130a0161120e0a0c" +
    "080212080a0208040a02080462130a0179120e0a0c080612080a0208040a02081042040a00100a"

private class OrtTensor(val value: OnnxTensor, private val buffer: FloatBuffer?) : Tensor {
    override val shape: LongArray get() = value.info.shape

    override fun floats(): FloatArray {
        val from = buffer?.duplicate()?.also { it.rewind() } ?: value.floatBuffer
        if (from.hasArray() && from.array().size == from.remaining()) return from.array()
        return FloatArray(from.remaining()).also { from.get(it) }
    }

    override fun put(values: FloatArray) {
        val into = checkNotNull(buffer) { "only a tensor that was made of floats can be overwritten" }
        require(values.size == into.capacity()) { "${values.size} values for a tensor of ${into.capacity()}" }
        into.duplicate().also { it.rewind() }.put(values)
    }

    override fun close() = value.close()
}

private class OrtGraph(private val session: OrtSession, private val graph: GraphName) : Session {
    override fun run(inputs: Map<String, Tensor>, stop: Stop): Map<String, Tensor> {
        val given = inputs.mapValues { (_, tensor) -> (tensor as OrtTensor).value }
        try {
            return OrtSession.RunOptions().use { options ->
                // What the run needed beside its outputs is given back, though those live on.
                options.addRunConfigEntry("memory.enable_memory_arena_shrinkage", "cpu:0")
                val result = stop.during({ options.setTerminate(true) }) { session.run(given, options) }
                // Not closed: the caller closes each of its tensors.
                result.associate { (name, value) -> name to OrtTensor(value as OnnxTensor, null) }
            }
        } catch (error: OrtException) {
            if (stop.isRaised) throw CancellationException("stopped")
            throw EngineException("onnxruntime failed in ${graph.key}: ${error.message}", error)
        }
    }

    override fun close() = session.close()
}
