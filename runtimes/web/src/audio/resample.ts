/** Another sample rate, by a windowed sinc: flat to 0.9 of the lower rate's half, images below -100 dB. */

const CROSSINGS = 64; // of the sinc, on either side
const PASS = 0.95; // of the lower rate's half, where the filter is at its half
const SHAPE = 12; // of the Kaiser window
const MOST_PHASES = 1024;

/** One channel from `from` Hz to `to` Hz; round(length * to / from) samples. */
export function resample(samples: Float32Array, from: number, to: number): Float32Array {
  const divisor = gcd(from, to);
  const phases = to / divisor;
  const advance = from / divisor;
  const cutoff = PASS * Math.min(1, to / from);
  const reach = Math.ceil(CROSSINGS / Math.min(1, to / from));
  const made = new Float32Array(Math.round((samples.length * to) / from));
  const kernels = new Map<number, Float64Array>();
  for (let i = 0; i < made.length; i++) {
    const whole = Math.floor((i * advance) / phases);
    const phase = i * advance - whole * phases;
    let kernel = kernels.get(phase);
    if (!kernel) {
      kernel = kernelAt(phase / phases, cutoff, reach);
      if (kernels.size < MOST_PHASES) kernels.set(phase, kernel);
    }
    let sum = 0;
    const first = Math.max(0, whole - reach + 1);
    const last = Math.min(samples.length - 1, whole + reach);
    for (let j = first; j <= last; j++) sum += samples[j]! * kernel[j - whole + reach - 1]!;
    made[i] = sum;
  }
  return made;
}

/** Weights of the samples -reach + 1 .. reach for a point `fraction` after sample 0; their sum is 1. */
export function kernelAt(fraction: number, cutoff: number, reach: number, shape = SHAPE): Float64Array {
  const kernel = new Float64Array(2 * reach);
  let sum = 0;
  for (let k = 0; k < kernel.length; k++) {
    const x = k - reach + 1 - fraction;
    const edge = x / reach;
    const window = Math.abs(edge) >= 1 ? 0 : bessel(shape * Math.sqrt(1 - edge * edge)) / bessel(shape);
    const angle = Math.PI * cutoff * x;
    kernel[k] = (x === 0 ? 1 : Math.sin(angle) / angle) * window;
    sum += kernel[k]!;
  }
  return kernel.map((weight) => weight / sum);
}

/** The modified Bessel function of order 0. */
function bessel(x: number): number {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}
