/** A bundle, verified: the right schema, every file inside its folder, every size and hash as stated. */

import { BundleError, messageOf, Sa3Error } from './errors.js';
import { type Artifact, decodeManifest, type File, type GraphName, LARGEST_MANIFEST, type Manifest, MANIFEST_NAME } from './manifest.js';
import { Sha256 } from './sha256.js';

/** A file's content, read when it is needed. */
export interface Content {
  readonly size: number;
  /** All of it. */
  bytes(): Promise<Uint8Array>;
  /** One piece after another. */
  pieces(): AsyncIterable<Uint8Array>;
  /** In a browser: what another thread can be given without a copy. */
  readonly blob?: Blob;
}

/** Bytes that are there, of all. */
export type OnBytes = (done: number, total: number) => void;

/** What a source may need to know of a file. */
export interface Wanted {
  /** The manifest's entry; none for the manifest itself. */
  readonly file?: File;
  /** Called with the bytes that are there as they arrive. */
  readonly onBytes?: (done: number) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Where a bundle's files are. */
export interface BundleSource {
  /** For messages: a folder or an address. */
  readonly name: string;
  /** A file's content; `null` if there is no such file. `path` is relative to the bundle, with forward slashes. */
  open(path: string, wanted: Wanted): Promise<Content | null>;
  /** Where the file lies, for messages, and for an engine that reads it there (`onDisk`). */
  locate(path: string): string;
  readonly onDisk: boolean;
  /** Whether the file was verified before, and has not changed since. */
  isVerified?(file: File): Promise<boolean>;
  /** Remember that a file is right. */
  setVerified?(file: File): Promise<void>;
  /** Forget a file that is wrong, so that it is fetched again. */
  discard?(file: File): Promise<void>;
}

/** A verified bundle. `id` is the SHA-256 of `manifest.json`: with the hashes in it, that names all its bytes. */
export class Bundle {
  private constructor(
    readonly source: BundleSource,
    readonly manifest: Manifest,
    readonly id: string,
  ) {}

  /**
   * Open and verify a bundle; of its graphs, those in ONNX.
   *
   * Throws BundleError if anything is missing, altered, outside the folder or of another schema.
   */
  static async open(source: BundleSource, onBytes: OnBytes = () => {}, signal?: AbortSignal): Promise<Bundle> {
    const content = await read(source, MANIFEST_NAME, { signal });
    if (content === null) throw new BundleError(`${source.name} is not a bundle: it has no ${MANIFEST_NAME}`);
    if (content.size > LARGEST_MANIFEST) {
      throw new BundleError(`${source.locate(MANIFEST_NAME)} has ${content.size} bytes, at most ${LARGEST_MANIFEST} are read`);
    }
    const data = await content.bytes();
    const bundle = new Bundle(source, decodeManifest(data), new Sha256().update(data).digest());
    const files = bundle.files();
    for (const file of files) checkInside(source, file);
    const total = files.reduce((sum, file) => sum + file.bytes, 0);
    let before = 0;
    for (const file of files) {
      const report = (done: number): void => onBytes(before + done, total);
      await bundle.verify(file, report, signal);
      before += file.bytes;
      onBytes(before, total);
    }
    return bundle;
  }

  /** Every file that a host with ONNX graphs needs. */
  files(): File[] {
    const graphs = Object.values(this.manifest.graphs);
    const files = graphs.flatMap((graph) => graph.artifacts['onnx']?.files ?? []);
    const named = new Map([this.manifest.text.tokenizer, ...files].map((file) => [file.path, file]));
    return [...named.values()];
  }

  /** The content of one of the bundle's files. */
  async read(file: File, onBytes?: (done: number) => void, signal?: AbortSignal): Promise<Content> {
    const content = await read(this.source, file.path, { file, signal, ...(onBytes && { onBytes }) });
    if (content === null) {
      throw new BundleError(`${this.source.locate(file.path)} is missing from the bundle; copy it again`);
    }
    return content;
  }

  /** A graph's files. Throws BundleError if the bundle lacks them. */
  artifact(graph: GraphName): Artifact {
    const artifacts = this.manifest.graphs[graph]?.artifacts;
    if (!artifacts) throw new BundleError(`${this.source.name} has no ${graph} graph`);
    const artifact = artifacts['onnx'];
    if (!artifact) {
      const others = Object.keys(artifacts).sort().join(', ');
      throw new BundleError(`${this.source.name} has no onnx files for ${graph}, only ${others}`);
    }
    return artifact;
  }

  private async verify(file: File, onBytes: (done: number) => void, signal?: AbortSignal): Promise<void> {
    const place = this.source.locate(file.path);
    const content = await this.read(file, onBytes, signal);
    if (content.size !== file.bytes) {
      await this.source.discard?.(file);
      throw new BundleError(`${place} has ${content.size} bytes, the manifest says ${file.bytes}; copy the bundle again`);
    }
    if (await this.source.isVerified?.(file)) return;
    const hash = new Sha256();
    try {
      for await (const piece of content.pieces()) {
        signal?.throwIfAborted();
        hash.update(piece);
      }
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new BundleError(`${place} cannot be read: ${messageOf(error)}`);
    }
    if (hash.digest() !== file.sha256) {
      await this.source.discard?.(file);
      throw new BundleError(`${place} is not the file that the manifest names (SHA-256 differs); copy it again`);
    }
    await this.source.setVerified?.(file);
  }
}

async function read(source: BundleSource, path: string, wanted: Wanted): Promise<Content | null> {
  try {
    return await source.open(path, wanted);
  } catch (error) {
    if (error instanceof Sa3Error || wanted.signal?.aborted) throw error;
    throw new BundleError(`${source.locate(path)} cannot be read: ${messageOf(error)}`);
  }
}

/** Throws BundleError for a path that leads out of the bundle's folder, also by what Windows would make of it. */
function checkInside(source: BundleSource, file: File): void {
  const parts = file.path.split(/[/\\]/).filter((part) => part !== '.');
  let depth = 0;
  const climbs = parts.some((part) => (depth += part === '..' ? -1 : 1) < 0);
  if (climbs || depth === 0 || parts[0] === '' || /^[A-Za-z]:/.test(file.path)) {
    throw new BundleError(`${source.name}: the manifest names a file outside the bundle, '${file.path}'`);
  }
}

/** A Blob's content. */
export class BlobContent implements Content {
  constructor(readonly blob: Blob) {}

  get size(): number {
    return this.blob.size;
  }

  async bytes(): Promise<Uint8Array> {
    return new Uint8Array(await this.blob.arrayBuffer());
  }

  async *pieces(): AsyncIterable<Uint8Array> {
    const piece = 1 << 22;
    for (let at = 0; at < this.blob.size; at += piece) {
      yield new Uint8Array(await this.blob.slice(at, at + piece).arrayBuffer());
    }
  }
}
