/** `manifest.json`, typed and checked: unknown, missing or mistyped fields are errors. */

import { BundleError } from './errors.js';

/** The schemas that this host reads. */
export const SCHEMA_VERSIONS: readonly number[] = [2, 3];
export const MANIFEST_NAME = 'manifest.json';

const GRAPH_NAMES = ['text_encoder', 'conditioner', 'denoiser', 'decoder', 'encoder'] as const;
const DTYPES = ['float32', 'float16', 'int64', 'int32'] as const;
const OBJECTIVES = ['rf_denoiser', 'rectified_flow'] as const;
const COMPUTE_UNITS = ['all', 'cpu_and_ne', 'cpu_and_gpu', 'cpu_only'] as const;
const PADS = ['zeros', 'mask', 'repeat_last'] as const;
const RATES = ['run', 'step'] as const;

/** The five graphs. */
export type GraphName = (typeof GRAPH_NAMES)[number];

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
const truth: Check<boolean> = (value, at) => (typeof value === 'boolean' ? value : refuse('true or false', value, at));
const number: Check<number> = (value, at) => (typeof value === 'number' ? value : refuse('a number', value, at));
const integer: Check<number> = (value, at) => (Number.isInteger(value) ? (value as number) : refuse('an integer', value, at));

function atLeast(least: number): Check<number> {
  return (value, at) => (integer(value, at) >= least ? (value as number) : refuse(`${least} or more`, value, at));
}

function oneOf<const T extends readonly string[]>(choices: T): Check<T[number]> {
  return (value, at) => (choices.includes(value as string) ? (value as T[number]) : refuse(choices.join(' or '), value, at));
}

function list<T>(item: Check<T>, least = 0): Check<readonly T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) return refuse('an array', value, at);
    if (value.length < least) return refuse(`${least} or more entries`, value, at);
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

const size = atLeast(1);

const file = struct({ path: text, sha256: text, bytes: integer });

const tensorInfo = struct({
  name: text,
  dtype: oneOf(DTYPES),
  shape: list<number | string>((value, at) => (typeof value === 'string' ? value : integer(value, at))),
  pad: optional(oneOf(PADS)),
  per: optional(oneOf(RATES)),
});

const artifact = struct({
  files: list(file, 1),
  precision: text,
  parity: list(struct({ length: integer, snr_db: number, psnr_db: optional<number | null>((v, at) => (v === null ? v : number(v, at))) })),
  inputs: optional(list(tensorInfo)),
  outputs: optional(list(tensorInfo)),
  functions: optional(map(map(integer))),
  compute_units: optional<string | null>((value, at) => (value === null ? value : oneOf(COMPUTE_UNITS)(value, at))),
});

const graph = struct({
  description: text,
  inputs: list(tensorInfo),
  outputs: list(tensorInfo),
  artifacts: map(artifact),
});

const tiles = struct({ frames: size, overlap: atLeast(0), multiple: size });

const manifest = struct({
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
    objective: oneOf(OBJECTIVES),
    logsnr_start: number,
    logsnr_end: number,
    steps: size,
    guidance: number,
    headroom_seconds: number,
  }),
  tiles: struct({ decoder: tiles, encoder: tiles }),
  memory_tokens: optional(integer),
  graphs: map(graph, oneOf(GRAPH_NAMES)),
  made_with: map(text),
  unknown_config_keys: list(text),
});

/** A file of the bundle; `path` is relative to its folder, with forward slashes. */
export type File = Checked<typeof file>;
/** An input or output; a name in `shape` is an axis whose length the host chooses. */
export type TensorInfo = Checked<typeof tensorInfo>;
/** One graph in one format: `files[0]` is the one to load, the others lie beside it. */
export type Artifact = Checked<typeof artifact>;
/** A graph's interface, and its files by format. */
export type Graph = Checked<typeof graph>;
/** How to cut a sequence, in frames. */
export type Tiles = Checked<typeof tiles>;
/** The whole file. */
export type Manifest = Checked<typeof manifest>;

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
        `(${SCHEMA_VERSIONS.join(', ')}); export the bundle again or use another sa3-edge`,
    );
  }
  return manifest(parsed, '$');
}
