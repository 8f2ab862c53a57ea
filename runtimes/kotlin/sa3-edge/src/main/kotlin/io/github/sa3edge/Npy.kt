package io.github.sa3edge

import java.io.File
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Writes fp32 [values] of [shape], C order, as a NumPy file that appears whole or not at all. */
public fun writeNpy(file: File, values: FloatArray, vararg shape: Int): Unit = writeWhole(file) { writeNpy(it, values, shape) }

private fun writeNpy(out: OutputStream, values: FloatArray, shape: IntArray) {
    require(shape.fold(1L) { all, side -> all * side } == values.size.toLong()) { "${values.size} values are not ${shape.toList()}" }
    val sides = shape.joinToString(", ") + if (shape.size == 1) "," else ""
    val header = "{'descr': '<f4', 'fortran_order': False, 'shape': ($sides), }"
    // Magic, version and length take 10 bytes; all of it with the closing line feed is a multiple of 64.
    val padded = header.padEnd((10 + header.length + 1 + 63) / 64 * 64 - 11) + "\n"
    out.write(byteArrayOf(0x93.toByte()) + "NUMPY".toByteArray() + byteArrayOf(1, 0))
    out.write(byteArrayOf((padded.length and 255).toByte(), (padded.length shr 8).toByte()))
    out.write(padded.toByteArray())
    val block = ByteBuffer.allocate(1 shl 16).order(ByteOrder.LITTLE_ENDIAN)
    for (start in values.indices step block.capacity() / 4) {
        val count = minOf(block.capacity() / 4, values.size - start)
        block.clear()
        block.asFloatBuffer().put(values, start, count)
        out.write(block.array(), 0, count * 4)
    }
}
