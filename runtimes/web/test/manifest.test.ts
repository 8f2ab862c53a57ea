/** Both schemas of the manifest, each with its own fields and no others, and the limits of what is in them. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeManifest, LARGEST_MANIFEST } from '../dist/manifest.js';
import { ELEMENT_BYTES, FIELDS, MOST, OPERATORS, OPSETS } from '../dist/onnx-file.js';
import { Sha256 } from '../dist/sha256.js';
import { DEMO, read } from './vectors.js';

// The tests change what they want of it.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
function demo(schema: 2 | 3): any {
  const manifest = JSON.parse(readFileSync(join(DEMO, 'manifest.json'), 'utf8'));
  const later = schema === 3 ? { pad: 'mask', per: 'run' } : {};
  const input = { name: 'frame_bias', dtype: 'float16', shape: [1, 'frames'], ...later };
  manifest.schema_version = schema;
  delete manifest.memory_tokens;
  if (schema === 3) manifest.memory_tokens = 8;
  const { files } = manifest.graphs.denoiser.artifacts.onnx;
  manifest.graphs.denoiser.artifacts.coreml = {
    files, precision: 'fp16', parity: [], inputs: [input], functions: { main: { frames: 4 } }, compute_units: 'all',
  };
  return manifest;
}

const decode = (manifest: unknown): unknown => decodeManifest(new TextEncoder().encode(JSON.stringify(manifest)));

test('schemas 2 and 3 are read', () => {
  assert.deepEqual(decode(demo(2)), demo(2));
  assert.deepEqual(decode(demo(3)), demo(3));
});

test('a field of the other schema, or one that is missing, is refused by its name', () => {
  const cases: [string, unknown, RegExp][] = [
    ['memory tokens in 2', { ...demo(2), memory_tokens: 8 }, /unknown field memory_tokens/],
    ['none in 3', (({ memory_tokens: _, ...rest }) => rest)(demo(3)), /missing field memory_tokens/],
    ['pads in 2', { ...demo(3), schema_version: 2, memory_tokens: undefined }, /unknown field pad/],
    ['no pads in 3', { ...demo(2), schema_version: 3, memory_tokens: 8 }, /missing field pad/],
    ['schema 4', { ...demo(3), schema_version: 4 }, /schema version 4 is not one/],
  ];
  for (const [what, manifest, message] of cases) {
    assert.throws(() => decode(manifest), { name: 'BundleError', message }, what);
  }
});

test('numbers and texts beyond reason are refused by their field, those at the edge are read', () => {
  const { manifest, numbers, manifest_bytes } = read('limits');
  let count = 0;
  for (const { at, read: good, refused } of numbers) {
    const changed = (value: unknown): unknown => {
      const whole = JSON.parse(manifest);
      const place = at.slice(0, -1).reduce((inner: never, key: string) => inner[key], whole);
      place[at.at(-1)] = value;
      return whole;
    };
    for (const value of good) decode(changed(value));
    for (const value of refused) {
      const what = `${at.join('.')} ${JSON.stringify(value)}`;
      // Sizes that are too large together are named by what they add up to.
      assert.throws(() => decode(changed(value)), (raised: Error) => raised.name === 'BundleError' && new RegExp(`${at.at(-1)}|frames`).test(raised.message), what);
      count++;
    }
  }
  assert.ok(count > 100);
  assert.equal(LARGEST_MANIFEST, manifest_bytes);
});

test('graphs are held to the limits of all hosts', () => {
  const { graph } = read('limits');
  assert.deepEqual([graph.bytes, graph.nodes, graph.elements, graph.axes], [MOST.bytes, MOST.nodes, MOST.elements, MOST.axes]);
  const versions = Object.entries(OPSETS).map(([domain, [first, end]]) => [domain, Array.from({ length: end - first }, (_, i) => first + i)]);
  assert.deepEqual(Object.fromEntries(versions), graph.opsets);
  const operators = Object.entries(OPERATORS).map(([domain, names]) => [domain, [...names].sort()]);
  assert.deepEqual(Object.fromEntries(operators), graph.operators);
  assert.deepEqual(ELEMENT_BYTES, graph.element_bytes);
  const numbers = (known: object, keep: (name: string) => boolean): number[] =>
    Object.entries(known).filter(([, name]) => keep(name as string)).map(([number]) => Number(number));
  for (const [what, known] of Object.entries(FIELDS)) {
    assert.deepEqual(numbers(known, () => true), graph.fields[what], what);
    assert.deepEqual(numbers(known, (name) => name !== name.toUpperCase()), graph.once[what], what);
  }
  assert.deepEqual(Object.keys(FIELDS).sort(), Object.keys(graph.fields).sort());
});

test('SHA-256 in pieces is what it is at once', () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 31) & 255);
    const hash = new Sha256();
    for (let at = 0; at < length; at += 37) hash.update(data.subarray(at, at + 37));
    assert.equal(hash.digest(), createHash('sha256').update(data).digest('hex'), `${length} bytes`);
  }
});
