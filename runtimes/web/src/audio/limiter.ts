/** A look-ahead limiter that works as the samples come: what would be louder than full scale is turned down. */

import { kernelAt } from './resample.js';

/** -0.3 dBTP: lossy encoders overshoot a little more. */
export const CEILING = 10 ** (-0.3 / 20);

const AIM = CEILING * 10 ** (-0.1 / 20);
const OVERSAMPLING = 8;
const FILTER = 24; // samples to either side that the oversampling sees
const SHAPE = 5; // of its window: a sharp filter matters more than a deep one
const LOOK_AHEAD_SECONDS = 0.003;

/** Channels whose true peaks stay below -0.3 dBFS, all turned down together; untouched if none is above -0.4. */
export function limit(channels: readonly Float32Array[], rate: number): Float32Array[] {
  const limiter = new Limiter(channels.length, rate);
  return join([limiter.push(channels), limiter.flush()]);
}

/** Pieces one after another, each as one array a channel. */
export function join(pieces: readonly (readonly Float32Array[])[]): Float32Array[] {
  const count = pieces[0]?.length ?? 0;
  return Array.from({ length: count }, (_, c) => {
    const joined = new Float32Array(pieces.reduce((sum, piece) => sum + piece[c]!.length, 0));
    let at = 0;
    for (const piece of pieces) {
      joined.set(piece[c]!, at);
      at += piece[c]!.length;
    }
    return joined;
  });
}

/** The same in pieces: what is pushed comes out later, by as much as must be seen beyond it. */
export class Limiter {
  private readonly reach: number;
  private readonly window: Float64Array;
  private readonly phases: Float64Array[];
  private readonly context: number;
  private kept: Float32Array[];
  private before = 0; // of the kept samples, those that are out already

  constructor(channels: number, rate: number) {
    this.reach = Math.max(1, Math.trunc(LOOK_AHEAD_SECONDS * rate));
    // A mean of values that are all low enough around a peak is low enough at it.
    const width = 2 * this.reach + 1;
    this.window = Float64Array.from({ length: width }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 1)) / (width + 1)));
    const sum = this.window.reduce((a, b) => a + b, 0);
    this.window = this.window.map((weight) => weight / sum);
    this.phases = Array.from({ length: OVERSAMPLING - 1 }, (_, p) => kernelAt((p + 1) / OVERSAMPLING, 1, FILTER, SHAPE));
    this.context = 2 * this.reach + FILTER + 1;
    this.kept = Array.from({ length: channels }, () => new Float32Array());
  }

  /** Samples in, those that are settled out. */
  push(channels: readonly Float32Array[]): Float32Array[] {
    this.kept = join([this.kept, channels]);
    return this.settle(this.kept[0]!.length - this.context);
  }

  /** The rest. */
  flush(): Float32Array[] {
    return this.settle(this.kept[0]!.length);
  }

  /** Give out the samples up to `until`, and keep before them what the next need. */
  private settle(until: number): Float32Array[] {
    const from = this.before;
    if (until <= from) return this.kept.map(() => new Float32Array());
    const gain = this.gains();
    const out = this.kept.map((channel) => {
      const piece = channel.slice(from, until);
      if (gain) for (let i = from; i < until; i++) piece[i - from] = channel[i]! * gain[i]!;
      return piece;
    });
    const drop = Math.max(0, until - this.context);
    this.kept = this.kept.map((channel) => channel.slice(drop));
    this.before = until - drop;
    return out;
  }

  /** A gain for each kept sample, null if all are 1. */
  private gains(): Float64Array | null {
    const peaks = this.peaks();
    const length = peaks.length;
    const wanted = peaks.map((peak) => Math.min(1, AIM / Math.max(peak, 1e-9)));
    if (wanted.every((gain) => gain === 1)) return null;
    const held = slidingMinimum(wanted, this.reach);
    const smooth = new Float64Array(length);
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let k = -this.reach; k <= this.reach; k++) {
        sum += held[Math.max(0, Math.min(length - 1, i + k))]! * this.window[k + this.reach]!;
      }
      smooth[i] = sum > 1 - 1e-12 ? 1 : sum; // weights of one may add up to a little less
    }
    return smooth;
  }

  /** The loudest of all channels at each sample, and between it and its neighbours. */
  private peaks(): Float64Array {
    const length = this.kept[0]!.length;
    const peaks = new Float64Array(length);
    for (const channel of this.kept) {
      for (let i = 0; i < length; i++) peaks[i] = Math.max(peaks[i]!, Math.abs(channel[i]!));
    }
    const at = peaks.slice();
    for (let i = 0; i + 1 < length; i++) {
      // A reconstructed peak is not twice the samples around it.
      if (Math.max(at[i]!, at[i + 1]!) < AIM / 2) continue;
      let between = 0;
      for (const channel of this.kept) {
        for (const kernel of this.phases) {
          let sum = 0;
          const first = i - FILTER + 1;
          for (let k = Math.max(0, -first); k < kernel.length && first + k < length; k++) sum += channel[first + k]! * kernel[k]!;
          between = Math.max(between, Math.abs(sum));
        }
      }
      peaks[i] = Math.max(peaks[i]!, between);
      peaks[i + 1] = Math.max(peaks[i + 1]!, between);
    }
    return peaks;
  }
}

/** The minimum within `reach` to each side, by a queue of candidates. */
function slidingMinimum(values: Float64Array, reach: number): Float64Array {
  const low = new Float64Array(values.length);
  const queue = new Int32Array(values.length);
  let head = 0;
  let tail = 0;
  for (let i = 0; i < values.length + reach; i++) {
    if (i < values.length) {
      while (tail > head && values[queue[tail - 1]!]! >= values[i]!) tail--;
      queue[tail++] = i;
    }
    const centre = i - reach;
    if (centre < 0) continue;
    while (queue[head]! < centre - reach) head++;
    low[centre] = values[queue[head]!]!;
  }
  return low;
}
