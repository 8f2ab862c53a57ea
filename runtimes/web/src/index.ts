/**
 * Stable Audio 3 small in the browser and in Node.
 *
 * ```ts
 * const pipeline = await Pipeline.open('https://example.org/small-music/', { onProgress });
 * const made = await pipeline.generate({ prompt: 'lofi piano', seconds: 30, seed: 42 });
 * made.audio; // [left, right], Float32Array each, at made.sampleRate
 * ```
 *
 * @module
 */

export { forgetBundles } from '#platform';
export { limit } from './audio/limiter.js';
export { AudioSource } from './audio/recording.js';
export { type Bits, decodeWav, encodeWav, type Wav } from './audio/wav.js';
export { BlobContent, Bundle, type BundleSource, type Content, type OnBytes, type Wanted } from './bundle.js';
export { buildRequest, type ClipOptions, modeOf, NO_OPTIONS, parseRegion, parseTime } from './clips/options.js';
export { canonical, type Circumstances, type ClipRecord, encodeRecord, makeRecord } from './clips/record.js';
export type { Engine, Session } from './engine.js';
export { BundleError, DownloadError, EngineError, RequestError, Sa3Error } from './errors.js';
export type { Adapter, Artifact, File, Graph, GraphName, Layer, Manifest, PackageInput, Parity, TensorInfo, Tiles } from './manifest.js';
export {
  type AudioPiece,
  type Device,
  type Generation,
  type OnProgress,
  type OpenOptions,
  Pipeline,
  type RunOptions,
  type Stage,
  type Summary,
} from './pipeline.js';
export type { Continuation, GenerationRequest, Inpainting, Region, Variation } from './request.js';
export type { Tensor, Tensors } from './tensor.js';
