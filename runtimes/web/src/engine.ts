/** What runs graphs: an engine loads one of a bundle's graphs, a session runs it, and memory is given back after. */

import type { Bundle } from './bundle.js';
import { EngineError } from './errors.js';
import type { GraphName } from './manifest.js';
import type { Tensors } from './tensor.js';
import { shapeText } from './words.js';

/** One loaded graph. */
export interface Session {
  /**
   * Named tensors in, named tensors out. `shared` are inputs that stay the same from step to step: where they must be
   * copied, that is done once for each object.
   *
   * Throws EngineError if the graph fails, the signal's reason if it is aborted meanwhile.
   */
  run(inputs: Tensors, shared?: Tensors, signal?: AbortSignal): Promise<Tensors>;
  /** Give its memory back. */
  free(): Promise<void>;
}

/** A way of running graphs. */
export interface Engine {
  readonly name: string;
  /** The engine, its version and where it computes, in one line. */
  describe(): string;
  /** Throws EngineError if the graph cannot be loaded, BundleError if the bundle lacks it. */
  load(bundle: Bundle, graph: GraphName, signal?: AbortSignal): Promise<Session>;
  /** Give back whatever is held between clips. */
  close?(): void;
}

/** Runs graphs by name: loaded when first needed, freed after use, timed. */
export class GraphRunner {
  /** Seconds of each, "denoiser.load" and "denoiser.run". */
  timings: Record<string, number> = {};
  private readonly sessions = new Map<GraphName, Session>();

  constructor(
    readonly bundle: Bundle,
    readonly engine: Engine,
  ) {}

  /** Throws EngineError if the graph fails or computes anything but numbers. */
  async run(graph: GraphName, inputs: Tensors, shared: Tensors = {}, signal?: AbortSignal): Promise<Tensors> {
    signal?.throwIfAborted();
    let session = this.sessions.get(graph);
    if (!session) {
      session = await this.timed(`${graph}.load`, () => this.engine.load(this.bundle, graph, signal));
      this.sessions.set(graph, session);
    }
    const loaded = session;
    const outputs = await this.timed(`${graph}.run`, () => loaded.run(inputs, shared, signal));
    signal?.throwIfAborted();
    this.checkOutputs(graph, { ...shared, ...inputs }, outputs);
    return outputs;
  }

  /** What has fewer values than its reader expects would be silence in a clip, or another's memory. */
  private checkOutputs(graph: GraphName, inputs: Tensors, outputs: Tensors): void {
    const described = this.bundle.manifest.graphs[graph]!;
    const sizes = new Map<string, number>();
    const measure = (shape: readonly (number | string)[], dims: readonly number[]): void =>
      shape.forEach((axis, i) => typeof axis === 'string' && !sizes.has(axis) && dims[i]! > 0 && sizes.set(axis, dims[i]!));
    for (const { name, shape } of described.inputs) if (inputs[name]) measure(shape, inputs[name].dims);
    for (const { name, shape } of described.outputs) {
      const output = outputs[name];
      if (!output) throw new EngineError(`${this.engine.name} gave no output ${name} of the ${graph}`);
      measure(shape, output.dims);
      const wanted = shape.map((axis) => (typeof axis === 'string' ? (sizes.get(axis) ?? 1) : axis));
      if (!(output.data instanceof Float32Array) || wanted.join() !== output.dims.join()) {
        const dtype = output.data instanceof Float32Array ? 'float32' : 'int64';
        throw new EngineError(
          `${this.engine.name} computed ${dtype} ${shapeText(output.dims)} as the ${graph}'s ${name}, ` +
            `the manifest promises float32 ${shapeText(wanted)}`,
        );
      }
      if (!output.data.every(Number.isFinite)) {
        throw new EngineError(`${this.engine.name} computed NaN or infinity in the ${graph}'s ${name}`);
      }
    }
  }

  /** Free graphs that are needed no more; all of them if none is named. */
  async doneWith(...graphs: GraphName[]): Promise<void> {
    for (const graph of graphs.length ? graphs : [...this.sessions.keys()]) {
      const session = this.sessions.get(graph);
      this.sessions.delete(graph);
      await session?.free();
    }
  }

  private async timed<T>(key: string, action: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await action();
    } finally {
      this.timings[key] = (this.timings[key] ?? 0) + (performance.now() - start) / 1000;
    }
  }
}
