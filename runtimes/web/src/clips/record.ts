/** The whole request inside a file: what it takes to render a clip again, as JSON in the comment tag. */

import type { Bundle } from '../bundle.js';
import type { Generation } from '../pipeline.js';
import { type ClipOptions, modeOf } from './options.js';

/** How a clip was made; fields that later versions add are ignored. */
export interface ClipRecord {
  readonly version: string;
  readonly mode: string;
  readonly prompt: string;
  /** The command's options by name, with the values that were drawn or taken from the model. */
  readonly options: ClipOptions;
  readonly model: string;
  readonly model_name: string;
  readonly revision: string;
  readonly bundle: string;
  readonly precision: string;
  readonly engine: string;
  readonly engine_version: string;
  readonly synthetic: boolean;
  readonly source_sha256: string | null;
  /** Those merged while the model ran: none, this host merges none. */
  readonly adapters: readonly unknown[];
}

/** What a record says beside the request. */
export interface Circumstances {
  readonly version: string;
  readonly model: string;
  readonly engine: string;
  readonly engineVersion: string;
  readonly sourceSha256: string | null;
}

/** What was asked for, with what the model or chance decided filled in. */
export function makeRecord(
  prompt: string,
  options: ClipOptions,
  made: Generation,
  bundle: Bundle,
  circumstances: Circumstances,
): ClipRecord {
  const mode = modeOf(options);
  const { manifest } = bundle;
  return {
    version: circumstances.version,
    mode,
    prompt,
    options: {
      ...options,
      // A continuation's length follows from its recording.
      seconds: mode === 'continuation' ? null : made.seconds,
      seed: made.seed,
      steps: made.steps,
      headroom: made.headroom,
      cfg: made.guidance,
    },
    model: circumstances.model,
    model_name: manifest.model.name,
    revision: manifest.model.revision,
    bundle: bundle.id,
    precision: bundle.artifact('denoiser').precision,
    engine: circumstances.engine,
    engine_version: circumstances.engineVersion,
    synthetic: manifest.model.synthetic,
    source_sha256: circumstances.sourceSha256,
    adapters: [],
  };
}

/** The comment tag: JSON in ASCII, which the tags of every format carry unchanged. */
export function encodeRecord(record: ClipRecord): string {
  return ascii(JSON.stringify({ 'sa3-edge': record }));
}

/** JSON with its keys in order, no spaces and only ASCII: equal requests are equal text, in every language. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, entry]) => `${canonical(key)}:${canonical(entry)}`).join(',')}}`;
  }
  return ascii(JSON.stringify(value));
}

function ascii(json: string): string {
  return json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
