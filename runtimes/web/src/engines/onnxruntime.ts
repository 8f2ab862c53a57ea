/** One graph in ONNX Runtime, in this thread: its Node package, and its web package in Node or in a worker. */

import type * as Ort from 'onnxruntime-common';
import type { Session } from '../engine.js';
import { EngineError, messageOf } from '../errors.js';
import type { GraphName } from '../manifest.js';
import type { Tensor, Tensors } from '../tensor.js';

/** What this needs of any of the packages. */
export type OrtModule = Pick<typeof Ort, 'InferenceSession' | 'Tensor'>;
/** Session options of all packages. */
export type SessionOptions = Ort.InferenceSession.SessionOptions;

/** Kernels want weights in their own layout, a copy at load that a graph which runs once does not gain by. */
const RUN_ONCE: readonly GraphName[] = ['text_encoder', 'conditioner'];

/** Options for a graph, as the contract names them. */
export function sessionOptions(graph: GraphName, provider: string, precise: boolean, threads?: number): SessionOptions {
  const session = {
    ...(RUN_ONCE.includes(graph) && { disable_prepacking: '1' }),
    ...(precise && { x64quantprecision: '1' }),
  };
  return {
    executionProviders: [provider],
    enableMemPattern: false, // plans for memory hold for one shape; ours change from clip to clip
    logSeverityLevel: 3, // errors only; they come as exceptions
    ...(threads !== undefined && { intraOpNumThreads: threads }),
    ...(Object.keys(session).length > 0 && { extra: { session } }),
  };
}

/** A loaded graph. */
export class OrtSession implements Session {
  private readonly held = new WeakMap<Tensors, Record<string, Ort.Tensor>>();

  private constructor(
    private readonly ort: OrtModule,
    private readonly session: Ort.InferenceSession,
    private readonly graph: GraphName,
    private readonly name: string,
  ) {}

  /** `create` loads it; throws EngineError if that fails. `place` names the file, `name` the package. */
  static async load(
    ort: OrtModule,
    graph: GraphName,
    place: string,
    name: string,
    create: () => Promise<Ort.InferenceSession>,
  ): Promise<OrtSession> {
    try {
      return new OrtSession(ort, await create(), graph, name);
    } catch (error) {
      throw new EngineError(`${name} cannot load ${place}: ${messageOf(error)}`);
    }
  }

  async run(inputs: Tensors, shared: Tensors = {}): Promise<Tensors> {
    let fixed = this.held.get(shared);
    if (!fixed) this.held.set(shared, (fixed = this.converted(shared)));
    const fresh = this.converted(inputs);
    try {
      const outputs = await this.session.run({ ...fixed, ...fresh });
      const entries = Object.entries(outputs).map(([key, output]) => [key, plain(output)] as const);
      return Object.fromEntries(entries);
    } catch (error) {
      throw new EngineError(`${this.name} failed in ${this.graph}: ${messageOf(error)}`);
    } finally {
      for (const tensor of Object.values(fresh)) tensor.dispose();
    }
  }

  async free(): Promise<void> {
    await this.session.release();
  }

  private converted(tensors: Tensors): Record<string, Ort.Tensor> {
    const convert = ({ data, dims }: Tensor): Ort.Tensor =>
      data instanceof BigInt64Array ? new this.ort.Tensor('int64', data, dims) : new this.ort.Tensor('float32', data, dims);
    return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, convert(tensor)]));
  }
}

function plain(output: Ort.OnnxValue): Tensor {
  return { data: output.data as Float32Array, dims: output.dims };
}
