/** `manifest.json`, typed and checked: unknown, missing or mistyped fields are errors. */

import { BundleError } from './errors.js';

/** The schemas that this host reads; 3 says more of Core ML packages. */
export const SCHEMA_VERSIONS: readonly number[] = [2, 3];
export const MANIFEST_NAME = 'manifest.json';
/** Bytes of a manifest; those of published models have 20 kB. */
export const LARGEST_MANIFEST = 16 * 2 ** 20;

/** The five graphs. */
export type GraphName = 'text_encoder' | 'conditioner' | 'denoiser' | 'decoder' | 'encoder';

const GRAPH_NAMES = ['text_encoder', 'conditioner', 'denoiser', 'decoder', 'encoder'] as const;

type Check<T> = (value: unknown, at: string) => T;
type Checked<C> = C extends Check<infer T> ? T : never;
type Optional<T> = Check<T | undefined> & { readonly optional: true };
type Fields = Record<string, Check<unknown>>;
type OptionalKeys<F extends Fields> = { [K in keyof F]: F[K] extends { optional: true } ? K : never }[keyof F];
type Struct<F extends Fields> = { readonly [K in Exclude<keyof F, OptionalKeys<F>>]: Checked<F[K]> } & {
  readonly [K in OptionalKeys<F>]?: Exclude<Checked<F[K]>, undefined>;
};

function refuse(expected: string, value: unknown, at: string): never {
  const kind = value === null ? 'null' : Array.isArray(value) ? 'an array' : typeof value;
  const shown = typeof value === 'string' || typeof value === 'number' ? `${kind} ${JSON.stringify(value)}` : kind;
  throw new BundleError(`${MANIFEST_NAME} is not valid: expected ${expected}, got ${shown} - at ${at}`);
}

const text: Check<string> = (value, at) => (typeof value === 'string' ? value : refuse('text', value, at));

/** Of so many characters, each a code point. */
function textOf(least: number, most: number): Check<string> {
  return (value, at) => {
    const count = [...text(value, at)].length;
    return count >= least && count <= most ? (value as string) : refuse(`text of ${least} to ${most} characters`, value, at);
  };
}

const truth: Check<boolean> = (value, at) => (typeof value === 'boolean' ? value : refuse('true or false', value, at));
// 1e999 is read as infinity.
const number: Check<number> = (value, at) => (Number.isFinite(value) ? (value as number) : refuse('a number', value, at));
const integer: Check<number> = (value, at) => (Number.isInteger(value) ? (value as number) : refuse('an integer', value, at));

/** Both ends included. */
function within<T extends number>(check: Check<T>, least: number, most: number): Check<T> {
  return (value, at) => {
    const checked = check(value, at);
    return checked >= least && checked <= most ? checked : refuse(`${least} to ${most}`, value, at);
  };
}

function oneOf<const T extends readonly string[]>(choices: T): Check<T[number]> {
  return (value, at) => (choices.includes(value as string) ? (value as T[number]) : refuse(choices.join(' or '), value, at));
}

function list<T>(item: Check<T>, least = 0, most = Infinity): Check<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) return refuse('an array', value, at);
    if (value.length < least) return refuse(`${least} or more entries`, value, at);
    if (value.length > most) return refuse(`at most ${most} entries`, value, at);
    return value.map((entry, index) => item(entry, `${at}[${index}]`));
  };
}

function object(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return refuse('an object', value, at);
  return value as Record<string, unknown>;
}

function map<T>(item: Check<T>, key: Check<string> = text): Check<Readonly<Record<string, T>>> {
  return (value, at) =>
    Object.fromEntries(Object.entries(object(value, at)).map(([name, entry]) => [key(name, at), item(entry, `${at}.${name}`)]));
}

function optional<T>(check: Check<T>): Optional<T> {
  const maybe = (value: unknown, at: string): T | undefined => (value === undefined ? undefined : check(value, at));
  return Object.assign(maybe, { optional: true as const });
}

function struct<F extends Fields>(fields: F): Check<Struct<F>> {
  return (value, at) => {
    const given = object(value, at);
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(fields, name)) throw new BundleError(`${MANIFEST_NAME} is not valid: unknown field ${name} - at ${at}`);
    }
    const made: Record<string, unknown> = {};
    for (const [name, check] of Object.entries(fields)) {
      if (!Object.hasOwn(given, name)) {
        if ('optional' in check) continue;
        throw new BundleError(`${MANIFEST_NAME} is not valid: missing field ${name} - at ${at}`);
      }
      made[name] = check(given[name], `${at}.${name}`);
    }
    return made as Struct<F>;
  };
}

/** A file of the bundle; `path` is relative to its folder, with forward slashes. */
export interface File {
  readonly path: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** An input or output; a name in `shape` is an axis whose length the host chooses. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: 'float32' | 'float16' | 'int64' | 'int32';
  readonly shape: readonly (number | string)[];
}

/** An input of a Core ML package; `pad` and `per` since schema 3. */
export interface PackageInput extends TensorInfo {
  /** How it is filled up to a fixed length. */
  readonly pad?: 'zeros' | 'mask' | 'repeat_last';
  /** Whether it is the same in every step. */
  readonly per?: 'run' | 'step';
}

/** Signal-to-noise ratio against PyTorch at one length. */
export interface Parity {
  readonly length: number;
  readonly snr_db: number;
  readonly psnr_db?: number | null;
}

/** One graph in one format: `files[0]` is the one to load, the others lie beside it. */
export interface Artifact {
  readonly files: readonly File[];
  readonly precision: string;
  readonly parity: readonly Parity[];
  readonly inputs?: readonly PackageInput[];
  readonly outputs?: readonly TensorInfo[];
  readonly functions?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly compute_units?: string | null;
  readonly layers?: Readonly<Record<string, Layer>>;
}

/** Where a graph has a layer's weight, for hosts that merge adapters into it: initializers that are rows of it. */
export interface Layer {
  readonly shape: readonly number[];
  readonly parts: readonly {
    readonly initializer: string;
    readonly first: number;
    readonly rows: number;
    readonly transposed: boolean;
  }[];
}

/** A graph's interface, and its files by format ("onnx"). */
export interface Graph {
  readonly description: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly artifacts: Readonly<Record<string, Artifact>>;
}

/** A LoRA that was merged into the weights. */
export interface Adapter {
  readonly file: string;
  readonly sha256: string;
  readonly strength: number;
}

/** How to cut sequences, in frames. */
export interface Tiles {
  readonly frames: number;
  readonly overlap: number;
  readonly multiple: number;
}

/** The whole file; the contract says what each field means. */
export interface Manifest {
  readonly schema_version: number;
  readonly model: {
    readonly name: string;
    readonly revision: string;
    readonly licence: string;
    readonly synthetic: boolean;
    readonly adapters: readonly Adapter[];
  };
  readonly audio: {
    readonly sample_rate: number;
    readonly channels: number;
    readonly samples_per_frame: number;
    readonly latent_channels: number;
    readonly max_frames: number;
  };
  readonly text: { readonly tokenizer: File; readonly max_tokens: number; readonly hidden_size: number };
  readonly sampler: {
    readonly objective: 'rf_denoiser' | 'rectified_flow';
    readonly logsnr_start: number;
    readonly logsnr_end: number;
    readonly steps: number;
    readonly guidance: number;
    readonly headroom_seconds: number;
  };
  readonly tiles: { readonly decoder: Tiles; readonly encoder: Tiles };
  /** Since schema 3: rows that the denoiser's local embeddings have before those of the frames. */
  readonly memory_tokens?: number;
  readonly graphs: Readonly<Partial<Record<GraphName, Graph>>>;
  readonly made_with: Readonly<Record<string, string>>;
  readonly unknown_config_keys: readonly string[];
}

// Beyond reason: a size that only a mistake, or malice, has is refused before anything is reserved for it.
const LARGEST = 2 ** 20;
const MOST_SAMPLES = 2 ** 29; // of a whole clip, or of a tile with its neighbours, all channels
const size = within(integer, 1, LARGEST);
const countOf = within(integer, 0, LARGEST);
const gain = within(number, -1e6, 1e6);
const name = textOf(0, 1024);
const sha256: Check<string> = (value, at) =>
  /^[0-9a-f]{64}$/.test(text(value, at)) ? (value as string) : refuse('64 hex digits', value, at);
const nullable = <T>(check: Check<T>): Check<T | null> => (value, at) => (value === null ? null : check(value, at));

const file: Check<File> = struct({ path: textOf(1, 1024), sha256, bytes: within(integer, 0, 2 ** 40) });

const axis = within(integer, 0, 2 ** 31);
const tensorFields = {
  name,
  dtype: oneOf(['float32', 'float16', 'int64', 'int32']),
  shape: list<number | string>((value, at) => (typeof value === 'string' ? name : axis)(value, at), 0, 8),
};
const tensorInfo: Check<TensorInfo> = struct(tensorFields);
const packageInput3: Check<PackageInput> = struct({
  ...tensorFields,
  pad: oneOf(['zeros', 'mask', 'repeat_last']),
  per: oneOf(['run', 'step']),
});

const parity: Check<Parity> = struct({ length: integer, snr_db: number, psnr_db: optional(nullable(number)) });

const layer: Check<Layer> = struct({
  shape: list(size, 2, 4),
  parts: list(struct({ initializer: name, first: countOf, rows: size, transposed: truth }), 1),
});

const artifactOf = (input: Check<PackageInput>): Check<Artifact> =>
  struct({
    files: list(file, 1),
    precision: text,
    parity: list(parity),
    inputs: optional(list(input)),
    outputs: optional(list(tensorInfo)),
    functions: optional(map(map(integer))),
    compute_units: optional(nullable(oneOf(['all', 'cpu_and_ne', 'cpu_and_gpu', 'cpu_only']))),
    layers: optional(map(layer, name)),
  });

const graphOf = (input: Check<PackageInput>): Check<Graph> =>
  struct({ description: text, inputs: list(tensorInfo), outputs: list(tensorInfo), artifacts: map(artifactOf(input)) });

const tiles: Check<Tiles> = struct({ frames: size, overlap: countOf, multiple: size });

const manifestFields = {
  schema_version: integer,
  model: struct({
    name: text,
    revision: text,
    licence: text,
    synthetic: truth,
    adapters: list(struct({ file: text, sha256: text, strength: number })),
  }),
  audio: struct({
    sample_rate: size,
    channels: size,
    samples_per_frame: size,
    latent_channels: size,
    max_frames: size,
  }),
  text: struct({ tokenizer: file, max_tokens: size, hidden_size: size }),
  sampler: struct({
    objective: oneOf(['rf_denoiser', 'rectified_flow']),
    logsnr_start: gain,
    logsnr_end: gain,
    steps: within(integer, 1, 10_000),
    guidance: gain,
    headroom_seconds: within(number, 0, 3600),
  }),
  tiles: struct({ decoder: tiles, encoder: tiles }),
  made_with: map(text),
  unknown_config_keys: list(text),
};
const graphsOf = (input: Check<PackageInput>): Check<Manifest['graphs']> => map(graphOf(input), oneOf(GRAPH_NAMES));
const manifest2: Check<Manifest> = struct({ ...manifestFields, graphs: graphsOf(tensorInfo) });
const manifest3: Check<Manifest> = struct({ ...manifestFields, memory_tokens: countOf, graphs: graphsOf(packageInput3) });

/** Read `manifest.json`. Throws BundleError, naming the field. */
export function decodeManifest(data: Uint8Array): Manifest {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(data));
  } catch (error) {
    throw new BundleError(`${MANIFEST_NAME} is not valid: ${(error as Error).message}`);
  }
  const version = object(parsed, '$')['schema_version'];
  if (version !== undefined && !SCHEMA_VERSIONS.includes(version as number)) {
    throw new BundleError(
      `schema version ${JSON.stringify(version)} is not one that this sa3-edge reads ` +
        `(${SCHEMA_VERSIONS.join(' or ')}); export the bundle again or use another sa3-edge`,
    );
  }
  const manifest = (version === 2 ? manifest2 : manifest3)(parsed, '$');
  checkSizes(manifest);
  return manifest;
}

/** Throws BundleError where sizes that are each within bounds ask for more than any model needs together. */
function checkSizes({ audio, tiles }: Manifest): void {
  const frames = Math.max(audio.max_frames, ...[tiles.decoder, tiles.encoder].map((each) => each.frames + 2 * each.overlap));
  if (frames * audio.samples_per_frame * audio.channels > MOST_SAMPLES) {
    throw new BundleError(`${MANIFEST_NAME} is not valid: ${frames} frames of ${audio.samples_per_frame} samples are too many`);
  }
}
