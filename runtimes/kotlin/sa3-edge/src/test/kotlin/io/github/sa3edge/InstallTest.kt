package io.github.sa3edge

import com.sun.net.httpserver.HttpServer
import java.io.File
import java.io.IOException
import java.net.InetSocketAddress
import kotlin.test.AfterTest
import kotlin.test.BeforeTest
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertFalse
import kotlin.test.assertIs
import kotlin.test.assertTrue
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import org.junit.jupiter.api.io.TempDir

/** Models over HTTP from this machine, by a server that can be made to fail. */
class InstallTest {
    @TempDir
    lateinit var folder: File

    private lateinit var server: HttpServer
    private val requests = ArrayList<Pair<String, String?>>() // path, range
    private var content: (String) -> ByteArray? = { path -> File(Vectors.demo, path).takeIf { it.isFile }?.readBytes() }
    private var ranges = true
    private var most = Int.MAX_VALUE // bytes of a file in one answer, then it is cut

    @BeforeTest
    fun serve() {
        server = HttpServer.create(InetSocketAddress("127.0.0.1", 0), 0)
        server.createContext("/models/demo/") { exchange ->
            val path = exchange.requestURI.path.removePrefix("/models/demo/")
            val range = exchange.requestHeaders.getFirst("Range")
            synchronized(requests) { requests.add(path to range) }
            val all = content(path)
            if (all == null) {
                exchange.sendResponseHeaders(404, -1)
            } else {
                val from = if (ranges && range != null) range.removePrefix("bytes=").removeSuffix("-").toInt() else 0
                if (from > 0) exchange.responseHeaders.add("Content-Range", "bytes $from-${all.size - 1}/${all.size}")
                exchange.sendResponseHeaders(if (from > 0) 206 else 200, (all.size - from).toLong())
                try {
                    exchange.responseBody.write(all, from, minOf(most, all.size - from))
                    exchange.responseBody.flush()
                } catch (_: IOException) {
                    // who asked has left
                }
            }
            exchange.close()
        }
        server.start()
    }

    @AfterTest
    fun stop() = server.stop(0)

    private val model = PublishedBundle(
        "demo", "unused", sha256Of(File(Vectors.demo, "manifest.json")), Vectors.demo.walk().filter { it.isFile }.sumOf { it.length() },
    ).let { it.copy(url = "") }

    private fun published() = model.copy(url = "http://127.0.0.1:${server.address.port}/models/demo/")

    private fun store() = ModelStore(folder, pauseMillis = 0)

    private fun partial() = folder.walkTopDown().filter { it.isFile }.sumOf { it.length() }

    @Test
    fun aModelIsInstalledWholeAndOpens(): Unit = runBlocking {
        val store = store()
        val status = store.status(published())
        assertEquals(ModelStatus.Downloadable(0), status.value)
        val home = store.install(published())
        assertEquals(ModelStatus.Available(home), status.value)
        assertEquals(model.bundleId, Bundle.open(home).id)
        assertEquals(listOf("demo"), folder.list()!!.toList())
        val asked = requests.size
        assertEquals(home, store.install(published()))
        assertEquals(asked, requests.size, "what is installed is not fetched again")
        assertEquals(ModelStatus.Available(home), store().status(published()).value, "in another process too")
        assertTrue(store.remove(published()))
        assertEquals(ModelStatus.Downloadable(0), status.value)
        assertFalse(store.remove(published()))
    }

    @Test
    fun cutAnswersGoOnWhereTheyWereCut(): Unit = runBlocking {
        most = 100_000
        val home = store().install(published())
        Bundle.open(home)
        val largest = "denoiser.onnx.data"
        val asked = requests.filter { it.first == largest }.map { it.second }
        assertEquals(null, asked[0])
        assertEquals("bytes=100000-", asked[1])
        assertEquals((File(Vectors.demo, largest).length() + 99_999) / 100_000, asked.size.toLong())
    }

    @Test
    fun aServerWithoutRangesBeginsAnew(): Unit = runBlocking {
        val part = File(folder, ".demo.${model.bundleId.take(16)}.part/denoiser.onnx.data.part")
        part.parentFile.mkdirs()
        part.writeBytes(File(Vectors.demo, "denoiser.onnx.data").readBytes().copyOf(1000))
        ranges = false
        Bundle.open(store().install(published()))
        assertContains(requests, "denoiser.onnx.data" to "bytes=1000-")
    }

    @Test
    fun aDownloadThatWasCancelledGoesOnInAnotherProcess(): Unit = runBlocking {
        val reached = CompletableDeferred<Unit>()
        val store = store()
        val blocked = Fetch { path, from ->
            val fetched = HttpFetch(published().url).open(path, from)
            if (path == "denoiser.onnx.data") {
                Fetched(
                    object : java.io.FilterInputStream(fetched.input) {
                        var given = 0

                        override fun read(bytes: ByteArray, at: Int, count: Int): Int {
                            if (given >= 500_000) reached.complete(Unit)
                            return super.read(bytes, at, if (reached.isCompleted) 1 else minOf(count, 1000)).also { given += it }
                        }
                    },
                    fetched.start,
                )
            } else {
                fetched
            }
        }
        val work = launch(Dispatchers.Default) { store.install(published(), blocked) }
        reached.await()
        assertIs<ModelStatus.Downloading>(store.status(published()).value)
        work.cancelAndJoin()
        val kept = assertIs<ModelStatus.Downloadable>(store.status(published()).value)
        assertTrue(kept.bytes >= 500_000, "$kept")
        requests.clear()
        Bundle.open(store().install(published()))
        val (_, range) = requests.single { it.first == "denoiser.onnx.data" }
        assertTrue(range!!.removePrefix("bytes=").removeSuffix("-").toLong() >= 500_000, range)
        assertTrue(requests.none { it.first == "manifest.json" }, "what is whole is not fetched again")
    }

    @Test
    fun anAlteredFileIsDeletedAndNothingIsInstalled(): Unit = runBlocking {
        val good = content
        content = { path -> good(path)?.also { if (path == "decoder.onnx.data") it[5] = (it[5] + 1).toByte() } }
        val store = store()
        val error = assertFailsWith<DownloadException> { store.install(published()) }
        assertContains(error.message!!, "decoder.onnx.data of demo arrived altered")
        assertFalse(File(folder, "demo").exists())
        assertIs<ModelStatus.Downloadable>(store.status(published()).value)
        content = good
        Bundle.open(store.install(published()))
    }

    @Test
    fun anotherManifestThanThePinnedOneIsRefused(): Unit = runBlocking {
        val good = content
        content = { path -> if (path == "manifest.json") good(path)!! + '\n'.code.toByte() else good(path) }
        assertContains(assertFailsWith<DownloadException> { store().install(published()) }.message!!, "manifest.json of demo arrived altered")
        assertEquals(listOf("manifest.json"), requests.map { it.first })
    }

    @Test
    fun aLoginPageInPlaceOfAFileIsRefused(): Unit = runBlocking {
        content = { "<html>log in</html>".toByteArray() }
        assertContains(assertFailsWith<DownloadException> { store().install(published()) }.message!!, "altered")
    }

    @Test
    fun aServerThatSendsNothingIsGivenUpAndWhatCameIsKept(): Unit = runBlocking {
        most = 0
        assertContains(assertFailsWith<DownloadException> { store().install(published()) }.message!!, "does not arrive")
        most = 1000
        val before = partial()
        val good = content
        content = { path -> if (path == "encoder.onnx.data") good(path)!!.copyOf(1000) else good(path) }
        assertContains(assertFailsWith<DownloadException> { store().install(published()) }.message!!, "does not arrive")
        assertTrue(partial() > before + 1000)
    }

    @Test
    fun aMissingFileIsSaidAtOnce(): Unit = runBlocking {
        content = { null }
        assertContains(assertFailsWith<DownloadException> { store().install(published()) }.message!!, "the server answers 404 for manifest.json")
        assertEquals(1, requests.size)
    }

    @Test
    fun tooLittleRoomIsUnavailable(): Unit = runBlocking {
        val huge = published().copy(bytes = Long.MAX_VALUE / 2)
        val status = assertIs<ModelStatus.Unavailable>(store().status(huge).value)
        assertContains(status.reason, "has room for")
        assertContains(assertFailsWith<DownloadException> { store().install(huge) }.message!!, "has room for")
        assertTrue(requests.isEmpty())
    }

    @Test
    fun anOlderRevisionIsReplacedOnlyByAWholeNewOne(): Unit = runBlocking {
        val old = File(folder, "demo").apply { mkdirs() }
        File(old, "manifest.json").writeText("{}")
        most = 0
        assertFailsWith<DownloadException> { store().install(published()) }
        assertEquals("{}", File(old, "manifest.json").readText())
        most = Int.MAX_VALUE
        Bundle.open(store().install(published()))
    }

    @Test
    fun namesAndIdsThatAreNoneAreRefused() {
        for (name in listOf("", "..", "a/b", ".hidden", "a b")) assertFailsWith<RequestException> { model.copy(name = name) }
        for (id in listOf("", "abc", model.bundleId.uppercase(), "../" + model.bundleId)) {
            assertFailsWith<RequestException>(id) { model.copy(bundleId = id) }
        }
    }
}
