package io.github.sa3edge

import java.io.Closeable
import java.io.File
import java.io.FileInputStream
import java.io.FileOutputStream
import java.io.FilterInputStream
import java.io.IOException
import java.io.InputStream
import java.net.HttpURLConnection
import java.net.URL
import java.security.MessageDigest
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext

/** Where a model stands on this device. */
public sealed class ModelStatus {
    /** It is not here and cannot be fetched: [reason] says why, e.g. too little room. */
    public data class Unavailable(val reason: String) : ModelStatus()

    /** It is not here and can be fetched; [bytes] of it are here already, from a download that was cut. */
    public data class Downloadable(val bytes: Long) : ModelStatus()

    /** It is being fetched: [bytes] of [total] are here. */
    public data class Downloading(val bytes: Long, val total: Long) : ModelStatus()

    /** It is installed, whole, in [folder]: open it with [Sa3Pipeline.open]. */
    public data class Available(val folder: File) : ModelStatus()
}

/**
 * A published bundle, pinned: whatever the server says later, these bytes or none.
 *
 * @property name its folder's name
 * @property url the folder's address at a revision that does not move, e.g.
 *     `https://huggingface.co/OWNER/REPOSITORY/resolve/COMMIT/`
 * @property bundleId the SHA-256 of its `manifest.json`, which has the hashes of all other files
 * @property bytes about how much it takes, to tell too little room before anything is fetched
 */
public data class PublishedBundle(val name: String, val url: String, val bundleId: String, val bytes: Long) {
    init {
        if (!NAME.matches(name)) throw RequestException("a model's name is letters, digits, dots, dashes and underscores, got ${quoted(name)}")
        if (!HASH.matches(bundleId)) throw RequestException("a bundle's id is 64 hexadecimal digits, got ${quoted(bundleId)}")
    }

    private companion object {
        val NAME = Regex("[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
        val HASH = Regex("[0-9a-f]{64}")
    }
}

/** Opens a file of a published bundle from a byte on: over HTTP, or from wherever an app has it (asset packs, cables). */
public fun interface Fetch {
    /** [path] as in the manifest. Throws [IOException] if that may pass, [DownloadException] if it will not. */
    public fun open(path: String, from: Long): Fetched
}

/** Bytes that arrive: from [start] on, which is 0 if the source cannot begin elsewhere. */
public class Fetched(public val input: InputStream, public val start: Long) : Closeable {
    override fun close(): Unit = input.close()
}

/**
 * Models in a folder of the app: what is installed, and installing.
 *
 * A download goes on where it was cut, also in a later process; every file's size and SHA-256 are checked as it arrives,
 * and a model appears under its name whole or not at all. One store for a folder at a time.
 */
public class ModelStore @JvmOverloads constructor(
    private val folder: File,
    private val dispatcher: CoroutineDispatcher = Dispatchers.IO,
    private val pauseMillis: Long = 1000,
) {
    private val mutex = Mutex()
    private val statuses = HashMap<PublishedBundle, MutableStateFlow<ModelStatus>>()

    /** The model's status, and its changes while this store installs or removes it. */
    public fun status(model: PublishedBundle): StateFlow<ModelStatus> = flow(model).asStateFlow()

    /**
     * Fetches what is missing of a model and installs it; returns its folder. Does nothing where it is installed.
     *
     * Throws [DownloadException]; what arrived is kept for the next try, also if the coroutine is cancelled.
     */
    @JvmOverloads
    public suspend fun install(model: PublishedBundle, fetch: Fetch = HttpFetch(model.url)): File = mutex.withLock {
        withContext(dispatcher) {
            val status = flow(model)
            try {
                val found = look(model)
                status.value = found
                val installed = when (found) {
                    is ModelStatus.Available -> found.folder
                    is ModelStatus.Unavailable -> throw DownloadException(found.reason)
                    else -> Installation(model, fetch, status).run()
                }
                installed
            } finally {
                status.value = look(model)
            }
        }
    }

    /** Removes a model and what was downloaded of it; returns whether there was anything. */
    public suspend fun remove(model: PublishedBundle): Boolean = mutex.withLock {
        withContext(dispatcher) {
            val paths = listOf(home(model), staging(model)).filter { it.exists() }
            for (path in paths) if (!path.deleteRecursively()) throw Sa3Exception("$path cannot be removed")
            flow(model).value = look(model)
            paths.isNotEmpty()
        }
    }

    private fun flow(model: PublishedBundle) = synchronized(statuses) { statuses.getOrPut(model) { MutableStateFlow(look(model)) } }

    private fun home(model: PublishedBundle) = File(folder, model.name)

    // Named after the content: another revision never goes on from this one's beginning.
    private fun staging(model: PublishedBundle) = File(folder, ".${model.name}.${model.bundleId.take(16)}.part")

    /** By names and sizes alone: hashes were checked when it was installed, and are again when it is opened. */
    private fun look(model: PublishedBundle): ModelStatus {
        val manifest = File(home(model), Manifest.FILE_NAME)
        try {
            if (manifest.isFile && sha256Of(manifest) == model.bundleId) return ModelStatus.Available(home(model))
        } catch (_: IOException) {
            // It cannot be read, so it is not installed.
        }
        val there = staging(model).walkTopDown().filter { it.isFile }.sumOf { it.length() }
        val room = (folder.takeIf { it.exists() } ?: folder.absoluteFile.parentFile)?.usableSpace ?: 0
        if (room < model.bytes - there) {
            return ModelStatus.Unavailable("${model.name} needs ${model.bytes - there} more bytes, ${folder.path} has room for $room")
        }
        return ModelStatus.Downloadable(there)
    }

    private inner class Installation(
        private val model: PublishedBundle,
        private val fetch: Fetch,
        private val status: MutableStateFlow<ModelStatus>,
    ) {
        private val staging = staging(model)
        private var total = model.bytes
        private var there = 0L

        suspend fun run(): File {
            if (!staging.isDirectory && !staging.mkdirs()) throw DownloadException("$staging cannot be made")
            val manifestFile = File(staging, Manifest.FILE_NAME)
            if (!manifestFile.isFile || sha256Of(manifestFile) != model.bundleId) {
                receive(BundleFile(Manifest.FILE_NAME, model.bundleId, -1))
            }
            val manifest = Manifest.parse(manifestFile.readBytes())
            val files = (listOf(manifest.text.tokenizer) + manifest.graphs.values.flatMap { graph -> graph.artifacts.values.flatMap { it.files } })
                .distinctBy { it.path }
            total = files.sumOf { it.bytes }
            // Small ones first: a repository that is closed to us says so at once.
            for (file in files.sortedBy { it.bytes }) {
                val path = Bundle.resolve(staging, file)
                if (path.isFile && path.length() == file.bytes && sha256Of(path) == file.sha256) add(file.bytes) else receive(file)
            }
            return putInPlace()
        }

        private fun add(count: Long) {
            there += count
            status.value = ModelStatus.Downloading(there, total)
        }

        /** Fetches a file until it is whole; goes on after a cut, as long as something arrives between two cuts. */
        private suspend fun receive(file: BundleFile) {
            val path = Bundle.resolve(staging, file)
            path.parentFile.mkdirs()
            val part = File(path.path + ".part")
            val arrival = Arrival(part, file)
            add(arrival.bytes)
            var tries = 0
            while (file.bytes < 0 || arrival.bytes < file.bytes) {
                val before = arrival.bytes
                val problem = try {
                    arrival.goOn()
                    null
                } catch (error: IOException) {
                    error
                }
                if (file.bytes < 0 && problem == null) break
                if (arrival.bytes >= file.bytes && file.bytes >= 0) break
                tries = if (arrival.bytes > before) 0 else tries + 1
                if (tries >= TRIES) {
                    val why = problem?.let { it.message ?: it.javaClass.simpleName } ?: "it ends after ${arrival.bytes} of ${file.bytes} bytes"
                    throw DownloadException("${file.path} of ${model.name} does not arrive: $why; try again later, what was downloaded is kept", problem)
                }
                delay(pauseMillis)
            }
            val sha256 = arrival.sha256()
            if (sha256 != file.sha256) {
                part.delete()
                throw DownloadException(
                    "${file.path} of ${model.name} arrived altered: its SHA-256 begins with ${sha256.take(12)}, not ${file.sha256.take(12)}; " +
                        "it is deleted, try again",
                )
            }
            if (!part.renameTo(path)) throw DownloadException("$path cannot be put in place")
        }

        /** A file that grows, and its hash so far. */
        private inner class Arrival(private val part: File, private val file: BundleFile) {
            private var digest = MessageDigest.getInstance("SHA-256")
            var bytes = 0L
                private set

            init {
                if (file.bytes < 0 || part.length() > file.bytes) part.delete()
                if (part.isFile) {
                    FileInputStream(part).use { input -> copy(input) { _, _ -> } }
                }
            }

            fun sha256() = hex(digest.digest())

            suspend fun goOn() {
                fetch.open(file.path, bytes).use { fetched ->
                    if (fetched.start != bytes) {
                        if (fetched.start != 0L) throw IOException("bytes from ${fetched.start} on came, not from $bytes on")
                        add(-bytes)
                        digest = MessageDigest.getInstance("SHA-256")
                        bytes = 0
                        part.delete()
                    }
                    FileOutputStream(part, true).use { output ->
                        val context = currentCoroutineContext()
                        copy(fetched.input) { buffer, count ->
                            context.ensureActive()
                            // A disk that is full will not do better at the next try.
                            try {
                                output.write(buffer, 0, count)
                            } catch (error: IOException) {
                                throw DownloadException("$part cannot be written: ${error.message}", error)
                            }
                            add(count.toLong())
                        }
                        output.fd.sync()
                    }
                }
            }

            private inline fun copy(input: InputStream, write: (ByteArray, Int) -> Unit) {
                val buffer = ByteArray(1 shl 16)
                while (file.bytes < 0 || bytes < file.bytes) {
                    val most = if (file.bytes < 0) buffer.size else minOf(buffer.size.toLong(), file.bytes - bytes).toInt()
                    val count = input.read(buffer, 0, most)
                    if (count < 0) return
                    write(buffer, count)
                    digest.update(buffer, 0, count)
                    bytes += count
                    if (file.bytes < 0 && bytes > LARGEST_MANIFEST) throw DownloadException("${file.path} of ${model.name} does not end")
                }
            }
        }

        private fun putInPlace(): File {
            val home = home(model)
            val old = File(folder, ".${model.name}.old")
            old.deleteRecursively()
            if (home.exists() && !home.renameTo(old)) throw DownloadException("$home cannot be replaced")
            if (!staging.renameTo(home)) {
                old.renameTo(home)
                throw DownloadException("$home cannot be put in place")
            }
            old.deleteRecursively()
            return home
        }
    }

    private companion object {
        const val TRIES = 5 // in a row without a new byte
        const val LARGEST_MANIFEST = 8L shl 20
    }
}

/** Files below [url] over HTTP(S), from any byte on. Redirects from one scheme to another are not followed. */
public class HttpFetch(url: String, private val headers: Map<String, String> = emptyMap()) : Fetch {
    private val base = url.trimEnd('/')

    override fun open(path: String, from: Long): Fetched {
        val address = "$base/" + path.split('/').joinToString("/") { java.net.URLEncoder.encode(it, "UTF-8").replace("+", "%20") }
        val connection = URL(address).openConnection() as HttpURLConnection
        connection.connectTimeout = TIMEOUT
        connection.readTimeout = TIMEOUT
        // A range of compressed bytes would be of no use.
        connection.setRequestProperty("Accept-Encoding", "identity")
        headers.forEach(connection::setRequestProperty)
        if (from > 0) connection.setRequestProperty("Range", "bytes=$from-")
        val status = connection.responseCode
        if (status == HttpURLConnection.HTTP_OK || status == HttpURLConnection.HTTP_PARTIAL) {
            val range = connection.getHeaderField("Content-Range")
            val start = if (status == HttpURLConnection.HTTP_PARTIAL) RANGE.find(range ?: "")?.groupValues?.get(1)?.toLong() else 0
            val input = Announced(connection.inputStream, connection.getHeaderField("Content-Length")?.toLongOrNull(), path)
            return Fetched(input, start ?: throw IOException("the server does not say which bytes of $path it sends"))
        }
        connection.disconnect()
        if (status in PASSING) throw IOException("the server answers $status for $path")
        throw DownloadException("the server answers $status for $path; is $base a bundle's folder?")
    }

    /** A body that must be as long as was said: HttpURLConnection takes a cut for the end. */
    private class Announced(input: InputStream, private val length: Long?, private val path: String) : FilterInputStream(input) {
        private var count = 0L

        override fun read(): Int = ByteArray(1).let { if (read(it, 0, 1) < 0) -1 else it[0].toInt() and 255 }

        override fun read(bytes: ByteArray, offset: Int, length: Int): Int {
            val read = super.read(bytes, offset, length)
            if (read > 0) count += read
            if (read < 0 && this.length != null && count < this.length) {
                throw IOException("the connection was cut after $count of ${this.length} bytes of $path")
            }
            return read
        }
    }

    private companion object {
        const val TIMEOUT = 30_000
        val RANGE = Regex("^bytes ([0-9]{1,18})-")

        // The server is busy, or something between us and it.
        val PASSING = setOf(408, 429, 500, 502, 503, 504)
    }
}
