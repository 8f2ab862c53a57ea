/** One graph at a time in a thread of its own, which ends after a large one: WebAssembly's memory only ever grows. */

import type { GraphName } from '../manifest.js';
import { type OrtModule, OrtSession, sessionOptions } from '../engines/onnxruntime.js';
import type { Tensors } from '../tensor.js';

/** Load a graph. */
export interface LoadMessage {
  readonly kind: 'load';
  readonly graph: GraphName;
  readonly provider: 'wasm' | 'webgpu';
  readonly threads: number | undefined;
  readonly wasmPaths: string | undefined;
  /** The graph first, then the weights beside it, by their names without folders. */
  readonly files: readonly { readonly name: string; readonly blob: Blob }[];
}

/** Run it. `sharedId` names inputs that stay; they come along the first time. */
export interface RunMessage {
  readonly kind: 'run';
  readonly inputs: Tensors;
  readonly sharedId: number;
  readonly shared: Tensors | null;
}

/** Free the graph; another one may be loaded. */
export interface FreeMessage {
  readonly kind: 'free';
}

/** What this thread is asked. */
export type Message = LoadMessage | RunMessage | FreeMessage;

/** What comes back; only a run answers with outputs. */
export interface Answer {
  readonly outputs?: Tensors;
  readonly version?: string;
  readonly error?: { readonly name: string; readonly message: string };
}

type Build = OrtModule & {
  readonly env: {
    readonly wasm: { numThreads?: number; wasmPaths?: string };
    readonly versions: { readonly web?: string };
  };
};

let session: OrtSession;
const held = new Map<number, Tensors>();

async function load({ graph, provider, threads, wasmPaths, files }: LoadMessage): Promise<Answer> {
  const build = provider === 'webgpu' ? import('onnxruntime-web/webgpu') : import('onnxruntime-web/wasm');
  const ort = (await build) as unknown as Build;
  if (threads !== undefined) ort.env.wasm.numThreads = threads;
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths;
  const bytes = async (blob: Blob): Promise<Uint8Array> => new Uint8Array(await blob.arrayBuffer());
  const [first, ...beside] = files;
  const name = `onnxruntime-web (${provider})`;
  session = await OrtSession.load(ort, graph, first!.name, name, async () => {
    const data = beside.map(async (file) => ({ path: file.name, data: await bytes(file.blob) }));
    const options = { ...sessionOptions(graph, provider, false), externalData: await Promise.all(data) };
    return ort.InferenceSession.create(await bytes(first!.blob), options);
  });
  return { version: ort.env.versions.web ?? '' };
}

async function run({ inputs, sharedId, shared }: RunMessage): Promise<Answer> {
  if (shared) held.set(sharedId, shared);
  return { outputs: await session.run(inputs, held.get(sharedId)!) };
}

async function free(): Promise<Answer> {
  held.clear();
  await session.free();
  return {};
}

async function answer(message: Message): Promise<Answer> {
  try {
    if (message.kind === 'free') return await free();
    return await (message.kind === 'load' ? load(message) : run(message));
  } catch (error) {
    const { name, message: text } = error as Error;
    return { error: { name, message: text } };
  }
}

addEventListener('message', (event: MessageEvent<Message>) => {
  void answer(event.data).then((answered) => postMessage(answered));
});
