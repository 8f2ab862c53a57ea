/** How many samples and latent frames a request of some seconds takes. */

import { RequestError } from './errors.js';
import type { Manifest } from './manifest.js';
import { general, nextUp, repr } from './numbers.js';

/** The shortest clip. */
export const SHORTEST_SECONDS = 0.1;

/** `samples` of audio; latent frames that the model attends to (`valid`) and that noise is drawn for. */
export interface Lengths {
  readonly samples: number;
  readonly valid: number;
  readonly allocated: number;
}

/** What lengths depend on. */
export type Geometry = Pick<Manifest['audio'], 'sample_rate' | 'samples_per_frame' | 'max_frames'>;

/** The longest clip of one pass, in whole seconds. */
export function maxSeconds(audio: Geometry): number {
  return Math.floor((audio.max_frames * audio.samples_per_frame) / audio.sample_rate);
}

/** Seconds that count as exactly this many samples. */
export function secondsOf(samples: number, rate: number): number {
  const seconds = samples / rate;
  return Math.trunc(seconds * rate) === samples ? seconds : nextUp(seconds);
}

/**
 * Lengths for a clip of `seconds` with `headroom` seconds after it, which the model composes an ending into.
 *
 * Throws RequestError for lengths that the model cannot make; `model` is its name.
 */
export function planLengths(seconds: number, headroom: number, audio: Geometry, model: string): Lengths {
  if (!Number.isFinite(seconds) || seconds < SHORTEST_SECONDS) {
    throw new RequestError(`seconds must be a number from ${SHORTEST_SECONDS} on, got ${repr(seconds)}`);
  }
  const longest = maxSeconds(audio);
  if (seconds > longest) {
    throw new RequestError(
      `${general(seconds)} seconds is more than ${model} makes in one pass; the longest clip is ${general(longest)} s`,
    );
  }
  if (!Number.isFinite(headroom) || headroom < 0) {
    throw new RequestError(`headroom must be 0 or more seconds, got ${repr(headroom)}`);
  }
  const { sample_rate: rate, samples_per_frame: frame, max_frames: most } = audio;
  const samples = Math.trunc(seconds * rate);
  const valid = Math.ceil(samples / frame) + Math.trunc((headroom * rate) / frame);
  let allocated = Math.ceil(Math.trunc((seconds + headroom) * rate) / frame);
  allocated += allocated % 2;
  return { samples, valid: Math.min(valid, most), allocated: Math.min(allocated, most) };
}
