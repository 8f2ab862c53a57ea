package io.github.sa3edge

import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import kotlin.math.abs
import kotlin.test.Test
import kotlin.test.assertContains
import kotlin.test.assertContentEquals
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertTrue
import org.junit.jupiter.api.io.TempDir

class AudioTest {
    @TempDir
    lateinit var folder: File

    private val file get() = File(folder, "a.wav")
    private val sine = Array(2) { channel -> FloatArray(1001) { i -> Math.sin(i / 7.0 + channel).toFloat() * 0.9f } }

    private fun load(file: File, samples: Int = 1001, notes: MutableList<String> = ArrayList()) =
        Recording.fromWav(file).load(samples, 44100, 2, notes)

    @Test
    fun filesAreReadAsTheyWereWritten() {
        for ((depth, step) in listOf(WavDepth.PCM_16 to 2 / 32768f, WavDepth.PCM_24 to 0.51f / 8388608, WavDepth.FLOAT_32 to 0f)) {
            file.delete()
            assertEquals(0, writeWav(file, sine, 44100, depth))
            val read = load(file)
            for (channel in 0..1) for (i in 0..1000) assertTrue(abs(read[channel][i] - sine[channel][i]) <= step, "$depth")
            // And what was read is written back bit for bit.
            val again = File(folder, "b.wav")
            writeWav(again, read, 44100, depth)
            assertContentEquals(file.readBytes(), again.readBytes(), "$depth")
        }
    }

    @Test
    fun whatIsTooLoudIsClippedAndCounted() {
        val loud = arrayOf(floatArrayOf(0f, 1.5f, -1.5f, 0.5f))
        assertEquals(2, writeWav(file, loud, 44100, WavDepth.PCM_24))
        assertEquals(0, writeWav(file, loud, 44100, WavDepth.FLOAT_32))
        assertEquals(1.5f, Recording.fromWav(file).load(4, 44100, 2, ArrayList())[0][1])
    }

    @Test
    fun textsAreInTheFileAndItsSizesAreRight() {
        writeWav(file, sine, 44100, WavDepth.PCM_16, mapOf("INAM" to "é🎹", "ICMT" to "x".repeat(5001)))
        val bytes = file.readBytes()
        assertEquals(bytes.size - 8, ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getInt(4))
        assertContains(String(bytes, Charsets.UTF_8), "é🎹\u0000")
        assertEquals(1001, Recording.fromWav(file).frames)
    }

    private fun chunk(name: String, content: ByteArray, size: Int = content.size) =
        name.toByteArray() + ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(size).array() + content + ByteArray(content.size % 2)

    private fun format(kind: Int, channels: Int, rate: Int, bits: Int, align: Int = channels * bits / 8): ByteArray =
        ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN).putShort(kind.toShort()).putShort(channels.toShort()).putInt(rate)
            .putInt(rate * align).putShort(align.toShort()).putShort(bits.toShort()).array()

    private fun wav(vararg chunks: ByteArray): File = file.apply {
        writeBytes(chunk("RIFF", "WAVE".toByteArray() + chunks.fold(ByteArray(0)) { all, chunk -> all + chunk }))
    }

    @Test
    fun otherProgramsFilesAreRead() {
        val eight = wav(chunk("LIST", ByteArray(3)), chunk("fmt ", format(1, 1, 44100, 8)), chunk("data", byteArrayOf(0, -128, -1)))
        assertContentEquals(floatArrayOf(-1f, 0f, 127 / 128f), load(eight, 3)[1])
        val extensible = format(0xfffe, 2, 44100, 32) + byteArrayOf(22, 0, 32, 0, 3, 0, 0, 0, 3, 0) + ByteArray(14)
        val floats = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putFloat(0.25f).putFloat(-0.5f).array()
        val read = load(wav(chunk("fmt ", extensible), chunk("data", floats)), 2)
        assertContentEquals(floatArrayOf(0.25f, 0f), read[0])
        assertContentEquals(floatArrayOf(-0.5f, 0f), read[1])
    }

    @Test
    fun sixChannelsAreMixedAndSaid() {
        val notes = ArrayList<String>()
        val surround = FloatArray(6) { if (it == 2) 0.5f else 0f } // the centre
        val bytes = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN).also { buffer -> surround.forEach { buffer.putFloat(it) } }.array()
        val read = load(wav(chunk("fmt ", format(3, 6, 44100, 32)), chunk("data", bytes)), 1, notes)
        assertEquals(0.35355f, read[0][0], 1e-4f)
        assertEquals(read[0][0], read[1][0])
        assertContains(notes.single(), "has 6 channels; they are mixed to 2")
    }

    @Test
    fun whatIsNoRecordingIsRefused() {
        fun refusal(file: File) = assertFailsWith<RequestException> { load(file, 2) }.message!!
        val samples = chunk("data", ByteArray(16))
        assertContains(refusal(File(folder, "none.wav")), "does not exist")
        assertContains(refusal(File(folder, "text.wav").apply { writeText("no sound, but long enough") }), "is a text, not a recording")
        assertContains(refusal(file.apply { writeText("a" + "é 🎹\r\n\t".repeat(100)) }), "is a text, not a recording") // its 512th byte is within a letter
        assertContains(refusal(file.apply { writeText("no break space: \u00a0") }), "format is unknown")
        assertContains(refusal(file.apply { writeBytes(ByteArray(64) { -1 }) }), "format is unknown")
        assertContains(refusal(file.apply { writeBytes(ByteArray(0)) }), "is empty: there is nothing in it")
        assertContains(refusal(folder), "is a folder, not a recording")
        assertContains(refusal(wav(chunk("fmt ", format(1, 2, 44100, 16)))), "no samples")
        assertContains(refusal(wav(samples, chunk("fmt ", format(1, 2, 44100, 16)))), "before its header")
        assertContains(refusal(wav(chunk("fmt ", format(85, 2, 44100, 16)), samples)), "format 85")
        assertContains(refusal(wav(chunk("fmt ", format(1, 0, 44100, 16)), samples)), "damaged")
        assertContains(refusal(wav(chunk("fmt ", format(1, 2, 44100, 16, align = 3)), samples)), "damaged")
        assertContains(refusal(wav(chunk("fmt ", format(1, 2, 44100, 16)), chunk("data", ByteArray(0)))), "is empty")
        assertContains(refusal(wav(chunk("fmt ", format(1, 2, 44100, 16)), chunk("data", ByteArray(16), 1600))), "ends after 4 of 400 frames")
        assertContains(refusal(wav(chunk("fmt ", format(1, 2, 48000, 16)), samples)), "is at 48000 Hz, this model takes 44100 Hz")
        val nan = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putFloat(Float.NaN).putFloat(0f).array()
        assertContains(refusal(wav(chunk("fmt ", format(3, 2, 44100, 32)), chunk("data", nan))), "not numbers")
    }

    @Test
    fun silenceIsSaid() {
        val notes = ArrayList<String>()
        load(wav(chunk("fmt ", format(1, 2, 44100, 16)), chunk("data", ByteArray(400))), 200, notes)
        assertContains(notes.single(), "is silent")
    }

    @Test
    fun latentsAreReadByNumPysRules() {
        val file = File(folder, "x.npy")
        val values = FloatArray(40_000) { it / 7f }
        writeNpy(file, values, 1, 16, 2500)
        val bytes = file.readBytes()
        val header = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getShort(8).toInt()
        assertEquals(0, (10 + header) % 64)
        assertEquals("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 16, 2500), }", String(bytes, 10, header).trim())
        val data = ByteBuffer.wrap(bytes, 10 + header, bytes.size - 10 - header).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        assertContentEquals(values, FloatArray(data.remaining()) { data.get(it) })
    }

    @Test
    fun aFileThatCannotBeWrittenLeavesNothing() {
        assertFailsWith<Sa3Exception> { writeWav(File(folder, "none/a.wav"), sine, 44100) }
        File(folder, "taken.wav").mkdir()
        File(folder, "taken.wav/x").writeText("x")
        assertFailsWith<Sa3Exception> { writeWav(File(folder, "taken.wav"), sine, 44100) }
        assertEquals(listOf("taken.wav"), folder.list()!!.toList())
    }

    @Test
    fun theLimiterGivesTheSameInPiecesOfAnyLength() {
        val loud = Array(2) { channel -> FloatArray(20_000) { i -> Math.sin(i / (3.0 + channel)).toFloat() * if (i in 6000..9000) 2f else 0.5f } }
        val whole = limitInPieces(loud, 20_000)
        for (length in listOf(50, 333, 4096)) {
            val pieces = limitInPieces(loud, length)
            for (channel in 0..1) assertContentEquals(whole[channel], pieces[channel], "pieces of $length")
        }
        assertContentEquals(loud[0].copyOfRange(0, 5000), whole[0].copyOfRange(0, 5000), "what is quiet is untouched")
        assertTrue(peak(whole) <= CEILING, "${peak(whole)}")
    }
}
