/** ONNX Runtime in Node: its own package where it is installed, else WebAssembly. */

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Bundle } from '../bundle.js';
import type { Engine } from '../engine.js';
import { type OrtModule, OrtSession, sessionOptions } from '../engines/onnxruntime.js';
import { EngineError, messageOf } from '../errors.js';
import type { GraphName } from '../manifest.js';
import { checkOnnx } from '../onnx-file.js';
import { productsSaturate } from './saturation.js';

type Build = OrtModule & { readonly env: { readonly wasm: { numThreads?: number }; readonly versions: { readonly common: string } } };

/** Loads a bundle's graphs in this process, and frees each when it is done with. */
export class NodeEngine implements Engine {
  private precise: boolean | undefined;

  private constructor(
    readonly name: string,
    private readonly ort: Build,
    private readonly version: string,
    private readonly native: boolean,
    private readonly threads: number | undefined,
  ) {}

  /** onnxruntime-node on the CPU. Throws EngineError if it is not installed. */
  static async native(threads?: number): Promise<NodeEngine> {
    const name = 'onnxruntime-node';
    try {
      const loaded = (await import(name)) as { default?: Build } & Build;
      return new NodeEngine(name, loaded.default ?? loaded, versionOf(name), true, threads);
    } catch (error) {
      throw new EngineError(`${name} cannot be loaded (${messageOf(error).split('\n')[0]}); npm install ${name}@1.30.0`);
    }
  }

  /** onnxruntime-web's WebAssembly in Node. */
  static async wasm(threads = 1): Promise<NodeEngine> {
    const ort = (await import('onnxruntime-web/wasm')) as unknown as Build;
    ort.env.wasm.numThreads = threads;
    return new NodeEngine('onnxruntime-web', ort, versionOf('onnxruntime-web'), false, undefined);
  }

  describe(): string {
    return `${this.name} ${this.version} ${this.native ? 'on the CPU' : 'in WebAssembly'}`;
  }

  async load(bundle: Bundle, graph: GraphName): Promise<OrtSession> {
    const artifact = bundle.artifact(graph);
    const [first, ...beside] = artifact.files;
    const place = bundle.source.locate(first!.path);
    const read = async (file: typeof first): Promise<Uint8Array> => (await bundle.read(file!)).bytes();
    checkOnnx(bundle, graph, artifact, place, await read(first));
    const precise = this.native && artifact.precision === 'int8' && (await this.saturates());
    const options = sessionOptions(graph, this.native ? 'cpu' : 'wasm', precise, this.threads);
    return OrtSession.load(this.ort, graph, place, this.name, async () => {
      // By its path ONNX Runtime finds the weights beside it and maps them into memory.
      if (this.native && bundle.source.onDisk) return this.ort.InferenceSession.create(place, options);
      const data = beside.map(async (file) => ({ path: file.path.split('/').pop()!, data: await read(file) }));
      return this.ort.InferenceSession.create(await read(first), { ...options, externalData: await Promise.all(data) });
    });
  }

  private async saturates(): Promise<boolean> {
    return (this.precise ??= await productsSaturate(this.ort));
  }
}

function versionOf(name: string): string {
  const require = createRequire(import.meta.url);
  const main = dirname(require.resolve(name));
  return (require(join(main, '..', 'package.json')) as { version: string }).version;
}
