/** Files that were downloaded, in the origin's private file system: by their hash, in parts, so that a cut one goes on. */

import { BlobContent, type BundleSource, type Content, type Wanted } from '../bundle.js';
import { BundleError, DownloadError, messageOf } from '../errors.js';
import type { File as ManifestFile } from '../manifest.js';
import { Sha256 } from '../sha256.js';

const FOLDER = 'sa3-edge';
const PART = 1 << 24;
const RIGHT = 'right';
const TRIES = 4;

/** Forget all bundles that were downloaded, and what was found out about this machine. */
export async function forgetBundles(): Promise<void> {
  const root = await rootFolder();
  await root?.removeEntry(FOLDER, { recursive: true }).catch(() => {});
}

async function rootFolder(): Promise<FileSystemDirectoryHandle | null> {
  if (!('createWritable' in (globalThis.FileSystemFileHandle?.prototype ?? {}))) return null;
  return (await navigator.storage?.getDirectory().catch(() => null)) ?? null; // a private window may have none
}

async function folderOf(name: string): Promise<FileSystemDirectoryHandle | null> {
  const root = await rootFolder();
  if (!root) return null;
  return (await root.getDirectoryHandle(FOLDER, { create: true })).getDirectoryHandle(name, { create: true });
}

async function writeFile(folder: FileSystemDirectoryHandle, name: string, data: FileSystemWriteChunkType): Promise<void> {
  const handle = await folder.getFileHandle(name, { create: true });
  const stream = await handle.createWritable();
  try {
    await stream.write(data);
    await stream.close();
  } catch (error) {
    await stream.abort().catch(() => {});
    throw new DownloadError(`the download cannot be kept: ${messageOf(error)}`);
  }
}

async function readFile(folder: FileSystemDirectoryHandle, name: string): Promise<globalThis.File | null> {
  try {
    return await (await folder.getFileHandle(name)).getFile();
  } catch {
    return null;
  }
}

/** What was noted before under a key. */
export async function readNote(key: string): Promise<string | null> {
  const folder = await folderOf('notes');
  return (folder && (await readFile(folder, key))?.text()) ?? null;
}

/** Note a line under a key, where anything can be kept. */
export async function writeNote(key: string, text: string): Promise<void> {
  const folder = await folderOf('notes');
  if (folder) await writeFile(folder, key, text);
}

/** A bundle at an address. Its files are fetched once, in what is kept between visits. */
export class UrlSource implements BundleSource {
  readonly onDisk = false;
  readonly name: string;
  private readonly base: URL;
  private readonly unkept = new Map<string, Blob>(); // where nothing can be kept

  constructor(address: string | URL) {
    const base = new URL(address, globalThis.location?.href);
    if (!base.pathname.endsWith('/')) base.pathname += '/';
    this.base = base;
    this.name = base.href;
  }

  locate(path: string): string {
    return new URL(path, this.base).href;
  }

  async open(path: string, wanted: Wanted): Promise<Content | null> {
    return wanted.file ? this.openFile(wanted.file, wanted) : this.openManifest(path, wanted.signal);
  }

  async isVerified(file: ManifestFile): Promise<boolean> {
    const folder = await folderOf(file.sha256);
    return folder !== null && (await readFile(folder, RIGHT)) !== null;
  }

  async setVerified(file: ManifestFile): Promise<void> {
    const folder = await folderOf(file.sha256);
    if (folder) await writeFile(folder, RIGHT, '');
  }

  async discard(file: ManifestFile): Promise<void> {
    this.unkept.delete(file.sha256);
    const root = await rootFolder();
    await (await root?.getDirectoryHandle(FOLDER))?.removeEntry(file.sha256, { recursive: true }).catch(() => {});
  }

  /** The newest; without a network, the one of the last visit. */
  private async openManifest(path: string, signal?: AbortSignal): Promise<Content | null> {
    const key = `manifest-${new Sha256().update(new TextEncoder().encode(this.locate(path))).digest()}`;
    try {
      const response = await this.fetch(path, 0, signal);
      if (response === null) return null;
      const text = await response.text();
      await writeNote(key, text);
      return new BlobContent(new Blob([text]));
    } catch (error) {
      if (signal?.aborted) throw error;
      const kept = await readNote(key);
      if (kept === null) throw error;
      return new BlobContent(new Blob([kept]));
    }
  }

  private async openFile(file: ManifestFile, { onBytes, signal }: Wanted): Promise<Content | null> {
    const folder = await folderOf(file.sha256);
    const parts: Blob[] = [];
    if (!folder && this.unkept.has(file.sha256)) return new BlobContent(this.unkept.get(file.sha256)!);
    for (let part = folder && (await readFile(folder, '0')); part; part = await readFile(folder!, `${parts.length}`)) parts.push(part);
    let size = parts.reduce((sum, part) => sum + part.size, 0);
    onBytes?.(size);
    const keep = async (data: Uint8Array<ArrayBuffer>[]): Promise<void> => {
      const blob = new Blob(data);
      if (!blob.size) return;
      const name = `${parts.length}`;
      if (folder) await writeFile(folder, name, blob);
      parts.push(folder ? (await readFile(folder, name))! : blob);
    };
    for (let failures = 0; size < file.bytes; ) {
      const before = size;
      let waiting: Uint8Array<ArrayBuffer>[] = [];
      let held = 0;
      try {
        const response = await this.fetch(file.path, size, signal);
        if (response === null) return null;
        let skip = response.status === 206 ? 0 : size; // a server without ranges begins anew
        const reader = response.body!.getReader();
        for (let next = await reader.read(); !next.done; next = await reader.read()) {
          signal?.throwIfAborted();
          const data = next.value.subarray(Math.min(skip, next.value.length)) as Uint8Array<ArrayBuffer>;
          skip -= next.value.length - data.length;
          if (size + data.length > file.bytes) {
            await reader.cancel();
            waiting = [];
            await this.discard(file);
            throw new BundleError(`${this.locate(file.path)} is longer than the ${file.bytes} bytes that the manifest says`);
          }
          waiting.push(data);
          size += data.length;
          held += data.length;
          onBytes?.(size);
          if (held >= PART) {
            await keep(waiting);
            waiting = [];
            held = 0;
          }
        }
        if (size < file.bytes && size === before) break; // the server says that this is all
      } catch (error) {
        if (signal?.aborted || error instanceof BundleError || error instanceof DownloadError) throw error;
        failures = size > before ? 0 : failures + 1;
        if (failures >= TRIES) throw new DownloadError(`${this.locate(file.path)} cannot be downloaded: ${messageOf(error)}`);
        await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** failures));
      } finally {
        await keep(waiting); // also of a download that was cut: the next one goes on from here
      }
    }
    const blob = new Blob(parts);
    if (!folder) this.unkept.set(file.sha256, blob);
    return new BlobContent(blob);
  }

  /** `null` for 404. Throws DownloadError for other refusals. */
  private async fetch(path: string, from: number, signal?: AbortSignal): Promise<Response | null> {
    const headers = from ? { Range: `bytes=${from}-` } : undefined;
    const response = await fetch(this.locate(path), { ...(headers && { headers }), ...(signal && { signal }) });
    if (response.status === 404) return null;
    if (!response.ok) throw new DownloadError(`${this.locate(path)} cannot be downloaded: HTTP ${response.status} ${response.statusText}`);
    return response;
  }
}

/** A bundle in a directory that the user has picked. */
export class DirectorySource implements BundleSource {
  readonly onDisk = false;

  constructor(private readonly folder: FileSystemDirectoryHandle) {}

  get name(): string {
    return this.folder.name;
  }

  locate(path: string): string {
    return `${this.folder.name}/${path}`;
  }

  async open(path: string): Promise<Content | null> {
    const parts = path.split('/').filter((part) => part !== '.');
    const file = parts.pop()!;
    try {
      let folder = this.folder;
      for (const part of parts) folder = await folder.getDirectoryHandle(part);
      return new BlobContent(await (await folder.getFileHandle(file)).getFile());
    } catch (error) {
      if (error instanceof DOMException && error.name === 'NotFoundError') return null;
      throw error;
    }
  }
}
