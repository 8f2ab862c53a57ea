/** onnxruntime-web in workers: WebAssembly, and WebGPU for the graphs that are worth it. */

import type { Bundle, Content } from '../bundle.js';
import type { Engine, Session } from '../engine.js';
import { EngineError } from '../errors.js';
import type { GraphName } from '../manifest.js';
import { checkOnnx } from '../onnx-file.js';
import type { Tensors } from '../tensor.js';
import type { Answer, LoadMessage, Message, RunMessage } from './graph-worker.js';

/** What runs every step and every tile; the others run once, and are right everywhere in WebAssembly. */
const ON_GPU: readonly GraphName[] = ['denoiser', 'decoder'];

/** Settings of all graphs. */
export interface WebEngineOptions {
  readonly gpu: boolean;
  readonly threads: number | undefined;
  readonly wasmPaths: string | undefined;
}

/** Weights that a worker may have held and still be kept for the next graph. */
const SMALL_BYTES = 64e6;

/** Loads graphs in workers; one that is small is kept for the next graph, others end with theirs. */
export class WebEngine implements Engine {
  readonly name = 'onnxruntime-web';
  private version = '';
  private readonly spare = new Map<LoadMessage['provider'], GraphThread>();

  constructor(private readonly options: WebEngineOptions) {}

  describe(): string {
    const where = this.options.gpu ? 'on WebGPU' : 'in WebAssembly';
    return [this.name, this.version, where].filter(Boolean).join(' ');
  }

  async load(bundle: Bundle, graph: GraphName, signal?: AbortSignal): Promise<Session> {
    const artifact = bundle.artifact(graph);
    const { files } = artifact;
    const content = await bundle.read(files[0]!, undefined, signal);
    checkOnnx(bundle, graph, artifact, bundle.source.locate(files[0]!.path), await content.bytes());
    const opened = files.map(async (file) => ({
      name: file.path.split('/').pop()!,
      blob: await blobOf(await bundle.read(file, undefined, signal)),
    }));
    const provider = this.options.gpu && ON_GPU.includes(graph) ? 'webgpu' : 'wasm';
    const { threads, wasmPaths } = this.options;
    const message: LoadMessage = { kind: 'load', graph, provider, threads, wasmPaths, files: await Promise.all(opened) };
    const thread = this.spare.get(provider) ?? new GraphThread();
    this.spare.delete(provider);
    thread.bytes += files.reduce((sum, file) => sum + file.bytes, 0);
    try {
      this.version = (await thread.ask(message, graph, signal)).version ?? '';
    } catch (error) {
      thread.end();
      throw error;
    }
    return new WorkerSession(thread, graph, () => this.freed(thread, graph, provider));
  }

  /** End the threads that are kept. */
  close(): void {
    for (const thread of this.spare.values()) thread.end();
    this.spare.clear();
  }

  private async freed(thread: GraphThread, graph: GraphName, provider: LoadMessage['provider']): Promise<void> {
    if (thread.ended || thread.bytes > SMALL_BYTES || this.spare.has(provider)) return thread.end();
    await thread.ask({ kind: 'free' }, graph);
    this.spare.set(provider, thread);
  }
}

async function blobOf(content: Content): Promise<Blob> {
  return content.blob ?? new Blob([(await content.bytes()) as Uint8Array<ArrayBuffer>]);
}

/** A worker, asked one thing at a time. */
class GraphThread {
  /** Of all weights that it has held. */
  bytes = 0;
  ended = false;
  private readonly worker = new Worker(new URL('./graph-worker.js', import.meta.url), { type: 'module' });

  end(): void {
    this.ended = true;
    this.worker.terminate();
  }

  /** A signal does not wait for the graph: it ends the thread. */
  ask(message: Message, graph: GraphName, signal?: AbortSignal): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const settle = (action: () => void): void => {
        signal?.removeEventListener('abort', abort);
        this.worker.onmessage = this.worker.onerror = null;
        action();
      };
      const abort = (): void => {
        this.end();
        settle(() => reject(signal!.reason as Error));
      };
      this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
        const { error } = data;
        settle(() => (error ? reject(new EngineError(error.message)) : resolve(data)));
      };
      this.worker.onerror = (event) => {
        const reason = event.message || 'its worker cannot be loaded, or ran out of memory';
        this.end();
        settle(() => reject(new EngineError(`onnxruntime-web failed in ${graph}: ${reason}`)));
      };
      if (signal?.aborted) return abort();
      signal?.addEventListener('abort', abort);
      this.worker.postMessage(message);
    });
  }
}

/** A graph in a thread. */
class WorkerSession implements Session {
  private readonly ids = new WeakMap<Tensors, number>();
  private count = 0;

  constructor(
    private readonly thread: GraphThread,
    private readonly graph: GraphName,
    readonly free: () => Promise<void>,
  ) {}

  async run(inputs: Tensors, shared: Tensors = {}, signal?: AbortSignal): Promise<Tensors> {
    const known = this.ids.get(shared);
    const sharedId = known ?? this.count++;
    if (known === undefined) this.ids.set(shared, sharedId);
    const message: RunMessage = { kind: 'run', inputs, sharedId, shared: known === undefined ? shared : null };
    return (await this.thread.ask(message, this.graph, signal)).outputs!;
  }
}
