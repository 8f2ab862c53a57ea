package io.github.sa3edge

/** Frames [start, stop) go in; of what comes out, [keepStart, keepStop) is kept. All in frames of the whole. */
internal data class Tile(val start: Int, val stop: Int, val keepStart: Int, val keepStop: Int)

/**
 * Tiles whose kept parts are the frames 0 until [wanted] of a sequence of [available] frames, a multiple.
 *
 * The autoencoder works on windows of `multiple` frames, on a grid and on one shifted by half a window. What a tile's
 * ends make wrong stays within `overlap`, so that tiles equal the whole. With [full] the first and the last tile reach
 * further, so that all have the length of those between them, as far as there are that many frames.
 */
internal fun planTiles(wanted: Int, available: Int, tiles: Tiles, full: Boolean = false): List<Tile> {
    val longest = if (full) tiles.frames + 2 * tiles.overlap else 0
    return (0 until wanted step tiles.frames).map { keepStart ->
        val keepStop = minOf(keepStart + tiles.frames, wanted)
        val start = maxOf(0, keepStart - tiles.overlap)
        val stop = minOf(maxOf(roundUp(keepStop + tiles.overlap, tiles.multiple), start + longest), available)
        Tile(maxOf(0, minOf(start, stop - longest)), stop, keepStart, keepStop)
    }
}

internal fun roundUp(number: Int, multiple: Int): Int = (number + multiple - 1) / multiple * multiple

/** Columns [start, stop) of (rows, columns); beyond the last column, the last is repeated. */
internal fun columns(values: FloatArray, rows: Int, start: Int, stop: Int): FloatArray {
    val width = values.size / rows
    val count = stop - start
    val taken = FloatArray(rows * count)
    for (row in 0 until rows) {
        val there = maxOf(0, minOf(stop, width) - start)
        System.arraycopy(values, row * width + start, taken, row * count, there)
        taken.fill(values[row * width + width - 1], row * count + there, row * count + count)
    }
    return taken
}

/**
 * Decodes latents (C, T), a row a channel, tile by tile; [give] gets pieces (channels, samples) of the first [wanted]
 * frames, one after another. [decode] takes (C, frames) and their number, and gives (channels, samples).
 */
internal fun decodeTiles(
    latents: FloatArray,
    rows: Int,
    wanted: Int,
    tiles: Tiles,
    channels: Int,
    samplesPerFrame: Int,
    decode: (FloatArray, Int) -> FloatArray,
    give: (Array<FloatArray>, Tile) -> Unit,
) {
    val available = roundUp(latents.size / rows, tiles.multiple)
    for (tile in planTiles(wanted, available, tiles)) {
        val frames = tile.stop - tile.start
        val width = frames * samplesPerFrame
        val audio = decode(columns(latents, rows, tile.start, tile.stop), frames)
        val first = (tile.keepStart - tile.start) * samplesPerFrame
        val last = (tile.keepStop - tile.start) * samplesPerFrame
        give(Array(channels) { audio.copyOfRange(it * width + first, it * width + last) }, tile)
    }
}

/**
 * Encodes audio (channels, N), N whole windows, tile by tile to its first [wanted] frames, (C, wanted). [encode] takes
 * (channels, samples) and their number of frames, and gives (C, frames).
 */
internal fun encodeTiles(
    audio: Array<FloatArray>,
    rows: Int,
    wanted: Int,
    tiles: Tiles,
    samplesPerFrame: Int,
    encode: (FloatArray, Int) -> FloatArray,
): FloatArray {
    val latents = FloatArray(rows * wanted)
    for (tile in planTiles(wanted, audio[0].size / samplesPerFrame, tiles)) {
        val frames = tile.stop - tile.start
        val width = frames * samplesPerFrame
        val samples = FloatArray(audio.size * width)
        for (channel in audio.indices) {
            audio[channel].copyInto(samples, channel * width, tile.start * samplesPerFrame, tile.stop * samplesPerFrame)
        }
        val encoded = encode(samples, frames)
        for (row in 0 until rows) {
            val start = row * frames - tile.start
            encoded.copyInto(latents, row * wanted + tile.keepStart, start + tile.keepStart, start + tile.keepStop)
        }
    }
    return latents
}
