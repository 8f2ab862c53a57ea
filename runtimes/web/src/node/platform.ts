/** What opening a bundle means in Node. */

import { fileURLToPath } from 'node:url';
import type { Bundle, BundleSource } from '../bundle.js';
import type { Engine } from '../engine.js';
import { RequestError } from '../errors.js';
import type { OpenOptions } from '../pipeline.js';
import { NodeEngine } from './engine.js';
import { FolderSource } from './folder.js';

/** A folder's path, or its file: address. */
export function sourceOf(source: string | URL | FileSystemDirectoryHandle): BundleSource {
  if (source instanceof URL) return new FolderSource(fileURLToPath(source));
  if (typeof source === 'string') return new FolderSource(source);
  throw new RequestError('in Node a bundle is opened by the path of its folder');
}

/** onnxruntime-node where it is installed; else, or with the device "wasm", onnxruntime-web. */
export async function engineFor(_bundle: Bundle, { device = 'auto', threads }: OpenOptions): Promise<Engine> {
  switch (device) {
    case 'cpu':
      return NodeEngine.native(threads);
    case 'wasm':
      return NodeEngine.wasm(threads);
    case 'auto':
      try {
        import.meta.resolve('onnxruntime-node');
      } catch {
        return NodeEngine.wasm(threads);
      }
      return NodeEngine.native(threads);
    default:
      throw new RequestError(`unknown device '${device}' in Node; choose cpu or wasm`);
  }
}

/** In Node nothing is downloaded, so there is nothing to forget. */
export async function forgetBundles(): Promise<void> {}
