/** How vectors are read: see runtimes/conformance/README.md. */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NoiseStream } from '../dist/noise.js';

export const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));
export const DEMO = join(REPOSITORY, 'sa3_edge/demo');
const VECTORS = join(REPOSITORY, 'runtimes/conformance/vectors');
const BUNDLES = process.env['SA3_CONFORMANCE_BUNDLES'] ?? join(REPOSITORY, 'build/conformance');

export interface Digest {
  count: number;
  head: (string | number)[];
  tail: (string | number)[];
  sha256: string;
}

export interface Signal {
  seed: number;
  shape: number[];
  gain?: number;
}

/** A file of vectors; its shape is what the test takes it for. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export function read(name: string): any {
  return JSON.parse(readFileSync(join(VECTORS, `${name}.json`), 'ascii'));
}

export function vectorFile(name: string): string {
  return join(VECTORS, name);
}

/** fp32 from 8 hex digits each. */
export function fromBits(bits: readonly string[]): Float32Array {
  return new Float32Array(Uint32Array.from(bits, (digits) => parseInt(digits, 16)).buffer);
}

export function assertSame(actual: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  for (let i = 0; i < actual.length; i++) {
    if (!Object.is(actual[i], expected[i])) assert.fail(`${what}: ${actual[i]} at ${i}, expected ${expected[i]}`);
  }
}

export function assertDigest(actual: Float32Array | Int32Array | Uint32Array, expected: Digest, what: string): void {
  assert.equal(actual.length, expected.count, `${what}: length`);
  const ends = (values: (string | number)[]): ArrayLike<number> =>
    actual instanceof Float32Array ? fromBits(values as string[]) : (values as number[]);
  assertSame(actual.slice(0, expected.head.length), ends(expected.head), `${what}, head`);
  const bytes = new Uint8Array(actual.buffer, actual.byteOffset, actual.byteLength);
  assert.equal(createHash('sha256').update(bytes).digest('hex'), expected.sha256, `${what}: SHA-256`);
}

export function signal({ seed, shape, gain = 1 }: Signal): Float32Array {
  const count = shape.reduce((a, b) => a * b, 1);
  const scale = Math.fround(gain);
  return new NoiseStream(seed).normal(Math.max(count, 16)).subarray(0, count).map((value) => value * scale);
}

/** A .npy file's shape and fp32 values. */
export function readNpy(name: string): { shape: number[]; data: Float32Array } {
  const file = readFileSync(name.startsWith('/') ? name : vectorFile(name));
  const start = 10 + file.readUInt16LE(8);
  const header = file.toString('latin1', 10, start);
  assert.match(header, /'descr': '<f4', 'fortran_order': False/);
  const shape = /\(([^)]*)\)/.exec(header)![1]!.split(',').filter((part) => part.trim()).map(Number);
  return { shape, data: new Float32Array(new Uint8Array(file.subarray(start)).slice().buffer) };
}

export function relative(actual: Float32Array, expected: Float32Array): number {
  assert.equal(actual.length, expected.length);
  let error = 0;
  let norm = 0;
  for (let i = 0; i < actual.length; i++) {
    error += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(error / norm);
}

/** A bundle that vectors name, or null where it was not exported. */
export function bundlePath(name: string): string | null {
  if (name === 'demo') return DEMO;
  const path = join(BUNDLES, name);
  return existsSync(path) ? path : null;
}

/** The demo as a base model's bundle: another sampler in its manifest. */
export async function baseBundle(sampler: object): Promise<string> {
  const folder = await temporary();
  await cp(DEMO, folder, { recursive: true });
  const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as { sampler: object };
  manifest.sampler = { ...manifest.sampler, ...sampler };
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest));
  return folder;
}

const made: string[] = [];
process.on('exit', () => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true }); // nothing asynchronous runs any more
});

export async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'sa3-edge-web-'));
  made.push(folder);
  return folder;
}
