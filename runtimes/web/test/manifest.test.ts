/** Both schemas of the manifest: each with its own fields, and no others. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeManifest } from '../dist/manifest.js';
import { Sha256 } from '../dist/sha256.js';
import { DEMO } from './vectors.js';

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

test('SHA-256 in pieces is what it is at once', () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const data = Uint8Array.from({ length }, (_, i) => (i * 31) & 255);
    const hash = new Sha256();
    for (let at = 0; at < length; at += 37) hash.update(data.subarray(at, at + 37));
    assert.equal(hash.digest(), createHash('sha256').update(data).digest('hex'), `${length} bytes`);
  }
});
