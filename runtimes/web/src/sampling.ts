/** From noise to latents: the schedule of timesteps and the samplers; every operation rounded to fp32 as written. */

import { NoiseStream } from './noise.js';
import { columns } from './tensor.js';

/** Latents (1, C, T) and a timestep in, velocity of the same shape out. */
export type Velocity = (x: Float32Array, t: number) => Promise<Float32Array>;
/** Called after each step. */
export type OnStep = (done: number, total: number) => void;

const f = Math.fround;

/** Timesteps from `noiseLevel` down to 0, steps + 1 of them: a straight line in log-SNR, in fp64, rounded at the end. */
export function schedule(steps: number, logsnrStart: number, logsnrEnd: number, noiseLevel = 1): Float32Array {
  const timesteps = new Float32Array(steps + 1);
  const step = -noiseLevel / steps;
  for (let i = 0; i <= steps; i++) {
    const line = i * step + noiseLevel;
    timesteps[i] = 1 / (1 + Math.exp(logsnrEnd + (logsnrStart - logsnrEnd) * line));
  }
  timesteps[0] = noiseLevel;
  timesteps[steps] = 0;
  return timesteps;
}

/** Draws of latent noise: `allocated` frames each time, of which the first `valid` are returned. */
export class LatentNoise {
  private readonly stream: NoiseStream;

  constructor(
    seed: number,
    private readonly channels: number,
    private readonly allocated: number,
    private readonly valid: number,
  ) {
    this.stream = new NoiseStream(seed);
  }

  draw(): Float32Array {
    return columns(this.stream.normal(this.channels * this.allocated), this.channels, 0, this.valid);
  }
}

/** Denoise completely, add fresh noise of the next level, repeat. For `rf_denoiser` models. */
export async function pingPong(
  velocity: Velocity,
  x: Float32Array,
  timesteps: Float32Array,
  noise: LatentNoise,
  onStep: OnStep,
): Promise<Float32Array> {
  const steps = timesteps.length - 1;
  for (let step = 0; step < steps; step++) {
    const now = timesteps[step]!;
    const next = timesteps[step + 1]!;
    const v = await velocity(x, now);
    const fresh = noise.draw(); // on the last step too, where it counts nothing: the reference does
    const keep = f(1 - next);
    const out = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      const denoised = f(x[i]! - f(now * v[i]!));
      out[i] = f(keep * denoised) + f(next * fresh[i]!);
    }
    x = out;
    onStep(step + 1, steps);
  }
  return x;
}

/** Follow the velocity in straight steps. For `rectified_flow` models. */
export async function euler(
  velocity: Velocity,
  x: Float32Array,
  timesteps: Float32Array,
  onStep: OnStep,
): Promise<Float32Array> {
  const steps = timesteps.length - 1;
  for (let step = 0; step < steps; step++) {
    const v = await velocity(x, timesteps[step]!);
    const difference = f(timesteps[step + 1]! - timesteps[step]!);
    const out = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) out[i] = x[i]! + f(difference * v[i]!);
    x = out;
    onStep(step + 1, steps);
  }
  return x;
}
