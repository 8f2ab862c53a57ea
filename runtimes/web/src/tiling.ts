/** Sequences through the autoencoder in tiles: the same result as in one piece, in memory that does not grow. */

import type { Tiles } from './manifest.js';
import { columns } from './tensor.js';

/** Frames [start, stop) go in; of what comes out, [keepStart, keepStop) is kept. All in frames of the whole. */
export interface Tile {
  readonly start: number;
  readonly stop: number;
  readonly keepStart: number;
  readonly keepStop: number;
}

/**
 * Tiles whose kept parts are the frames 0..wanted-1 of a sequence of `available` frames, a multiple.
 *
 * With `full` the first and the last reach further, so that all are as long as those between them.
 */
export function planTiles(wanted: number, available: number, tiles: Tiles, full = false): Tile[] {
  const longest = full ? tiles.frames + 2 * tiles.overlap : 0;
  const planned: Tile[] = [];
  for (let keepStart = 0; keepStart < wanted; keepStart += tiles.frames) {
    const keepStop = Math.min(keepStart + tiles.frames, wanted);
    const first = Math.max(0, keepStart - tiles.overlap);
    const whole = Math.ceil((keepStop + tiles.overlap) / tiles.multiple) * tiles.multiple;
    const stop = Math.min(Math.max(whole, first + longest), available);
    planned.push({ start: Math.max(0, Math.min(first, stop - longest)), stop, keepStart, keepStop });
  }
  return planned;
}

/** A decoder's or an encoder's graph on one tile. */
export type RunTile = (input: Float32Array, frames: number) => Promise<Float32Array>;

/** Decode latents (channels, T) tile by tile; yields (rows, samples) pieces of the first `wanted` frames. */
export async function* decodeTiles(
  decode: RunTile,
  latents: Float32Array,
  channels: number,
  wanted: number,
  tiles: Tiles,
  samplesPerFrame: number,
  rows: number,
): AsyncGenerator<Float32Array> {
  const valid = latents.length / channels;
  const available = Math.ceil(valid / tiles.multiple) * tiles.multiple; // the last frame is repeated
  for (const tile of planTiles(wanted, available, tiles)) {
    const audio = await decode(columns(latents, channels, tile.start, tile.stop), tile.stop - tile.start);
    const from = (tile.keepStart - tile.start) * samplesPerFrame;
    yield columns(audio, rows, from, from + (tile.keepStop - tile.keepStart) * samplesPerFrame);
  }
}

/** Encode audio (rows, N), N whole windows, tile by tile: its first latent frames (channels, wanted). */
export async function encodeTiles(
  encode: RunTile,
  audio: Float32Array,
  rows: number,
  channels: number,
  wanted: number,
  tiles: Tiles,
  samplesPerFrame: number,
): Promise<Float32Array> {
  const latents = new Float32Array(channels * wanted);
  for (const tile of planTiles(wanted, audio.length / rows / samplesPerFrame, tiles)) {
    const frames = tile.stop - tile.start;
    const made = await encode(columns(audio, rows, tile.start * samplesPerFrame, tile.stop * samplesPerFrame), frames);
    for (let c = 0; c < channels; c++) {
      const at = c * frames - tile.start;
      latents.set(made.subarray(at + tile.keepStart, at + tile.keepStop), c * wanted + tile.keepStart);
    }
  }
  return latents;
}
