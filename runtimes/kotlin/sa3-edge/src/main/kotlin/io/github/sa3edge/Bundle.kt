package io.github.sa3edge

import java.io.File
import java.io.IOException
import java.security.MessageDigest

/**
 * A verified bundle: the right schema, every file inside its folder, every hash as stated.
 *
 * @property folder where it lies
 * @property id the SHA-256 of `manifest.json`: with the hashes in it, that names all the bundle's bytes
 */
public class Bundle private constructor(public val folder: File, public val manifest: Manifest, public val id: String) {
    /** Every file that the manifest names. */
    public val files: List<BundleFile>
        get() = listOf(manifest.text.tokenizer) + manifest.graphs.values.flatMap { graph ->
            graph.artifacts.values.flatMap { it.files }
        }

    /** Where a file of the bundle lies. Throws [BundleException] if that is outside the bundle's folder. */
    @Throws(BundleException::class)
    public fun resolve(file: BundleFile): File = resolve(folder, file)

    /** A graph's files in one format. Throws [BundleException] if the bundle lacks them. */
    @Throws(BundleException::class)
    public fun artifact(graph: GraphName, format: String): Artifact {
        val artifacts = manifest.graphs[graph]?.artifacts ?: throw BundleException("$folder has no ${graph.key} graph")
        return artifacts[format] ?: throw BundleException(
            "$folder has no $format files for ${graph.key}, only ${artifacts.keys.sorted().joinToString(", ")}",
        )
    }

    public companion object {
        /**
         * Opens and verifies the bundle in [folder].
         *
         * Hashing reads all its bytes. With [remember], a file that this host may write, hashes are computed once for
         * each version of a file, by path, size and time. Throws [BundleException] if anything is missing, altered,
         * outside the folder or of another schema.
         */
        @JvmStatic
        @JvmOverloads
        @Throws(BundleException::class)
        public fun open(folder: File, remember: File? = null): Bundle {
            val data = readManifest(folder)
            val bundle = Bundle(folder, Manifest.parse(data), hex(MessageDigest.getInstance("SHA-256").digest(data)))
            val verified = remember?.let { Verified(it) }
            bundle.files.forEach { bundle.verify(it, verified) }
            verified?.save()
            return bundle
        }

        private fun readManifest(folder: File): ByteArray {
            val file = File(folder, Manifest.FILE_NAME)
            if (!file.exists()) throw BundleException("$folder is not a bundle: it has no ${Manifest.FILE_NAME}")
            if (!file.isFile) throw BundleException("$file is no ordinary file")
            if (file.length() > LARGEST_MANIFEST) {
                throw BundleException("$file has ${file.length()} bytes; a manifest has at most $LARGEST_MANIFEST")
            }
            try {
                return file.readBytes()
            } catch (error: IOException) {
                throw BundleException("$file cannot be read: ${error.message}", error)
            }
        }

        internal fun resolve(folder: File, file: BundleFile): File {
            val root = folder.canonicalFile
            val inside = !file.path.startsWith("/") && '\\' !in file.path && !File(file.path).isAbsolute &&
                file.path.split('/').none { it.isEmpty() || it == "." || it == ".." }
            // The canonical path follows links: one that leads out is caught here.
            val absolute = if (inside) File(root, file.path).canonicalFile else null
            if (absolute == null || !absolute.path.startsWith(root.path + File.separator)) {
                throw BundleException("$folder: the manifest names a file outside the bundle, ${quoted(file.path)}")
            }
            return absolute
        }
    }

    private fun verify(file: BundleFile, verified: Verified?) {
        val path = resolve(file)
        if (!path.exists()) throw BundleException("$path is missing from the bundle; copy it again")
        if (!path.isFile) throw BundleException("$path is no ordinary file")
        if (path.length() != file.bytes) {
            throw BundleException("$path has ${path.length()} bytes, the manifest says ${file.bytes}; copy the bundle again")
        }
        if (verified?.has(path, file.sha256) == true) return
        val sha256 = try {
            sha256Of(path)
        } catch (error: IOException) {
            throw BundleException("$path cannot be read: ${error.message}", error)
        }
        if (sha256 != file.sha256) {
            throw BundleException("$path is not the file that the manifest names (SHA-256 differs); copy it again")
        }
        verified?.add(path, file.sha256)
    }
}

/** Files whose hash was seen to be right, by path, size and time. */
private class Verified(private val file: File) {
    private val seen = LinkedHashMap<String, String>()
    private var changed = false

    init {
        try {
            val loaded = if (file.isFile) JsonReader.parse(file.readBytes()) as? Map<*, *> else null
            loaded?.forEach { (path, state) -> if (path is String && state is String) seen[path] = state }
        } catch (_: IOException) {
        } catch (_: JsonException) {
        }
    }

    private fun state(path: File, sha256: String) = "${path.length()} ${path.lastModified()} $sha256"

    fun has(path: File, sha256: String) = seen[path.path] == state(path, sha256)

    fun add(path: File, sha256: String) {
        seen[path.path] = state(path, sha256)
        changed = true
    }

    fun save() {
        if (!changed) return
        // One that cannot be written only costs the next start a second look.
        try {
            writeWhole(file) { it.write(jsonText(seen).toByteArray()) }
        } catch (_: Sa3Exception) {
        }
    }
}
