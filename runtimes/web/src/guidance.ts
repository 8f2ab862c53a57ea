/** Classifier-free guidance: away from what the model would do without the prompt, or with a negative one. */

import { RequestError } from './errors.js';
import { repr } from './numbers.js';
import type { Velocity } from './sampling.js';

const f = Math.fround;

/** Throws RequestError for values without meaning. */
export function checkGuidance(scale: number, apg: number, negativePrompt: string): void {
  if (!Number.isFinite(scale) || scale < 0) {
    throw new RequestError(`cfg must be 0 or more (1 is no guidance), got ${repr(scale)}`);
  }
  if (!(apg >= 0 && apg <= 1)) throw new RequestError(`apg must be from 0 to 1, got ${repr(apg)}`);
  if (negativePrompt && scale === 1) {
    throw new RequestError('a negative prompt has no effect without guidance; set cfg above 1, e.g. 3');
  }
}

/** Combine two velocities as denoised signals c and u: c + (scale - 1) d, where d = c - u less `apg` of its part along c. */
export function guide(
  x: Float32Array,
  conditional: Float32Array,
  unconditional: Float32Array,
  t: number,
  scale: number,
  apg: number,
): Float32Array {
  const c = new Float64Array(x.length);
  const d = new Float64Array(x.length);
  let dot = 0;
  let norm = 0;
  for (let i = 0; i < x.length; i++) {
    c[i] = f(x[i]! - f(t * conditional[i]!));
    d[i] = c[i]! - f(x[i]! - f(t * unconditional[i]!));
    dot += d[i]! * c[i]!;
    norm += c[i]! * c[i]!;
  }
  const along = norm > 0 ? apg * (dot / norm) : 0;
  const velocity = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) {
    velocity[i] = (x[i]! - (c[i]! + (scale - 1) * (d[i]! - along * c[i]!))) / t;
  }
  return velocity;
}

/** Two predictions as one. */
export function guided(conditional: Velocity, unconditional: Velocity, scale: number, apg: number): Velocity {
  return async (x, t) => guide(x, await conditional(x, t), await unconditional(x, t), t, scale, apg);
}
