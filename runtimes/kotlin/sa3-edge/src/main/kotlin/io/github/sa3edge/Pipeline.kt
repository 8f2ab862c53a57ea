package io.github.sa3edge

import java.io.Closeable
import java.io.File
import java.security.SecureRandom
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.channels.Channel
import kotlinx.coroutines.flow.Flow
import kotlinx.coroutines.flow.buffer
import kotlinx.coroutines.flow.channelFlow
import kotlinx.coroutines.launch
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext

/** More steps than any sampler gains by. */
public const val MOST_STEPS: Int = 10_000

/** The stages of a run, in order; `ENCODE` only where a recording is edited. */
public enum class Stage(public val key: String) {
    TEXT("text"),
    ENCODE("encode"),
    CONDITION("condition"),
    DENOISE("denoise"),
    DECODE("decode"),
}

/** Told of each step of a run; what it throws stops the run. It is called on the pipeline's dispatcher. */
public fun interface Progress {
    public fun on(stage: Stage, done: Int, total: Int)
}

/**
 * What was made.
 *
 * @property audio (channels, N) fp32, N = (seconds * sampleRate).toInt(); without the limiter peaks may exceed 1
 * @property latents (C, frames) fp32, a row a channel, with the headroom
 * @property frames the latents' frames
 * @property guidance the classifier-free guidance scale that was used
 * @property timings seconds by stage, e.g. `denoiser.load`, `denoiser.run`, and `total`
 * @property notes what the caller should know, e.g. that the prompt was cut
 */
public class Generation internal constructor(
    public val audio: Array<FloatArray>,
    public val sampleRate: Int,
    public val latents: FloatArray,
    public val frames: Int,
    public val seed: Long,
    public val seconds: Double,
    public val steps: Int,
    public val headroom: Double,
    public val guidance: Double,
    public val timings: Map<String, Double>,
    public val notes: List<String>,
)

/** What a run says of itself while it goes on. */
public sealed class GenerationEvent {
    /** So many of a stage's steps are done. */
    public class Step internal constructor(public val stage: Stage, public val done: Int, public val total: Int) : GenerationEvent()

    /** The clip's next samples, (channels, n), from its [start]th on: ready to be played. */
    public class Piece internal constructor(public val start: Int, public val audio: Array<FloatArray>) : GenerationEvent()

    /** The last event. */
    public class Done internal constructor(public val generation: Generation) : GenerationEvent()
}

/**
 * How a pipeline runs.
 *
 * @property keepLoaded keep graphs for the next clip, at the price of memory; else each is loaded, run and freed
 * @property remember a file of the app's own, in which it is noted which of a bundle's files were hashed
 * @property engine what runs the graphs; null is ONNX Runtime with its own number of threads
 * @property dispatcher where the work is done: it blocks a thread
 */
public class PipelineOptions @JvmOverloads constructor(
    public val keepLoaded: Boolean = false,
    public val remember: File? = null,
    public val engine: Engine? = null,
    public val dispatcher: CoroutineDispatcher = Dispatchers.IO,
)

/**
 * A bundle that generates audio.
 *
 * ```
 * val pipeline = Sa3Pipeline.open(File(filesDir, "small-music"))
 * val made = pipeline.generate(GenerationRequest("lofi piano", seconds = 30.0))
 * ```
 *
 * May be used from several coroutines: it makes one clip at a time. Close it to free what it keeps.
 */
public class Sa3Pipeline private constructor(private val graphs: GraphRunner, private val dispatcher: CoroutineDispatcher) : Closeable {
    private val mutex = Mutex()
    private val tokenizer = graphs.bundle.manifest.text.let { Tokenizer.open(graphs.bundle.resolve(it.tokenizer), it.maxTokens) }

    public val bundle: Bundle get() = graphs.bundle
    public val engine: Engine get() = graphs.engine

    /** The graphs that hold memory now. */
    public val loaded: Set<GraphName> get() = graphs.loaded

    /**
     * Makes one clip. Cancelling the coroutine ends it within a step of the denoiser, also while a graph runs.
     *
     * Throws [RequestException] for values that cannot be, before anything is computed, and [EngineException] if a
     * graph fails.
     */
    @JvmOverloads
    public suspend fun generate(request: GenerationRequest, progress: Progress = Progress { _, _, _ -> }): Generation =
        generate(request, progress) { _, _ -> }

    /**
     * Makes one clip and tells of it: steps as they are done, pieces as they are decoded, at last the whole. The pieces
     * joined are the whole, sample for sample. Cancelling the collector ends the work as with [generate].
     */
    public fun stream(request: GenerationRequest): Flow<GenerationEvent> = channelFlow {
        val made = generate(
            request,
            { stage, done, total -> trySend(GenerationEvent.Step(stage, done, total)) },
            { start, audio -> trySend(GenerationEvent.Piece(start, audio)) },
        )
        send(GenerationEvent.Done(made))
    }.buffer(Channel.UNLIMITED) // a clip's worth at most; a slow listener must not stop the work

    /** Frees the graphs that were kept; the next clip loads them again. Not while one is made. */
    override fun close() {
        check(mutex.tryLock()) { "a clip is being made: cancel it first" }
        try {
            graphs.free()
        } finally {
            mutex.unlock()
        }
    }

    private suspend fun generate(request: GenerationRequest, progress: Progress, onPiece: (Int, Array<FloatArray>) -> Unit): Generation =
        mutex.withLock {
            withContext(dispatcher) {
                val stop = Stop()
                // Unconfined: it must not wait for the thread that the work blocks.
                val watcher = launch(Dispatchers.Unconfined) {
                    try {
                        awaitCancellation()
                    } finally {
                        stop.raise()
                    }
                }
                try {
                    Run(graphs, tokenizer, request, progress, onPiece, stop).make()
                } finally {
                    watcher.cancel()
                }
            }
        }

    public companion object {
        /** Opens the bundle in [folder]; graphs are loaded when first needed. Throws [BundleException] if it is not whole. */
        @JvmStatic
        @JvmOverloads
        public fun open(folder: File, options: PipelineOptions = PipelineOptions()): Sa3Pipeline =
            open(Bundle.open(folder, options.remember), options)

        /** A pipeline for a bundle that was opened. */
        @JvmStatic
        @JvmOverloads
        public fun open(bundle: Bundle, options: PipelineOptions = PipelineOptions()): Sa3Pipeline =
            Sa3Pipeline(GraphRunner(bundle, options.engine ?: OnnxRuntimeEngine(), options.keepLoaded), options.dispatcher)
    }
}

/** One clip in the making: what the contract calls a run. */
private class Run(
    private val graphs: GraphRunner,
    private val tokenizer: Tokenizer,
    private val request: GenerationRequest,
    private val progress: Progress,
    private val onPiece: (Int, Array<FloatArray>) -> Unit,
    private val stop: Stop,
) : Closeable {
    private val manifest = graphs.bundle.manifest
    private val audio = manifest.audio
    private val engine = graphs.engine
    private val notes = ArrayList<String>()
    private val open = ArrayList<Tensor>() // freed when the run ends, however it does

    fun make(): Generation = use {
        val start = System.nanoTime()
        graphs.timings.clear()
        val seed = request.seed ?: (SecureRandom().nextInt().toLong() and SEEDS - 1)
        if (seed !in 0 until SEEDS) throw RequestException("seed must be between 0 and ${SEEDS - 1}, got $seed")
        val headroom = request.headroom ?: manifest.sampler.headroomSeconds
        val steps = request.steps ?: manifest.sampler.steps
        val guidance = request.guidance ?: manifest.sampler.guidance
        if (steps !in 1..MOST_STEPS) throw RequestException("steps must be from 1 to $MOST_STEPS, got $steps")
        checkGuidance(guidance, request.apg, request.negativePrompt)
        val plan = planRequest(request, headroom, manifest, notes)
        val latents = sample(plan, seed, steps, guidance)
        graphs.doneWith(GraphName.DENOISER)
        val made = decode(latents, plan)
        Generation(
            made, audio.sampleRate, latents, plan.lengths.valid, seed, plan.seconds, steps, headroom, guidance,
            graphs.timings + ("total" to (System.nanoTime() - start) / 1e9), notes,
        )
    }

    override fun close() {
        open.forEach { it.close() }
        graphs.doneWith(*GraphName.values()) // all: the run may have been stopped anywhere
    }

    private fun <T : Tensor> keep(tensor: T): T = tensor.also { open.add(it) }

    private fun floats(values: FloatArray, vararg shape: Int) = keep(engine.floats(values, *LongArray(shape.size) { shape[it].toLong() }))

    private fun step(stage: Stage, done: Int, total: Int) {
        stop.check()
        progress.on(stage, done, total)
    }

    /** A prompt's hidden states and their mask. */
    private class Text(val hidden: Tensor, val mask: Tensor)

    private fun encodeText(prompt: String): Text {
        step(Stage.TEXT, 0, 1)
        val encoding = tokenizer.encode(prompt)
        val count = encoding.ids.size
        if (encoding.cut > 0) notes.add("the prompt is ${encoding.cut} tokens too long; the model reads the first $count")
        val text = if (count > 0) {
            val ids = engine.longs(LongArray(count) { encoding.ids[it].toLong() }, 1, count.toLong())
            val hidden = ids.use { graphs.run(GraphName.TEXT_ENCODER, mapOf("input_ids" to it), stop) }.getValue("hidden")
            Text(keep(hidden), floats(FloatArray(count) { 1f }, 1, count))
        } else {
            // An empty prompt is all padding: one masked position stands for a text of no tokens.
            val width = manifest.text.hiddenSize
            Text(floats(FloatArray(width), 1, 1, width), floats(FloatArray(1), 1, 1))
        }
        step(Stage.TEXT, 1, 1)
        return text
    }

    /** The plan's recording to latents (C, valid). */
    private fun encodeSource(plan: Plan): FloatArray? {
        val source = plan.source ?: return null
        step(Stage.ENCODE, 0, 1)
        val per = audio.samplesPerFrame
        val latents = encodeTiles(source, audio.latentChannels, plan.lengths.valid, manifest.tiles.encoder, per) { samples, frames ->
            val encoded = engine.floats(samples, 1, audio.channels.toLong(), frames.toLong() * per).use {
                graphs.compute(GraphName.ENCODER, mapOf("audio" to it), stop)
            }
            expect(encoded, audio.latentChannels * frames, GraphName.ENCODER)
        }
        graphs.doneWith(GraphName.ENCODER)
        step(Stage.ENCODE, 1, 1)
        return latents
    }

    /** Everything that the steps share, under the names of the denoiser's inputs. */
    private fun condition(text: Text, seconds: Double, mask: FloatArray?, source: FloatArray?, paddingScale: Float): Map<String, Tensor> {
        // Nothing to keep: one zero frame stands for all.
        val keep = mask ?: FloatArray(1)
        val masked = FloatArray(audio.latentChannels * keep.size) { i ->
            if (mask == null || source == null) 0f else source[i] * keep[i % keep.size]
        }
        val inputs = mapOf(
            "hidden" to text.hidden,
            "text_mask" to text.mask,
            "padding_scale" to floats(floatArrayOf(paddingScale), 1),
            "seconds" to floats(floatArrayOf(seconds.toFloat()), 1),
            "inpaint_mask" to floats(keep, 1, 1, keep.size),
            "inpaint_masked_input" to floats(masked, 1, audio.latentChannels, keep.size),
        )
        // Not read: what is no number here makes the first step no number.
        return graphs.run(GraphName.CONDITIONER, inputs, stop).onEach { keep(it.value) }
    }

    private fun sample(plan: Plan, seed: Long, steps: Int, guidance: Double): FloatArray {
        val text = encodeText(request.prompt)
        val negative = if (request.negativePrompt.isEmpty()) null else encodeText(request.negativePrompt)
        graphs.doneWith(GraphName.TEXT_ENCODER)
        val source = encodeSource(plan)
        val mask = plan.regions?.let { keepMask(plan.lengths, it, audio.samplesPerFrame) }

        step(Stage.CONDITION, 0, 1)
        val conditioning = condition(text, plan.seconds, mask, source, 1f)
        val unconditional = when {
            negative != null -> condition(negative, plan.seconds, mask, source, 0f)
            // The reference's unconditional context is all zeros: attending to it gives zero.
            guidance != 1.0 -> conditioning + listOf("cross_k", "cross_v").associateWith { name ->
                val shape = conditioning.getValue(name).shape
                keep(engine.floats(FloatArray(shape.fold(1L) { all, side -> all * side }.toInt()), *shape))
            }
            else -> null
        }
        graphs.doneWith(GraphName.CONDITIONER)
        step(Stage.CONDITION, 1, 1)

        var velocity = velocity(conditioning, plan.lengths.valid)
        if (unconditional != null) velocity = guided(velocity, velocity(unconditional, plan.lengths.valid), guidance, request.apg)
        val noise = LatentNoise(seed, audio.latentChannels, plan.lengths.allocated, plan.lengths.valid)
        val t = timesteps(steps)
        step(Stage.DENOISE, 0, steps)
        var x = noise.draw()
        if (source != null && mask == null) {
            val fresh = x
            x = FloatArray(x.size) { i -> source[i] * (1f - t[0]) + fresh[i] * t[0] }
        }
        val onStep = { done: Int -> step(Stage.DENOISE, done, steps) }
        return when (manifest.sampler.objective) {
            Objective.RF_DENOISER -> pingPong(velocity, x, t, noise::draw, onStep)
            Objective.RECTIFIED_FLOW -> euler(velocity, x, t, onStep)
        }
    }

    private fun timesteps(steps: Int): FloatArray {
        val sampler = manifest.sampler
        val edit = request.edit as? Edit.Variation ?: return schedule(steps, sampler.logsnrStart, sampler.logsnrEnd)
        return variationSchedule(steps, sampler.logsnrStart, sampler.logsnrEnd, edit.noiseLevel, edit.schedule)
    }

    /** The denoiser with a conditioning; its inputs are allocated once for all steps. */
    private fun velocity(conditioning: Map<String, Tensor>, frames: Int): Velocity {
        val x = floats(FloatArray(audio.latentChannels * frames), 1, audio.latentChannels, frames)
        val t = floats(FloatArray(1), 1)
        val inputs = conditioning + mapOf("x" to x, "t" to t)
        return Velocity { values, time ->
            x.put(values)
            t.put(floatArrayOf(time))
            graphs.compute(GraphName.DENOISER, inputs, stop)
        }
    }

    /** Latents (C, T) to audio; only the frames that are heard are decoded. */
    private fun decode(latents: FloatArray, plan: Plan): Array<FloatArray> {
        val per = audio.samplesPerFrame
        val samples = plan.lengths.samples
        val wanted = (samples + per - 1) / per
        val made = Array(audio.channels) { FloatArray(samples) }
        val limiter = if (request.limiter) Limiter(audio.channels, audio.sampleRate) else null
        var written = 0

        fun give(piece: Array<FloatArray>) {
            if (piece[0].isEmpty()) return
            // After the limiter: the recording's own samples are not to be touched.
            if (plan.splice) splice(piece, written, plan, audio.sampleRate)
            for (channel in made.indices) piece[channel].copyInto(made[channel], written)
            val start = written
            written += piece[0].size
            onPiece(start, piece)
        }
        val decodeTile = { tile: FloatArray, frames: Int ->
            val decoded = engine.floats(tile, 1, audio.latentChannels.toLong(), frames.toLong()).use {
                graphs.compute(GraphName.DECODER, mapOf("latents" to it), stop)
            }
            expect(decoded, audio.channels * frames * per, GraphName.DECODER)
        }
        step(Stage.DECODE, 0, wanted)
        decodeTiles(latents, audio.latentChannels, wanted, manifest.tiles.decoder, audio.channels, per, decodeTile) { whole, tile ->
            // The last frame is cut where the clip ends.
            val count = minOf(tile.keepStop * per, samples) - tile.keepStart * per
            val piece = Array(audio.channels) { whole[it].copyOf(count) }
            give(limiter?.push(piece) ?: piece)
            step(Stage.DECODE, tile.keepStop, wanted)
        }
        limiter?.let { give(it.finish()) }
        return made
    }

    private fun expect(values: FloatArray, count: Int, graph: GraphName): FloatArray {
        if (values.size != count) throw EngineException("${engine.name} gave ${values.size} values in ${graph.key}, not $count")
        return values
    }
}
