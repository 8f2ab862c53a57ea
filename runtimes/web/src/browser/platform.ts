/** What opening a bundle means in a browser. */

import type { Bundle, BundleSource } from '../bundle.js';
import type { Engine } from '../engine.js';
import { EngineError, RequestError, Sa3Error } from '../errors.js';
import type { OpenOptions } from '../pipeline.js';
import { WebEngine } from './engine.js';
import { checkGpu, findAdapter } from './gpu.js';
import { DirectorySource, UrlSource } from './store.js';

export { forgetBundles } from './store.js';

/** An address, relative to the page's, or a directory. */
export function sourceOf(source: string | URL | FileSystemDirectoryHandle): BundleSource {
  return typeof source === 'string' || source instanceof URL ? new UrlSource(source) : new DirectorySource(source);
}

/** WebGPU only where it was asked for or can gain anything, and is right; else WebAssembly. */
export async function engineFor(bundle: Bundle, { device = 'auto', threads, wasmPaths, signal }: OpenOptions): Promise<Engine> {
  const options = { threads, wasmPaths };
  const wasm = (): Engine => new WebEngine({ ...options, gpu: false });
  if (device === 'wasm') return wasm();
  if (device !== 'auto' && device !== 'webgpu') {
    throw new RequestError(`unknown device '${device}' in a browser; choose auto, wasm or webgpu`);
  }
  // Integer products have no kernels there: an int8 model would only be copied to and fro.
  const whole = bundle.artifact('denoiser').precision !== 'int8';
  if (device === 'auto' && !whole) return wasm();
  const adapter = await findAdapter();
  if (!adapter) {
    if (device === 'auto') return wasm();
    throw new EngineError('this browser has no GPU that it lets pages use (WebGPU); choose the device wasm');
  }
  try {
    await checkGpu(bundle, adapter, { ...options, gpu: true }, signal);
  } catch (error) {
    if (device === 'auto' && error instanceof Sa3Error) return wasm();
    throw error;
  }
  return new WebEngine({ ...options, gpu: true });
}
