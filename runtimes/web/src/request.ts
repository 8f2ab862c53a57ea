/** What can be asked of a pipeline: a new clip, or one made from a recording. */

import type { AudioSource } from './audio/recording.js';

/** The length of a clip where none is asked for. */
export const DEFAULT_SECONDS = 30;
/** How far a variation goes where nothing is said. */
export const DEFAULT_NOISE_LEVEL = 0.7;

/** Another version of a recording. */
export interface Variation {
  readonly kind: 'variation';
  readonly source: AudioSource;
  /** 0.01 to 1, how far from the recording: 1 keeps nothing of it. 0.7 by default. */
  readonly noiseLevel?: number;
  /** "monotonic" (default) goes straight down from the noise level; "reference" as the reference implementation. */
  readonly schedule?: 'monotonic' | 'reference';
}

/** From `start` to `end` in seconds; null is the beginning or the end of the clip. */
export interface Region {
  readonly start: number | null;
  readonly end: number | null;
}

/** Make regions of a recording anew and keep the rest. */
export interface Inpainting {
  readonly kind: 'inpainting';
  readonly source: AudioSource;
  readonly regions: readonly Region[];
  /** Put the recording's own samples back outside the regions; true by default. */
  readonly splice?: boolean;
}

/** Go on for `extend` seconds after a recording, or begin `prepend` seconds before it. */
export interface Continuation {
  readonly kind: 'continuation';
  readonly source: AudioSource;
  readonly extend?: number;
  readonly prepend?: number;
  readonly splice?: boolean;
}

/** What to make. */
export interface GenerationRequest {
  /** What to hear; may be empty. */
  readonly prompt: string;
  /** Length of the clip: 30, or the recording's length when one is edited. */
  readonly seconds?: number;
  /** 0 to 2^32 - 1, the same seed gives the same music; drawn if not given. */
  readonly seed?: number;
  /** Denoising steps; the model's own by default. */
  readonly steps?: number;
  /** Seconds that the model composes beyond the end, which are cut off; the model's own by default. */
  readonly headroom?: number;
  /** How a recording is used, if one is. */
  readonly edit?: Variation | Inpainting | Continuation;
  /** Classifier-free guidance scale, 1 is none; the model's own by default. */
  readonly guidance?: number;
  /** What guidance leads away from. */
  readonly negativePrompt?: string;
  /** 1 (default) guides only orthogonally to the prediction, 0 plainly. */
  readonly apg?: number;
  /** Keep the peaks of what is made below full scale; true by default. */
  readonly limiter?: boolean;
}
