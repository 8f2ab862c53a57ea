package io.github.sa3edge

import java.io.File
import java.nio.file.Files
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNotNull
import kotlin.test.assertTrue
import org.junit.jupiter.api.io.TempDir

/** Beside the bundles of the vectors: what else a stranger's bundle may try. */
class BundleTest {
    @TempDir
    lateinit var folder: File

    private val text = File(Vectors.demo, "manifest.json").readText()

    private fun copy(): File = File(folder, "bundle").also {
        it.deleteRecursively()
        Vectors.demo.copyRecursively(it)
    }

    private fun parse(text: String) = Manifest.parse(text.toByteArray())

    private fun refusal(text: String) = assertFailsWith<BundleException> { parse(text) }.message!!

    @Test
    fun theDemoIsReadAndNamedByItsManifestsHash() {
        val bundle = Bundle.open(Vectors.demo)
        assertEquals(sha256Of(File(Vectors.demo, "manifest.json")), bundle.id)
        assertEquals(GraphName.values().toSet(), bundle.manifest.graphs.keys)
        assertTrue(bundle.files.size >= 11)
    }

    @Test
    fun schemaThreeHasMemoryTokensAndSaysHowPackagesAreFilled() {
        // Whichever of the two the demo has.
        val two = text.replace(Regex(""""memory_tokens": \d+,"""), "").replace(Regex(""""schema_version": \d+"""), "\"schema_version\": 2")
        val three = two.replaceFirst("\"schema_version\": 2", "\"schema_version\": 3").replaceFirst("{", "{\"memory_tokens\": 8,")
        assertEquals(null, parse(two).memoryTokens)
        assertEquals(8, parse(three).memoryTokens)
        assertContains(refusal(two.replaceFirst("{", "{\"memory_tokens\": 8,")), "memory_tokens")
        val packaged = """"coreml": {"files": [{"path": "a", "sha256": "${"0".repeat(64)}", "bytes": 1}], "precision": "fp16", "parity": [],
            "inputs": [{"name": "x", "dtype": "float16", "shape": [1, "frames"], "pad": "zeros", "per": "step"}],
            "functions": {"main": {"frames": 8}}, "compute_units": "all"},"""
        val artifact = parse(three.replaceFirst("\"onnx\": {", "$packaged \"onnx\": {")).graphs.values.first().artifacts.getValue("coreml")
        assertEquals("zeros" to "step", artifact.inputs[0].pad to artifact.inputs[0].per)
        assertContains(refusal(two.replaceFirst("\"onnx\": {", "$packaged \"onnx\": {")), "pad")
    }

    @Test
    fun messagesNameTheField() {
        assertEquals(
            "manifest.json is not valid: Expected `int`, got `str` - at `$.audio.channels`",
            refusal(text.replaceFirst("\"channels\": 2", "\"channels\": \"2\"")),
        )
        assertEquals(
            "manifest.json is not valid: Object contains unknown field `colour` - at `$.model`",
            refusal(text.replaceFirst("\"synthetic\"", "\"colour\": 1, \"synthetic\"")),
        )
        assertContains(refusal(text.replaceFirst("\"channels\": 2", "\"channels\": 99999999999999999999")), "out of range")
        assertContains(refusal(text.replaceFirst("\"channels\": 2", "\"channels\": 99999999999")), "<= 1048576 - at `$.audio.channels`")
        assertContains(refusal(text.replaceFirst(Regex(""""logsnr_end": [^,]+"""), "\"logsnr_end\": 1e999")), "logsnr_end")
    }

    @Test
    fun jsonThatOthersReadInTwoWaysIsRefused() {
        assertContains(refusal(text.replaceFirst("\"channels\": 2", "\"channels\": 2, \"channels\": 3")), "twice")
        assertContains(refusal("$text {}"), "trailing")
        assertContains(refusal("[".repeat(100_000)), "levels")
        assertContains(assertFailsWith<BundleException> { Manifest.parse(byteArrayOf(0x7b, 0x22, 0xff.toByte(), 0x22)) }.message!!, "UTF-8")
        for (broken in listOf("", "{", "nul", "{\"a\" 1}", "{\"a\": 01}", "{\"a\": \"\u0001\"}", "{'a': 1}", "{\"a\": 1,}")) refusal(broken)
    }

    @Test
    fun aLinkOutOfTheFolderIsRefused() {
        val bundle = copy()
        val file = File(bundle, "denoiser.onnx.data")
        val outside = File(folder, "outside").also { file.copyTo(it) }
        file.delete()
        Files.createSymbolicLink(file.toPath(), outside.toPath())
        assertContains(assertFailsWith<BundleException> { Bundle.open(bundle) }.message!!, "outside the bundle")
    }

    @Test
    fun aFolderInPlaceOfAFileIsRefused() {
        val bundle = copy()
        File(bundle, "decoder.onnx").delete()
        File(bundle, "decoder.onnx").mkdir()
        assertContains(assertFailsWith<BundleException> { Bundle.open(bundle) }.message!!, "no ordinary file")
    }

    @Test
    fun whatWasHashedIsRememberedUntilAFileChanges() {
        val bundle = copy()
        val remember = File(folder, "remembered.json")
        Bundle.open(bundle, remember)
        val file = File(bundle, "decoder.onnx.data")
        val time = file.lastModified()
        val bytes = file.readBytes().also { it[100] = (it[100] + 1).toByte() }
        file.writeBytes(bytes)
        file.setLastModified(time)
        Bundle.open(bundle, remember) // the same size and time: taken for the same, as it says
        assertContains(assertFailsWith<BundleException> { Bundle.open(bundle) }.message!!, "SHA-256")
        file.setLastModified(time + 5000)
        assertContains(assertFailsWith<BundleException> { Bundle.open(bundle, remember) }.message!!, "SHA-256")
        remember.writeText("no JSON")
        assertFailsWith<BundleException> { Bundle.open(bundle, remember) }
    }

    @Test
    fun aFormatThatIsNotThereIsNamed() {
        val bundle = Bundle.open(Vectors.demo)
        assertContains(assertFailsWith<BundleException> { bundle.artifact(GraphName.DENOISER, "coreml") }.message!!, "only onnx")
    }

    @Test
    fun weightsInAFileThatTheManifestDoesNotListAreRefused() {
        val bundle = copy()
        // The manifest agrees with itself, but does not list the weights: nothing says what is in them.
        val text = File(bundle, "manifest.json").readText()
        val entry = Regex(""",\s*\{\s*"path": "denoiser.onnx.data"[^}]*\}""").find(text)
        assertNotNull(entry)
        File(bundle, "manifest.json").writeText(text.replace(entry.value, ""))
        val error = assertFailsWith<EngineException> { OnnxRuntimeEngine().load(Bundle.open(bundle), GraphName.DENOISER) }
        assertContains(error.message!!, "'denoiser.onnx.data', which the manifest does not name")
    }

    @Test
    fun graphsOfOurExporterPassTheInspection() {
        val bundle = Bundle.open(Vectors.demo)
        for (graph in GraphName.values()) OnnxFile.check(bundle, graph, bundle.artifact(graph, "onnx"))
    }
}
