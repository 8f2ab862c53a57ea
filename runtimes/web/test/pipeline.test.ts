/** A run is followed, stopped, streamed and repeated. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { join } from '../dist/audio/limiter.js';
import { resample } from '../dist/audio/resample.js';
import { AudioSource, Bundle, decodeWav, encodeWav, type Engine, type GraphName, Pipeline, type Session, type Tensors } from '../dist/index.js';
import { FolderSource } from '../dist/node/folder.js';
import { NodeEngine } from '../dist/node/engine.js';
import { general, repr, roundHalfEven } from '../dist/numbers.js';
import { assertSame, DEMO, relative, signal } from './vectors.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const SHORT = { prompt: 'lofi piano', seconds: 0.4, steps: 3, headroom: 0.2, seed: 1 };

/** An engine that counts what is loaded and run, and may compute something else. */
class Watched implements Engine {
  name = 'watched';
  loaded = 0;
  most = 0;
  runs: GraphName[] = [];

  private constructor(
    private readonly engine: Engine,
    private readonly change: (graph: GraphName, outputs: Tensors) => Tensors,
  ) {}

  static async create(change = (_: GraphName, outputs: Tensors): Tensors => outputs): Promise<Watched> {
    return new Watched(await NodeEngine.native(1), change);
  }

  describe(): string {
    return this.name;
  }

  async load(bundle: Bundle, graph: GraphName): Promise<Session> {
    const session = await this.engine.load(bundle, graph);
    this.most = Math.max(this.most, ++this.loaded);
    return {
      run: async (inputs, shared) => {
        this.runs.push(graph);
        return this.change(graph, await session.run(inputs, shared));
      },
      free: async () => {
        this.loaded--;
        await session.free();
      },
    };
  }
}

async function watched(engine: Watched): Promise<Pipeline> {
  return Pipeline.create(await Bundle.open(new FolderSource(DEMO)), engine);
}

test('stages are told in order, from none to all', async () => {
  const engine = await Watched.create();
  const pipeline = await watched(engine);
  const told: string[] = [];
  const source = new AudioSource([signal({ seed: 1, shape: [20000], gain: 0.1 })], 44100);
  await pipeline.generate({ ...SHORT, edit: { kind: 'variation', source } }, { onProgress: (...all) => told.push(all.join(' ')) });
  const expected = ['text 0 1', 'text 1 1', 'encode 0 1', 'encode 1 1', 'condition 0 1', 'condition 1 1'];
  assert.deepEqual(told, [...expected, 'denoise 0 3', 'denoise 1 3', 'denoise 2 3', 'denoise 3 3', 'decode 0 5', 'decode 5 5']);
});

test('one graph is in memory at a time, none after a clip', async () => {
  const engine = await Watched.create();
  await (await watched(engine)).generate(SHORT);
  assert.equal(engine.most, 1);
  assert.equal(engine.loaded, 0);
});

test('a signal stops a run within a step, frees all, and the pipeline can be used again', async () => {
  const engine = await Watched.create();
  const pipeline = await watched(engine);
  const stop = new AbortController();
  const onProgress = (stage: string, done: number): void => {
    if (stage === 'denoise' && done === 2) stop.abort(new Error('enough'));
  };
  await assert.rejects(pipeline.generate({ ...SHORT, steps: 50 }, { signal: stop.signal, onProgress }), { message: 'enough' });
  assert.equal(engine.runs.filter((graph) => graph === 'denoiser').length, 2);
  assert.equal(engine.loaded, 0);
  const made = await pipeline.generate(SHORT);
  assert.equal(made.audio[0]!.length, 17640);
});

test('breaking off a stream frees the decoder', async () => {
  const engine = await Watched.create();
  for await (const piece of (await watched(engine)).stream({ ...SHORT, seconds: 12, steps: 1 })) {
    assert.ok(piece.audio[0]!.length > 0);
    break;
  }
  assert.equal(engine.loaded, 0);
  assert.equal(engine.runs.filter((graph) => graph === 'decoder').length, 1);
});

test('pieces of a stream are the clip', async () => {
  const pipeline = await watched(await Watched.create());
  const request = { ...SHORT, seconds: 13, steps: 1 };
  const pieces: Float32Array[][] = [];
  let start = 0;
  for await (const piece of pipeline.stream(request)) {
    assert.equal(piece.start, start);
    assert.equal(piece.total, 13 * 44100);
    start += piece.audio[0]!.length;
    pieces.push(piece.audio);
  }
  assert.ok(pieces.length >= 3);
  const whole = await pipeline.generate(request);
  join(pieces).forEach((channel, c) => assertSame(channel, whole.audio[c]!, `channel ${c}`));
});

test('what is no number is refused by the name of its graph', async () => {
  const engine = await Watched.create((graph, outputs) => {
    if (graph === 'denoiser') (outputs['velocity']!.data as Float32Array)[3] = NaN;
    return outputs;
  });
  await assert.rejects((await watched(engine)).generate(SHORT), {
    name: 'EngineError',
    message: "watched computed NaN or infinity in the denoiser's velocity",
  });
  assert.equal(engine.loaded, 0);
});

test('outputs of another shape than the manifest promises are refused', async () => {
  const one = { data: new Float32Array(1), dims: [1, 1, 1] };
  for (const [graph, output, says] of [
    ['denoiser', 'velocity', 'computed float32 (1, 1, 1) as the denoiser\'s velocity, the manifest promises float32 (1, 64,'],
    ['decoder', 'audio', "computed float32 (1, 1, 1) as the decoder's audio, the manifest promises float32 (1, 2,"],
    ['conditioner', 'global_embed', "as the conditioner's global_embed, the manifest promises"],
  ] as const) {
    const engine = await Watched.create((of, outputs) => (of === graph ? { ...outputs, [output]: one } : outputs));
    await assert.rejects((await watched(engine)).generate(SHORT), (raised: Error) => raised.name === 'EngineError' && raised.message.includes(says), graph);
    assert.equal(engine.loaded, 0);
  }
  const engine = await Watched.create((graph, outputs) => (graph === 'decoder' ? {} : outputs));
  await assert.rejects((await watched(engine)).generate(SHORT), { name: 'EngineError', message: 'watched gave no output audio of the decoder' });
});

test('a second clip at the same time is refused', async () => {
  const pipeline = await watched(await Watched.create());
  const first = pipeline.generate(SHORT);
  await assert.rejects(pipeline.generate(SHORT), { name: 'RequestError', message: /is making a clip/ });
  await first;
});

test('the same seed gives the same clip, no seed gives one that is told', async () => {
  const pipeline = await Pipeline.open(DEMO);
  const { seed: _, ...unseeded } = SHORT;
  const first = await pipeline.generate(unseeded);
  const second = await pipeline.generate({ ...SHORT, seed: first.seed });
  assertSame(second.audio[0]!, first.audio[0]!, 'audio');
});

for (const device of ['cpu', 'wasm'] as const) {
  test(`memory stays flat over 50 clips (${device})`, async (t) => {
    const pipeline = await Pipeline.open(DEMO, { device });
    const clip = async (): Promise<unknown> => pipeline.generate({ ...SHORT, steps: 1 });
    const memory = (): number => (collect(), process.memoryUsage().rss / 1e6);
    for (let i = 0; i < 25; i++) await clip();
    const before = memory();
    for (let i = 0; i < 50; i++) await clip();
    const grown = memory() - before;
    t.diagnostic(`${device}: ${before.toFixed(0)} MB after 25 clips, ${(before + grown).toFixed(0)} MB after 75`);
    assert.ok(grown < 40, `${grown.toFixed(0)} MB more after 50 clips`); // the demo's weights are 12 MB: a leak is 600
  });
}

test('a recording at another rate is heard at the same pitch', () => {
  for (const [from, to] of [[48000, 44100], [32000, 44100], [96000, 44100]] as const) {
    const tone = (rate: number): Float32Array =>
      Float32Array.from({ length: rate / 4 }, (_, i) => Math.sin((2 * Math.PI * 5000 * i) / rate));
    const made = resample(tone(from), from, to);
    assert.equal(made.length, Math.round(to / 4));
    const inside = [2000, 9000] as const; // ends of a tone that begins at once ring
    assert.ok(relative(made.slice(...inside), tone(to).slice(...inside)) < 1e-4, `${from} Hz`);
  }
  const high = Float32Array.from({ length: 24000 }, (_, i) => Math.sin((2 * Math.PI * 23000 * i) / 48000));
  const made = resample(high, 48000, 44100).slice(2000, 18000);
  assert.ok(made.every((sample) => Math.abs(sample) < 1e-4), 'what the lower rate cannot hold is gone');
});

test('samples written as WAV are read back', () => {
  const audio = [signal({ seed: 1, shape: [1001], gain: 0.2 }), signal({ seed: 2, shape: [1001], gain: 0.2 })];
  for (const [bits, error] of [['float', 0], ['24', 2 ** -24], ['16', 2 ** -14]] as const) {
    const { data, clipped } = encodeWav(audio, 44100, bits, { ICMT: 'é 🎹', INAM: 'odd' });
    const { channels, rate, info } = decodeWav(data, 'a.wav');
    assert.equal(rate, 44100);
    assert.equal(clipped, 0);
    assert.deepEqual(info, { ICMT: 'é 🎹', INAM: 'odd' });
    channels.forEach((channel, c) => channel.forEach((value, i) => assert.ok(Math.abs(value - audio[c]![i]!) <= error)));
  }
  assert.equal(encodeWav([Float32Array.of(2, -2, 0.5)], 44100, '16').clipped, 2);
  const once = encodeWav(audio, 44100, '16').data;
  const twice = encodeWav(decodeWav(once, 'a.wav').channels, 44100, '16').data;
  assert.deepEqual(twice, once); // what needs no rounding is not dithered
});

test('numbers in messages are as the other hosts write them', () => {
  assert.deepEqual([5, -1, 0.1, 1e-5, 1e16, 1.5e-7, NaN, Infinity, 1e22].map(repr),
    ['5.0', '-1.0', '0.1', '1e-05', '1e+16', '1.5e-07', 'nan', 'inf', '1e+22']);
  assert.deepEqual([121, 0.5, 1234567, 0.00001234, 59.9999999, 0.1 + 0.2].map(general),
    ['121', '0.5', '1.23457e+06', '1.234e-05', '60', '0.3']);
  assert.deepEqual([0.5, 1.5, 2.5, -0.5, 2.4, 2.6].map((value) => roundHalfEven(value) + 0), [0, 2, 2, 0, 2, 3]);
});
