/** Whether this GPU computes what WebAssembly computes; drivers and shaders have faults, and wrong music is no error. */

import type { Bundle } from '../bundle.js';
import { EngineError } from '../errors.js';
import type { GraphName, TensorInfo } from '../manifest.js';
import { NoiseStream } from '../noise.js';
import { type Tensors, tensor } from '../tensor.js';
import { WebEngine, type WebEngineOptions } from './engine.js';
import { readNote, writeNote } from './store.js';

const BAR = 1e-3; // right GPUs were 1e-6 away, wrong ones 0.1; a fault of attention begins at 32 rows
const SIZES: Readonly<Record<string, number>> = { frames: 64, keys: 16, rows: 1, tokens: 16 };
const LENGTHS: Partial<Record<GraphName, number>> = { denoiser: 64, decoder: 8 };

interface Adapter {
  readonly info: { readonly vendor: string; readonly architecture: string; readonly device: string; readonly description: string };
}

/** The browser's GPU, null if it has none that can be used. */
export async function findAdapter(): Promise<Adapter | null> {
  const gpu = (navigator as { gpu?: { requestAdapter(): Promise<Adapter | null> } }).gpu;
  return (await gpu?.requestAdapter().catch(() => null)) ?? null;
}

/**
 * Throws EngineError unless the GPU computes a step and a tile of this model as WebAssembly does.
 *
 * Asked once for each bundle and GPU; the answer is kept.
 */
export async function checkGpu(bundle: Bundle, adapter: Adapter, options: WebEngineOptions, signal?: AbortSignal): Promise<void> {
  const { vendor, architecture, device, description } = adapter.info;
  const key = `gpu-${bundle.id.slice(0, 16)}-${[vendor, architecture, device, description].join('-').replace(/\W+/g, '_')}`;
  let verdict = await readNote(key);
  if (verdict === null) {
    verdict = await compare(bundle, options, signal);
    await writeNote(key, verdict);
  }
  if (verdict !== 'right') throw new EngineError(`this GPU cannot be used (${vendor} ${architecture}): ${verdict}`);
}

async function compare(bundle: Bundle, options: WebEngineOptions, signal?: AbortSignal): Promise<string> {
  for (const [graph, frames] of Object.entries(LENGTHS) as [GraphName, number][]) {
    const inputs = exampleOf(bundle.manifest.graphs[graph]?.inputs ?? [], frames);
    const output = async (gpu: boolean): Promise<Float32Array> => {
      const engine = new WebEngine({ ...options, gpu });
      const session = await engine.load(bundle, graph, signal);
      try {
        return Object.values(await session.run(inputs, {}, signal))[0]!.data as Float32Array;
      } finally {
        await session.free();
        engine.close();
      }
    };
    const expected = await output(false);
    let made: Float32Array;
    try {
      made = await output(true);
    } catch (error) {
      if (signal?.aborted) throw error;
      return `${graph}: ${(error as Error).message}`;
    }
    let difference = 0;
    let norm = 0;
    for (let i = 0; i < expected.length; i++) {
      difference += (made[i]! - expected[i]!) ** 2;
      norm += expected[i]! ** 2;
    }
    const error = Math.sqrt(difference / norm);
    if (!(error <= BAR)) return `its ${graph} is ${error.toPrecision(2)} away from the CPU's, at most ${BAR} is right`;
  }
  return 'right';
}

function exampleOf(inputs: readonly TensorInfo[], frames: number): Tensors {
  const stream = new NoiseStream(1);
  const made = inputs.map(({ name, shape }) => {
    const dims = shape.map((axis) => (typeof axis === 'number' ? axis : axis === 'frames' ? frames : (SIZES[axis] ?? 1)));
    const count = dims.reduce((a, b) => a * b, 1);
    if (name === 't') return [name, tensor([0.63], dims)] as const;
    if (name === 'key_bias') return [name, tensor(new Float32Array(count), dims)] as const;
    return [name, tensor(stream.normal(Math.max(16, count)).slice(0, count), dims)] as const;
  });
  return Object.fromEntries(made);
}
