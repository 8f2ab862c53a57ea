/** Vectors of bundles: what opens, what is refused, graphs, int8 products and whole runs. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { mkdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bundle, type GraphName, Pipeline, type Tensor } from '../dist/index.js';
import { NodeEngine } from '../dist/node/engine.js';
import { FolderSource } from '../dist/node/folder.js';
import { productsSaturate } from '../dist/node/saturation.js';
import { requestOf } from './requests.js';
import { assertDigest, baseBundle, bundlePath, fromBits, read, readNpy, relative, signal, temporary, vectorFile } from './vectors.js';

const ENGINES = { 'onnxruntime-node': () => NodeEngine.native(1), 'onnxruntime-web': () => NodeEngine.wasm(1) };

for (const [name, create] of Object.entries(ENGINES)) {
  test(`bundles that are refused, by ${name}`, async (t) => {
    const { files, cases } = read('bundles');
    for (const { name: what, manifest, files: own, error, says, load, input_ids, hidden } of cases) {
      await t.test(what, async () => {
        const folder = await temporary();
        for (const [path, content] of Object.entries({ ...files, ...own })) {
          if (content !== null) await writeFile(join(folder, path), Buffer.from(content as string, 'base64'));
        }
        if (manifest !== null) await writeFile(join(folder, 'manifest.json'), manifest);
        const run = async (): Promise<Tensor> => {
          const bundle = await Bundle.open(new FolderSource(folder));
          const session = await (await create()).load(bundle, (load ?? 'text_encoder') as GraphName);
          const ids = { data: BigInt64Array.from(input_ids ?? [0], BigInt), dims: [1, (input_ids ?? [0]).length] };
          const outputs = await session.run({ input_ids: ids });
          await session.free();
          return outputs['hidden']!;
        };
        if (error === null) assertDigest((await run()).data as Float32Array, hidden, what);
        else {
          await assert.rejects(run, (raised: Error) => {
            assert.equal(raised.name, error, raised.message);
            assert.ok(raised.message.includes(says), raised.message);
            assert.ok(!raised.message.includes('\n    at '), 'no stack in the message');
            return true;
          });
        }
      });
    }
  });

  test(`graphs, by ${name}`, async (t) => {
    const { fp32_relative, int8_db, cases } = read('graphs');
    for (const { bundle, graph, precision, inputs, outputs } of cases) {
      const path = bundlePath(bundle);
      await t.test(`${bundle} ${graph}`, { skip: path === null && `${bundle} was not exported` }, async () => {
        const session = await (await create()).load(await Bundle.open(new FolderSource(path!)), graph);
        const made = await session.run(Object.fromEntries(inputs.map((input: Input) => [input.name, tensorOf(input)])));
        await session.free();
        for (const { name: output, shape, stride, values } of outputs) {
          assert.deepEqual([...made[output]!.dims], shape);
          const kept = (made[output]!.data as Float32Array).filter((_, i) => i % stride === 0);
          const error = relative(kept, readNpy(values).data);
          const bar = precision === 'int8' ? 10 ** (-int8_db / 20) : fp32_relative;
          assert.ok(error <= bar, `${output}: ${error} is more than ${bar}`);
          if (bundle === 'tiny-int8') assert.ok(error > 1e-4, 'int8 is not fp32');
        }
      });
    }
  });

  test(`whole runs, by ${name}`, async (t) => {
    const { fp32, base, runs } = read('runs');
    const opened = new Map<string, Pipeline>();
    for (const { name: run, bundle, request, recording, seconds, samples, latents, audio, audio_stride } of runs) {
      const path = bundle === 'demo-base' ? await baseBundle(base) : bundlePath(bundle);
      await t.test(`${bundle} ${run}`, { skip: path === null && `${bundle} was not exported` }, async () => {
        if (!opened.has(bundle)) {
          opened.set(bundle, await Pipeline.create(await Bundle.open(new FolderSource(path!)), await create()));
        }
        const made = await opened.get(bundle)!.generate(requestOf(request, recording));
        const expected = readNpy(latents);
        assert.deepEqual([...made.latentsShape], expected.shape);
        assert.equal(made.seconds, seconds);
        assert.equal(made.audio[0]!.length, samples);
        const error = relative(made.latents, expected.data);
        assert.ok(error <= fp32.latents_relative, `latents differ by ${error}`);
        const kept = made.audio.flatMap((channel) => [...channel.filter((_, i) => i % audio_stride === 0)]);
        const noise = relative(Float32Array.from(kept), readNpy(audio).data);
        assert.ok(-20 * Math.log10(noise) >= fp32.audio_db, `audio differs by ${noise}`);
      });
    }
  });
}

interface Input {
  name: string;
  shape: number[];
  fill?: string;
  ids?: number[];
  values?: number[];
  seed?: number;
  gain?: number;
}

function tensorOf({ shape, fill, ids, values, seed, gain }: Input): Tensor {
  const count = shape.reduce((a, b) => a * b, 1);
  if (ids) return { data: BigInt64Array.from(ids, BigInt), dims: shape };
  if (fill) return { data: new Float32Array(count).fill(fromBits([fill])[0]!), dims: shape };
  if (values) return { data: Float32Array.from(values), dims: shape };
  return { data: signal({ seed: seed!, shape, ...(gain !== undefined && { gain }) }), dims: shape };
}

const require = createRequire(import.meta.url);

for (const name of ['onnxruntime-node', 'onnxruntime-web/wasm'] as const) {
  test(`products of integers are exact in ${name}`, async () => {
    const { model, x, q, sums } = read('integer');
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    const ort = name === 'onnxruntime-node' ? require(name) : ((await import(name)) as any);
    if (name !== 'onnxruntime-node') ort.env.wasm.numThreads = 1;
    const precise = name === 'onnxruntime-node' && (await productsSaturate(ort));
    const options = precise ? { extra: { session: { x64quantprecision: '1' } } } : {};
    const session = await ort.InferenceSession.create(readFileSync(vectorFile(model)), options);
    const data = signal(x).map((value) => Math.max(-x.clip, Math.min(x.clip, value)));
    const made = await session.run({ x: new ort.Tensor('float32', data, x.shape) });
    assertDigest(Int32Array.from(made.q.data), q, 'quantized');
    assertDigest(made.sums.data, sums, 'sums');
  });
}

test('a link that leads out of the folder is refused', async () => {
  const { files, cases } = read('bundles');
  const outside = await temporary();
  const folder = join(await temporary(), 'bundle');
  await mkdir(folder);
  for (const [path, content] of Object.entries(files)) {
    const linked = path === 'tokenizer.json';
    const place = join(linked ? outside : folder, path);
    await writeFile(place, Buffer.from(content as string, 'base64'));
    if (linked) await symlink(place, join(folder, path));
  }
  await writeFile(join(folder, 'manifest.json'), cases[0].manifest);
  await assert.rejects(Bundle.open(new FolderSource(folder)), { name: 'BundleError', message: /outside the bundle/ });
});

test('a manifest that is no file, or is beyond reason, is refused unread', async () => {
  const folder = await temporary();
  const place = join(folder, 'manifest.json');
  if (spawnSync('mkfifo', [place]).status === 0) {
    await assert.rejects(Bundle.open(new FolderSource(folder)), { name: 'BundleError', message: /is no ordinary file/ });
    await rm(place);
  }
  await writeFile(place, '');
  await truncate(place, read('limits').manifest_bytes + 1);
  await assert.rejects(Bundle.open(new FolderSource(folder)), { name: 'BundleError', message: /has 16777217 bytes, at most/ });
});
