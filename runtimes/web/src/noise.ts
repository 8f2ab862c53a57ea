/** The reference's noise: the same seed draws the same numbers as PyTorch's generator on the CPU. */

import { RequestError } from './errors.js';

/** MT19937 is seeded with 32 bits. */
export const SEEDS = 2 ** 32;

const BLOCK = 16; // Box-Muller: the first 8 uniforms make radii, the other 8 angles
const HALF = BLOCK / 2;
const f = Math.fround;
const TWO_PI = f(2 * Math.PI);

/** The Mersenne Twister, 32-bit integers. */
export class Mt19937 {
  private readonly state = new Uint32Array(624);
  private index = 624;

  constructor(seed: number) {
    const { state } = this;
    state[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const previous = state[i - 1]! ^ (state[i - 1]! >>> 30);
      state[i] = Math.imul(1812433253, previous) + i;
    }
  }

  next(): number {
    if (this.index === 624) this.twist();
    let y = this.state[this.index++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private twist(): void {
    const { state } = this;
    for (let i = 0; i < 624; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % 624]! & 0x7fffffff);
      state[i] = state[(i + 397) % 624]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.index = 0;
  }
}

/** Successive draws of unit normal values. */
export class NoiseStream {
  private readonly integers: Mt19937;

  /** `seed` in 0..2^32-1; throws RequestError outside. */
  constructor(seed: number) {
    if (!Number.isInteger(seed) || seed < 0 || seed >= SEEDS) {
      throw new RequestError(`seed must be between 0 and ${SEEDS - 1}, got ${seed}`);
    }
    this.integers = new Mt19937(seed);
  }

  /** `count` values, 16 or more: of fewer PyTorch draws in another way. */
  normal(count: number): Float32Array {
    if (count < BLOCK) throw new RangeError(`PyTorch draws fewer than ${BLOCK} values in another way, got ${count}`);
    const values = this.uniform(new Float32Array(count), 0);
    for (let i = 0; i + BLOCK <= count; i += BLOCK) boxMuller(values, i);
    // The last, partial block is drawn anew as a whole one that ends at the end.
    if (count % BLOCK) boxMuller(this.uniform(values, count - BLOCK), count - BLOCK);
    return values;
  }

  private uniform(values: Float32Array, from: number): Float32Array {
    for (let i = from; i < values.length; i++) values[i] = (this.integers.next() & 0xffffff) * 2 ** -24;
    return values;
  }
}

/** Functions in fp64; each of them and each product rounded to fp32. */
function boxMuller(values: Float32Array, at: number): void {
  for (let j = at; j < at + HALF; j++) {
    const radius = f(Math.sqrt(f(-2 * f(Math.log(1 - values[j]!)))));
    const angle = f(TWO_PI * values[j + HALF]!);
    values[j] = radius * f(Math.cos(angle));
    values[j + HALF] = radius * f(Math.sin(angle));
  }
}
