package io.github.sa3edge

import java.io.File
import java.util.concurrent.CancellationException
import kotlin.concurrent.thread
import kotlin.test.Test
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.async
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.Assumptions.assumeTrue

/** Counts what an engine holds, and may change what a graph gives. */
private class WatchedEngine(
    private val engine: Engine = OnnxRuntimeEngine(),
    private val change: (GraphName, String, Tensor) -> Tensor = { _, _, tensor -> tensor },
) : Engine by engine {
    var tensors = 0
    var sessions = 0
    var mostSessions = 0
    val runs = HashMap<GraphName, Int>()

    private inner class Watched(val tensor: Tensor) : Tensor by tensor {
        init {
            tensors++
        }

        override fun close() {
            tensors--
            tensor.close()
        }
    }

    override fun floats(values: FloatArray, vararg shape: Long): Tensor = Watched(engine.floats(values, *shape))

    override fun longs(values: LongArray, vararg shape: Long): Tensor = Watched(engine.longs(values, *shape))

    override fun load(bundle: Bundle, graph: GraphName): Session {
        val session = engine.load(bundle, graph)
        mostSessions = maxOf(mostSessions, ++sessions)
        return object : Session {
            override fun run(inputs: Map<String, Tensor>, stop: Stop): Map<String, Tensor> {
                runs[graph] = (runs[graph] ?: 0) + 1
                return session.run(inputs.mapValues { (it.value as Watched).tensor }, stop)
                    .mapValues { (name, tensor) -> Watched(change(graph, name, tensor)) }
            }

            override fun close() {
                sessions--
                session.close()
            }
        }
    }
}

class PipelineTest {
    private val request = GenerationRequest("lofi piano", seconds = 0.5, seed = 42, steps = 2, headroom = 0.3)

    private fun open(engine: Engine? = null, keepLoaded: Boolean = false) =
        Sa3Pipeline.open(Vectors.demo, PipelineOptions(keepLoaded, engine = engine))

    @Test
    fun stagesComeInOrderAndCount(): Unit = runBlocking {
        val seen = ArrayList<Triple<Stage, Int, Int>>()
        val source = Recording.fromSamples(Array(2) { FloatArray(22050) { i -> (i % 100) / 1000f } }, 44100)
        open().use { it.generate(request.copy(edit = Edit.Variation(source))) { stage, done, total -> seen.add(Triple(stage, done, total)) } }
        assertEquals(Stage.values().toList(), seen.map { it.first }.distinct())
        assertEquals(listOf(0 to 2, 1 to 2, 2 to 2), seen.filter { it.first == Stage.DENOISE }.map { it.second to it.third })
        for (stage in Stage.values()) {
            val steps = seen.filter { it.first == stage }
            assertEquals(0, steps.first().second, "$stage")
            assertEquals(steps.last().third, steps.last().second, "$stage")
        }
    }

    @Test
    fun theSameSeedIsTheSameMusicAndAnotherIsNot(): Unit = runBlocking {
        open().use { pipeline ->
            val one = pipeline.generate(request)
            assertContentEquals(one.latents, pipeline.generate(request).latents)
            assertTrue(!one.latents.contentEquals(pipeline.generate(request.copy(seed = 43)).latents))
            val drawn = pipeline.generate(request.copy(seed = null))
            assertContentEquals(drawn.latents, pipeline.generate(request.copy(seed = drawn.seed)).latents)
        }
    }

    @Test
    fun piecesJoinedAreTheWholeClip(): Unit = runBlocking {
        // Loud, long and spliced: the limiter holds samples back, there are several tiles, and a recording comes in.
        val source = Recording.fromSamples(Array(2) { FloatArray(44100 * 7) { i -> Math.sin(i / 9.0).toFloat() * 0.2f } }, 44100)
        val edit = Edit.Inpainting(source, listOf(Region(1.0, 6.5)))
        open(WatchedEngine { graph, _, tensor -> if (graph == GraphName.DECODER) louder(tensor) else tensor }).use { pipeline ->
            val events = pipeline.stream(request.copy(seconds = 7.0, edit = edit)).toList()
            val made = (events.last() as GenerationEvent.Done).generation
            val pieces = events.filterIsInstance<GenerationEvent.Piece>()
            assertTrue(pieces.size >= 2, "${pieces.size} pieces")
            for (channel in 0..1) {
                assertContentEquals(made.audio[channel], pieces.map { it.audio[channel] }.reduce { all, piece -> all + piece })
            }
            assertEquals(pieces.runningFold(0) { at, piece -> at + piece.audio[0].size }.dropLast(1), pieces.map { it.start })
            assertTrue(peak(made.audio) <= CEILING + 1e-3, "${peak(made.audio)}")
            assertTrue(events.filterIsInstance<GenerationEvent.Step>().isNotEmpty())
        }
    }

    private fun louder(tensor: Tensor): Tensor {
        val values = tensor.use { it.floats() }
        for (i in values.indices) values[i] *= 10f
        return OnnxRuntimeEngine().floats(values, *tensor.shape)
    }

    @Test
    fun graphsAreFreedAfterUseOrKept(): Unit = runBlocking {
        val engine = WatchedEngine()
        open(engine).use { pipeline ->
            pipeline.generate(request)
            assertEquals(emptySet(), pipeline.loaded)
            assertEquals(1, engine.mostSessions)
            assertEquals(0, engine.sessions)
        }
        val keeping = WatchedEngine()
        val kept = open(keeping, keepLoaded = true)
        kept.generate(request)
        assertEquals(setOf(GraphName.TEXT_ENCODER, GraphName.CONDITIONER, GraphName.DENOISER, GraphName.DECODER), kept.loaded)
        kept.close()
        assertEquals(0, keeping.sessions)
    }

    @Test
    fun fiftyClipsLeaveNothingBehind(): Unit = runBlocking {
        val engine = WatchedEngine()
        val source = Recording.fromSamples(Array(2) { FloatArray(22050) { i -> (i % 100) / 1000f } }, 44100)
        open(engine).use { pipeline ->
            var settled = 0L
            for (clip in 1..50) {
                pipeline.generate(request.copy(seed = clip.toLong(), guidance = 3.0, negativePrompt = "drums", edit = Edit.Variation(source)))
                assertEquals(0, engine.tensors, "tensors after clip $clip")
                assertEquals(0, engine.sessions, "sessions after clip $clip")
                if (clip == 15) settled = memory()
            }
            assumeTrue(settled > 0, "no /proc: memory is not measured here")
            val grown = memory() - settled
            println("memory after 15 clips ${settled shr 10} MB, after 50 ${(settled + grown) shr 10} MB")
            // A clip's tensors and graphs are some MB: 35 of them, not given back, would be far more.
            assertTrue(grown < 40 shl 10, "memory grew by ${grown shr 10} MB in 35 clips")
        }
    }

    /** Resident memory in kB, after what nobody holds is given back. */
    private fun memory(): Long {
        repeat(3) {
            System.gc()
            Thread.sleep(50)
        }
        val line = File("/proc/self/status").takeIf { it.exists() }?.readLines()?.first { it.startsWith("VmRSS") } ?: return 0
        return line.filter { it.isDigit() }.toLong()
    }

    @Test
    fun cancellingEndsWithinAStepAndFreesAll(): Unit = runBlocking {
        val engine = WatchedEngine()
        open(engine).use { pipeline ->
            val reached = CompletableDeferred<Unit>()
            val work = launch(Dispatchers.Default) {
                pipeline.generate(request.copy(seconds = pipeline.bundle.manifest.maxSeconds, steps = 5000)) { stage, done, _ ->
                    if (stage == Stage.DENOISE && done == 2) reached.complete(Unit)
                }
            }
            reached.await()
            val before = engine.runs.getValue(GraphName.DENOISER)
            work.cancelAndJoin()
            assertTrue(work.isCancelled)
            assertTrue(engine.runs.getValue(GraphName.DENOISER) <= before + 2, "steps went on")
            assertEquals(0, engine.tensors)
            assertEquals(0, engine.sessions)
            pipeline.generate(request) // and it can go on
        }
    }

    @Test
    fun cancellingWorksFromTheOnlyThreadOfADispatcher(): Unit = runBlocking {
        java.util.concurrent.Executors.newSingleThreadExecutor().asCoroutineDispatcher().use { single ->
            Sa3Pipeline.open(Vectors.demo, PipelineOptions(dispatcher = single)).use { pipeline ->
                val reached = CompletableDeferred<Unit>()
                val work = launch(Dispatchers.Default) {
                    pipeline.generate(request.copy(seconds = pipeline.bundle.manifest.maxSeconds, steps = 5000)) { stage, done, _ ->
                        if (stage == Stage.DENOISE && done == 1) reached.complete(Unit)
                    }
                }
                reached.await()
                work.cancelAndJoin()
                assertTrue(work.isCancelled)
            }
        }
    }

    @Test
    fun aGraphThatRunsIsEnded() {
        val bundle = Bundle.open(Vectors.demo)
        val engine = OnnxRuntimeEngine()
        val frames = bundle.manifest.audio.maxFrames.toLong()
        val sizes = mapOf("frames" to frames, "keys" to 9L, "rows" to 1L)
        val inputs = bundle.manifest.graphs.getValue(GraphName.DENOISER).inputs.associate { info ->
            val shape = info.shape.map { it.size?.toLong() ?: sizes.getValue(it.name!!) }.toLongArray()
            info.name to engine.floats(FloatArray(shape.reduce { a, b -> a * b }.toInt()), *shape)
        }
        engine.load(bundle, GraphName.DENOISER).use { session ->
            val stop = Stop()
            val raiser = thread {
                while (!stop.isBusy) Thread.onSpinWait()
                stop.raise()
            }
            assertFailsWith<CancellationException> { session.run(inputs, stop) }
            raiser.join()
            assertEquals(1, session.run(inputs, Stop()).size, "the session is still good")
        }
    }

    @Test
    fun aCollectorThatLeavesEndsTheWork(): Unit = runBlocking {
        val engine = WatchedEngine()
        open(engine).use { pipeline ->
            pipeline.stream(request.copy(seconds = pipeline.bundle.manifest.maxSeconds, steps = 5000)).first { it is GenerationEvent.Step && it.stage == Stage.DENOISE && it.done == 1 }
            assertEquals(0, engine.tensors)
            assertEquals(0, engine.sessions)
        }
    }

    @Test
    fun whatProgressThrowsStopsTheRun(): Unit = runBlocking {
        val engine = WatchedEngine()
        open(engine).use { pipeline ->
            assertFailsWith<IllegalStateException> { pipeline.generate(request) { stage, _, _ -> check(stage != Stage.DENOISE) } }
            assertEquals(0, engine.tensors)
            assertEquals(emptySet(), pipeline.loaded)
        }
    }

    @Test
    fun clipsAskedForAtOnceAreMadeOneAfterAnother(): Unit = runBlocking {
        val engine = WatchedEngine()
        open(engine).use { pipeline ->
            val alone = pipeline.generate(request)
            val two = List(2) { async(Dispatchers.Default) { pipeline.generate(request) } }.map { it.await() }
            for (made in two) assertContentEquals(alone.latents, made.latents)
            assertEquals(1, engine.mostSessions)
        }
    }

    @Test
    fun whatIsNoNumberIsAnErrorThatNamesTheGraph(): Unit = runBlocking {
        for (graph in listOf(GraphName.CONDITIONER, GraphName.DENOISER, GraphName.DECODER)) {
            val engine = WatchedEngine { of, _, tensor ->
                if (of != graph) return@WatchedEngine tensor
                val values = tensor.floats().also { it[it.size / 2] = Float.NaN }
                OnnxRuntimeEngine().floats(values, *tensor.shape)
            }
            open(engine).use { pipeline ->
                val error = assertFailsWith<EngineException> { pipeline.generate(request) }
                val named = if (graph == GraphName.DECODER) "decoder" else "denoiser"
                assertTrue(named in error.message!! && "NaN" in error.message!!, error.message)
                assertEquals(0, engine.tensors)
            }
        }
    }

    @Test
    fun outputsOfAnotherShapeAreAnError(): Unit = runBlocking {
        val engine = WatchedEngine { of, _, tensor ->
            if (of == GraphName.DENOISER) OnnxRuntimeEngine().floats(floatArrayOf(1f), 1, 1, 1) else tensor
        }
        open(engine).use { pipeline ->
            val error = assertFailsWith<EngineException> { pipeline.generate(request) }
            assertTrue("computed float32 (1, 1, 1) as the denoiser's velocity, the manifest promises float32 (1, 64, " in error.message!!, error.message)
        }
    }

    @Test
    fun aPromptThatIsTooLongIsCutAndNoted(): Unit = runBlocking {
        open().use { pipeline ->
            val most = pipeline.bundle.manifest.text.maxTokens
            val made = pipeline.generate(request.copy(prompt = "piano ".repeat(most)))
            assertTrue(made.notes.single().endsWith("the model reads the first $most"), "${made.notes}")
        }
    }

    @Test
    fun aPipelineIsNotClosedUnderAClip(): Unit = runBlocking {
        open().use { pipeline ->
            var refused: Throwable? = null
            pipeline.generate(request) { _, _, _ -> refused = refused ?: runCatching { pipeline.close() }.exceptionOrNull() }
            assertIs<IllegalStateException>(refused)
        }
    }

    @Test
    fun threadsThatTheMachineLacksAreRefused() {
        assertTrue("threads must be from 1" in assertFailsWith<RequestException> { OnnxRuntimeEngine(100_000) }.message!!)
        assertTrue("threads must be from 1" in assertFailsWith<RequestException> { OnnxRuntimeEngine(0) }.message!!)
    }
}
