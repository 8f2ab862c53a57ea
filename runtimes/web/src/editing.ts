/** How a recording enters a run, and how its own samples come back out of it. */

import { RequestError } from './errors.js';
import { type Lengths, maxSeconds, planLengths, secondsOf, SHORTEST_SECONDS } from './lengths.js';
import type { Manifest } from './manifest.js';
import { general, repr } from './numbers.js';
import {
  type Continuation,
  DEFAULT_NOISE_LEVEL,
  DEFAULT_SECONDS,
  type GenerationRequest,
  type Inpainting,
  type Region,
  type Variation,
} from './request.js';

/** Samples [start, end). */
export type Span = readonly [start: number, end: number];

/** Below it the model was never trained. */
export const LOWEST_NOISE_LEVEL = 0.01;
export const CROSSFADE_SECONDS = 0.03;

/** A request with everything settled that does not need computing. */
export interface Plan {
  readonly seconds: number;
  readonly lengths: Lengths;
  /** The recording where it lies in the clip, (channels, allocated samples), if there is one. */
  readonly source: Float32Array | null;
  /** Samples to make anew; null if nothing of a recording is to be kept as it is. */
  readonly regions: readonly Span[] | null;
  /** Whether the recording is put back outside the regions. */
  readonly splice: boolean;
}

const fixed = (value: number): string => value.toFixed(2);

/** Settle lengths and regions, and read the recording. Throws RequestError for what cannot be. */
export function planRequest(request: GenerationRequest, headroom: number, manifest: Manifest, notes: string[]): Plan {
  const { edit } = request;
  const lengthsOf = (seconds: number): Lengths => planLengths(seconds, headroom, manifest.audio, manifest.model.name);
  if (!edit) {
    const seconds = request.seconds ?? DEFAULT_SECONDS;
    return { seconds, lengths: lengthsOf(seconds), source: null, regions: null, splice: false };
  }
  if (edit.kind === 'continuation') return planContinuation(request, edit, manifest, lengthsOf, notes);
  const level = edit.kind === 'variation' ? (edit.noiseLevel ?? DEFAULT_NOISE_LEVEL) : 1;
  if (!(level >= LOWEST_NOISE_LEVEL && level <= 1)) {
    throw new RequestError(`noise level must be from ${LOWEST_NOISE_LEVEL} to 1, got ${repr(level)}`);
  }
  const { audio } = manifest;
  const length = edit.source.samplesAt(audio.sample_rate);
  const seconds = request.seconds ?? sourceSeconds(edit, manifest);
  const lengths = lengthsOf(seconds);
  const { name } = edit.source;
  let regions: readonly Span[] | null = null;
  if (edit.kind === 'inpainting') {
    if (lengths.samples > length) {
      throw new RequestError(
        `${name} ends after ${fixed(length / audio.sample_rate)} s, before the clip's ${general(seconds)} s; ` +
          'to go on after its end, extend it',
      );
    }
    regions = checkRegions(edit.regions, lengths.samples, audio.sample_rate);
  } else if (lengths.samples !== length) {
    const action = lengths.samples > length ? 'the rest is silence' : 'what comes later is not used';
    notes.push(`${name} is ${fixed(length / audio.sample_rate)} s, the clip ${general(seconds)} s; ${action}`);
  }
  const source = edit.source.load(lengths.allocated * audio.samples_per_frame, audio.sample_rate, audio.channels, notes);
  return { seconds, lengths, source, regions, splice: edit.kind === 'inpainting' && edit.splice !== false };
}

function planContinuation(
  request: GenerationRequest,
  edit: Continuation,
  manifest: Manifest,
  lengthsOf: (seconds: number) => Lengths,
  notes: string[],
): Plan {
  if (request.seconds !== undefined) {
    throw new RequestError('seconds follows from the recording when it is extended; leave it out');
  }
  const { extend = 0, prepend = 0 } = edit;
  for (const [name, value] of Object.entries({ extend, prepend })) {
    if (!Number.isFinite(value) || value < 0 || (value > 0 && value < SHORTEST_SECONDS)) {
      throw new RequestError(`${name} must be ${SHORTEST_SECONDS} seconds or more, got ${repr(value)}`);
    }
  }
  if (extend === 0 && prepend === 0) throw new RequestError('say by how many seconds to extend or to prepend');
  const { audio } = manifest;
  const rate = audio.sample_rate;
  const length = edit.source.samplesAt(rate);
  const before = Math.trunc(prepend * rate);
  const after = Math.trunc(extend * rate);
  checkRoom(edit, length, before + after, manifest);
  const total = before + length + after;
  const seconds = secondsOf(total, rate);
  const lengths = lengthsOf(seconds);
  const allocated = lengths.allocated * audio.samples_per_frame;
  const recording = edit.source.load(length, rate, audio.channels, notes);
  const source = new Float32Array(audio.channels * allocated);
  for (let c = 0; c < audio.channels; c++) {
    source.set(recording.subarray(c * length, (c + 1) * length), c * allocated + before);
  }
  const spans: Span[] = [
    [0, before],
    [before + length, total],
  ];
  return { seconds, lengths, source, regions: spans.filter(([a, b]) => a < b), splice: edit.splice !== false };
}

/** The clip's length when none is asked for: the recording's. */
function sourceSeconds(edit: Variation | Inpainting, manifest: Manifest): number {
  const rate = manifest.audio.sample_rate;
  const seconds = secondsOf(edit.source.samplesAt(rate), rate);
  const longest = maxSeconds(manifest.audio);
  if (seconds > longest) {
    throw new RequestError(
      `${edit.source.name} is ${fixed(seconds)} s, more than ${manifest.model.name} takes in one pass; ` +
        `say how many seconds of it to use, at most ${general(longest)}`,
    );
  }
  return seconds;
}

function checkRoom(edit: Continuation, length: number, added: number, manifest: Manifest): void {
  const rate = manifest.audio.sample_rate;
  const longest = maxSeconds(manifest.audio);
  const room = Math.trunc(longest * rate) - length;
  if (added <= room) return;
  const possible = room > 0 ? `at most ${fixed(room / rate)} s can be added` : 'nothing can be added';
  throw new RequestError(
    `${edit.source.name} is ${fixed(length / rate)} s and the longest clip is ${general(longest)} s: ` +
      `${possible}, ${general(added / rate)} s were asked for`,
  );
}

/** Regions in samples, in order. Throws RequestError for one that is empty, outside or overlaps another. */
export function checkRegions(regions: readonly Region[], samples: number, rate: number): Span[] {
  if (!regions.length) throw new RequestError('inpainting needs at least one region');
  const spans = regions.map((region): Span => {
    const start = region.start ?? 0;
    const { end } = region;
    const said = `region ${general(start)}:${end === null ? '' : general(end)}`;
    if (!Number.isFinite(start) || start < 0 || (end !== null && !Number.isFinite(end))) {
      throw new RequestError(`${said} must lie within the clip, from 0 to ${fixed(samples / rate)} s`);
    }
    if (end !== null && end < start) throw new RequestError(`${said} ends before it starts`);
    const first = Math.trunc(start * rate);
    const last = end === null ? samples : Math.trunc(end * rate);
    if (first >= samples || last > samples) {
      throw new RequestError(`${said} reaches beyond the clip's ${fixed(samples / rate)} s`);
    }
    if (first === last) throw new RequestError(`${said} is empty`);
    return [first, last];
  });
  spans.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  spans.forEach(([start], index) => {
    if (index > 0 && start < spans[index - 1]![1]) {
      throw new RequestError(`regions overlap at ${general(start / rate)} s`);
    }
  });
  return spans;
}

/** 1 for latent frames to keep. A frame goes by its first sample. */
export function keepMask(lengths: Lengths, regions: readonly Span[], samplesPerFrame: number): Float32Array {
  return Float32Array.from({ length: lengths.valid }, (_, frame) => {
    const first = frame * samplesPerFrame;
    return first < lengths.samples && !regions.some(([start, end]) => first >= start && first < end) ? 1 : 0;
  });
}

/**
 * Put the recording's samples back outside the regions, into a piece of the clip that begins at sample `from`.
 *
 * Within 30 ms of a region the two are crossfaded, all on the recording's side. `source` is (channels, samples).
 */
export function splice(
  piece: readonly Float32Array[],
  from: number,
  source: Float32Array,
  regions: readonly Span[],
  rate: number,
): Float32Array[] {
  const width = source.length / piece.length;
  const fade = CROSSFADE_SECONDS * rate;
  const out = piece.map((channel) => channel.slice());
  for (let i = 0; i < out[0]!.length; i++) {
    const position = from + i;
    let distance = Infinity;
    for (const [start, end] of regions) {
      distance = Math.min(distance, Math.max(start - position, position - end + 1, 0));
    }
    const progress = Math.min(distance / fade, 1);
    if (progress <= 0) continue;
    const share = 0.5 - 0.5 * Math.cos(Math.PI * progress);
    out.forEach((channel, c) => {
      const recorded = source[c * width + position]!;
      const made = channel[i]!;
      channel[i] = progress >= 1 ? recorded : made + Math.fround(recorded - made) * share;
    });
  }
  return out;
}
