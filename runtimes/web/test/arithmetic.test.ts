/** Vectors of what a host computes beside the graphs. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CEILING, limit, Limiter, join } from '../dist/audio/limiter.js';
import { kernelAt } from '../dist/audio/resample.js';
import { keepMask, splice } from '../dist/editing.js';
import { guide } from '../dist/guidance.js';
import { planLengths, secondsOf } from '../dist/lengths.js';
import { Mt19937, NoiseStream } from '../dist/noise.js';
import { euler, LatentNoise, pingPong, schedule } from '../dist/sampling.js';
import { decodeTiles, planTiles } from '../dist/tiling.js';
import { assertDigest, assertSame, fromBits, read, readNpy, signal } from './vectors.js';

test('integers of the generator', () => {
  for (const { seed, integers, at_623 } of read('prng').cases) {
    const generator = new Mt19937(seed);
    const drawn = Uint32Array.from({ length: integers.count }, () => generator.next());
    assertDigest(drawn, integers, `seed ${seed}`);
    assert.deepEqual([...drawn.subarray(623, 626)], at_623);
  }
});

test('noise', () => {
  const { streams, latents } = read('noise');
  for (const { seed, draws } of streams) {
    const stream = new NoiseStream(seed);
    for (const draw of draws) assertDigest(stream.normal(draw.count), draw, `seed ${seed}`);
  }
  for (const { seed, channels, allocated, valid, draws } of latents) {
    const noise = new LatentNoise(seed, channels, allocated, valid);
    for (const draw of draws) assertDigest(noise.draw(), draw, `latents of seed ${seed}`);
  }
});

test('schedules', () => {
  for (const { steps, logsnr_start, logsnr_end, t } of read('schedule').cases) {
    assertSame(schedule(steps, logsnr_start, logsnr_end), fromBits(t), `${steps} steps`);
  }
  for (const { steps, logsnr_start, logsnr_end, noise_level, monotonic, reference } of read('variation').cases) {
    const rounded = Math.fround(noise_level);
    const straight = schedule(steps, logsnr_start, logsnr_end).map((t) => t * rounded);
    assertSame(straight, fromBits(monotonic), `level ${noise_level}`);
    assertSame(schedule(steps, logsnr_start, logsnr_end, noise_level), fromBits(reference), `level ${noise_level}`);
  }
});

test('lengths', () => {
  const { audio, cases, seconds_of, refused } = read('lengths');
  for (const { seconds, headroom, samples_valid_allocated } of cases) {
    const { samples, valid, allocated } = planLengths(seconds, headroom, audio, 'demo');
    assert.deepEqual([samples, valid, allocated], samples_valid_allocated, `${seconds} s and ${headroom} s`);
  }
  for (const { samples, seconds } of seconds_of) assert.equal(secondsOf(samples, audio.sample_rate), seconds);
  for (const { seconds, headroom, message } of refused) {
    assert.throws(() => planLengths(seconds, headroom, audio, 'demo'), { name: 'RequestError', message });
  }
});

test('tiles', async () => {
  const { cases, decoding } = read('tiles');
  for (const { wanted, available, full, tiles, ...cut } of cases) {
    const planned = planTiles(wanted, available, cut, full);
    assert.deepEqual(planned.map((tile) => [tile.start, tile.stop, tile.keepStart, tile.keepStop]), tiles);
  }
  for (const { latents, wanted, samples_per_frame: width, first_channel_of_each_tile: seen, audio, ...cut } of decoding) {
    const tiles: Float32Array[] = [];
    const decode = async (tile: Float32Array, frames: number): Promise<Float32Array> => {
      tiles.push(tile.subarray(0, frames));
      return Float32Array.from({ length: 2 * frames * width }, (_, i) => tile[Math.floor(i / width)]!);
    };
    const pieces: Float32Array[][] = [];
    const channels = latents.shape[1];
    for await (const piece of decodeTiles(decode, signal(latents), channels, wanted, cut, width, 2)) {
      pieces.push([piece.subarray(0, piece.length / 2), piece.subarray(piece.length / 2)]);
    }
    tiles.forEach((tile, index) => assertSame(tile, fromBits(seen[index]), `tile ${index}`));
    assert.equal(tiles.length, seen.length);
    const [left, right] = join(pieces);
    assertDigest(Float32Array.from([...left!, ...right!]), audio, 'decoded');
  }
});

test('masks', () => {
  const { samples_per_frame, cases } = read('mask');
  for (const { samples, valid, regions, keep } of cases) {
    assert.equal(keepMask({ samples, valid, allocated: valid }, regions, samples_per_frame).join(''), keep);
  }
});

test('splicing, whole and in pieces', () => {
  const { made, recording, regions, rate, expected, tolerance } = read('splice');
  const { data } = readNpy(expected);
  const [count, width] = made.shape;
  const audio = signal(made);
  const channels = Array.from({ length: count }, (_, c) => audio.subarray(c * width, (c + 1) * width));
  const pieces = [[0, 1999], [1999, 2300], [2300, width]].map(([from, to]) =>
    splice(channels.map((channel) => channel.subarray(from, to)), from!, signal(recording), regions, rate),
  );
  const [left, right] = join(pieces);
  const all = Float32Array.from([...left!, ...right!]);
  all.forEach((value, i) => assert.ok(Math.abs(value - data[i]!) <= tolerance, `sample ${i}`));
  const source = signal(recording);
  assertSame(left!.subarray(0, 2000 - 1323), source.subarray(0, 2000 - 1323), 'before the fade');
  assertSame(left!.subarray(2000, 2500), channels[0]!.subarray(2000, 2500), 'in the region');
});

test('guidance', () => {
  const { shape, x, conditional, unconditional, tolerance, cases } = read('guidance');
  const [a, b, c] = [x, conditional, unconditional].map(({ seed }) => signal({ seed, shape }));
  for (const { t, cfg, apg, velocity } of cases) {
    const expected = fromBits(velocity);
    guide(a!, b!, c!, fromBits([t])[0]!, cfg, apg).forEach((value, i) => {
      assert.ok(Math.abs(value - expected[i]!) <= tolerance, `cfg ${cfg} apg ${apg} at ${i}`);
    });
  }
});

test('samplers', async () => {
  const { seed, channels, allocated, valid, logsnr_start, logsnr_end, cases } = read('sampler');
  const sine = async (x: Float32Array, t: number): Promise<Float32Array> => x.map((value) => Math.sin(3 * value) * t);
  for (const { objective, steps, latents } of cases) {
    const noise = new LatentNoise(seed, channels, allocated, valid);
    const timesteps = schedule(steps, logsnr_start, logsnr_end);
    const steps_: number[] = [];
    const onStep = (done: number): unknown => steps_.push(done);
    const x = noise.draw();
    const made = objective === 'rf_denoiser' ? pingPong(sine, x, timesteps, noise, onStep) : euler(sine, x, timesteps, onStep);
    assertSame(await made, fromBits(latents), `${objective}, ${steps} steps`);
    assert.deepEqual(steps_, Array.from({ length: steps }, (_, i) => i + 1));
  }
});

const RATE = 44100;

test('the limiter turns down what is too loud, and nothing else', () => {
  const { ceiling, cases } = read('limiter');
  assert.equal(CEILING, ceiling);
  for (const { name, hz, phase, gains, samples, unchanged } of cases) {
    const tone = Float64Array.from({ length: samples }, (_, i) => Math.sin(2 * Math.PI * ((hz * i) / RATE + phase)));
    const channels = gains.map((gain: number) => Float32Array.from(tone, (value) => gain * value)) as Float32Array[];
    const limited = limit(channels, RATE);
    if (unchanged) {
      limited.forEach((channel, c) => assertSame(channel, channels[c]!, name));
      continue;
    }
    assert.ok(Math.max(...limited.map(truePeak)) <= ceiling * 10 ** (0.1 / 20), name);
    for (let i = 1; i < samples; i++) {
      const [left, right] = [limited[0]![i]! * gains[1], limited[1]![i]! * gains[0]];
      assert.ok(Math.abs(left - right) < 1e-6, `${name}: one gain for both channels`);
    }
  }
});

test('the limiter gives the same in pieces', () => {
  const channels = [signal({ seed: 1, shape: [9000], gain: 0.5 }), signal({ seed: 2, shape: [9000], gain: 0.2 })];
  const limiter = new Limiter(2, RATE);
  const pieces = [0, 100, 101, 4000, 8990].map((from, index, all) =>
    limiter.push(channels.map((channel) => channel.subarray(from, all[index + 1]))),
  );
  const joined = join([...pieces, limiter.flush()]);
  limit(channels, RATE).forEach((channel, c) => assertSame(joined[c]!, channel, `channel ${c}`));
});

/** The loudest of a channel at 8 times its rate. */
function truePeak(channel: Float32Array): number {
  let peak = 0;
  const reach = 48;
  for (let phase = 0; phase < 8; phase++) {
    const kernel = kernelAt(phase / 8, 1, reach, 9);
    for (let i = reach; i < channel.length - reach; i++) {
      let sum = 0;
      for (let k = 0; k < kernel.length; k++) sum += channel[i + k - reach + 1]! * kernel[k]!;
      peak = Math.max(peak, Math.abs(sum));
    }
  }
  return peak;
}
