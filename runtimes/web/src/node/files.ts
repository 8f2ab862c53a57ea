/** Clips as files: where they go, what is written into them and what is said of them. */

import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, link, lstat, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { AudioSource } from '../audio/recording.js';
import { type Bits, encodeWav } from '../audio/wav.js';
import type { ClipOptions } from '../clips/options.js';
import { type ClipRecord, encodeRecord, makeRecord } from '../clips/record.js';
import { RequestError, Sa3Error } from '../errors.js';
import type { Generation, Pipeline } from '../pipeline.js';

/** This package's version. */
export const VERSION = (createRequire(import.meta.url)('../../package.json') as { version: string }).version;

const LONGEST_STEM = 40;
const LONGEST_TITLE = 100;

/** The files to write; `audio` null means a name after the prompt. */
export interface ClipFiles {
  readonly audio: string | null;
  readonly latents: string | null;
  readonly bits: Bits;
  /** Replace files that are there. */
  readonly overwrite: boolean;
}

/** A clip that was written, with the notes that writing it added. */
export interface WrittenClip {
  readonly audio: string;
  readonly latents: string | null;
  readonly notes: readonly string[];
  readonly record: ClipRecord;
}

/** Throws RequestError if the files cannot be made; asked before any work. */
export async function checkFiles(files: ClipFiles, recording: string | null): Promise<void> {
  if (files.latents !== null) {
    if (extname(files.latents) !== '.npy') throw new RequestError(`the latents must be a .npy file, got ${files.latents}`);
    await checkDestination(files.latents);
  }
  if (files.audio !== null) {
    const suffix = extname(files.audio);
    if (!suffix) throw new RequestError(`the output ${files.audio} has no suffix; choose wav, as in a.wav`);
    if (suffix.toLowerCase() !== '.wav') throw new RequestError(`${suffix} is no known format; choose wav`);
  }
  await checkDestination(files.audio ?? join('.', 'clip.wav'));
  for (const path of [files.audio, files.latents]) {
    if (path === null) continue;
    if (recording !== null && (await isSameFile(path, recording))) {
      throw new RequestError(`${path} is the recording that is edited and would be lost; name another file`);
    }
    if (!files.overwrite && (await lstat(path).catch(() => null))) throw new RequestError(isThere(path, path === files.audio));
  }
}

function isThere(path: string, audio: boolean): string {
  const otherwise = audio ? ', without --output a clip gets a name of its own' : '';
  return `${path} exists and is not replaced; --overwrite does${otherwise}`;
}

async function checkDestination(path: string): Promise<void> {
  const folder = dirname(path);
  if ((await stat(path).catch(() => null))?.isDirectory()) throw new RequestError(`${path} is a directory; name a file`);
  if (!(await stat(folder).catch(() => null))?.isDirectory()) {
    throw new RequestError(`the directory ${folder} does not exist`);
  }
  await access(folder, constants.W_OK).catch(() => {
    throw new RequestError(`the directory ${folder} is not writable`);
  });
}

async function isSameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([a, b].map((path) => stat(path).catch(() => null)));
  return one != null && other != null && one.dev === other.dev && one.ino === other.ino;
}

/** A recording and its hash. Throws RequestError if it is missing or no WAV file. */
export async function openRecording(path: string): Promise<{ source: AudioSource; sha256: string }> {
  let data: Buffer;
  try {
    data = await readFile(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new RequestError(`the audio file ${path} does not exist`);
    if (code === 'EISDIR') throw new RequestError(`${path} is a folder, not a recording`);
    throw new RequestError(`${path} cannot be read as audio: ${(error as Error).message}`);
  }
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { source: AudioSource.fromWav(bytes, path), sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Write a clip and whatever else was asked for; no file appears before it is whole. */
export async function writeClip(
  made: Generation,
  pipeline: Pipeline,
  prompt: string,
  options: ClipOptions,
  files: ClipFiles,
  sourceSha256: string | null,
): Promise<WrittenClip> {
  const audio = files.audio ?? (await freeName(prompt, made.seed));
  const notes = [...made.notes];
  const record = makeRecord(prompt, { ...options, init_audio: storedPath(options.init_audio, audio) }, made, pipeline.bundle, {
    version: VERSION,
    model: '', // a bundle in a folder has no name that it was asked for by
    engine: pipeline.engine.name,
    engineVersion: pipeline.engine.describe(),
    sourceSha256,
  });
  const points = [...prompt];
  let title = points.length <= LONGEST_TITLE ? prompt : `${points.slice(0, LONGEST_TITLE - 3).join('')}...`;
  if (record.synthetic) {
    title += ' (random weights: noise)';
    notes.push(`${record.model_name} is untrained (random weights): what it makes is noise`);
  }
  const info = { INAM: title, ISFT: `sa3-edge ${VERSION}`, ICMT: encodeRecord(record) };
  const { data, clipped } = encodeWav(made.audio, made.sampleRate, files.bits, info);
  await writeWhole(audio, data, files.overwrite);
  if (clipped) notes.push(`${clipped} samples were louder than full scale and are clipped`);
  if (files.latents !== null) await writeWhole(files.latents, encodeNpy(made.latents, made.latentsShape), files.overwrite);
  return { audio, latents: files.latents, notes, record };
}

/** A recording's name in a clip: relative where that says nothing of the folders above, else bare. */
function storedPath(recording: string | null, clip: string): string | null {
  if (recording === null) return null;
  const parts = relative(dirname(resolve(clip)), resolve(recording)).split(/[/\\]/);
  const named = parts.filter((part) => part !== '..');
  return named.length === 1 || named.length === parts.length ? parts.join('/') : basename(recording);
}

async function writeWhole(path: string, data: Uint8Array, replace: boolean): Promise<void> {
  const temporary = join(dirname(path), `.sa3-edge-${randomBytes(6).toString('hex')}`);
  try {
    await writeFile(temporary, data);
    // A link, unlike a move, does not replace what came there meanwhile; some file systems have none.
    const linked = !replace && (await link(temporary, path).then(() => true, refuseReplacing));
    if (!linked) await rename(temporary, path);
  } catch (error) {
    throw new Sa3Error(`${path} cannot be written: ${(error as Error).message}`);
  } finally {
    await rm(temporary, { force: true });
  }
}

function refuseReplacing(error: NodeJS.ErrnoException): boolean {
  if (error.code === 'EEXIST') throw error;
  return false;
}

/** A readable name in the current directory that no file has: lofi-piano-42.wav, lofi-piano-42-2.wav. */
async function freeName(prompt: string, seed: number): Promise<string> {
  const words = (prompt.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []).join('-');
  const stem = `${[...words].slice(0, LONGEST_STEM).join('').replace(/^-+|-+$/g, '') || 'untitled'}-${seed}`;
  for (let count = 1; ; count++) {
    const name = count === 1 ? `${stem}.wav` : `${stem}-${count}.wav`;
    if (!(await stat(name).catch(() => null))) return name;
  }
}

/** NumPy's format 1.0, little-endian fp32. */
export function encodeNpy(values: Float32Array, shape: readonly number[]): Uint8Array {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const header = Buffer.alloc(10);
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(length, 8);
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return Buffer.concat([header, Buffer.from(`${text.padEnd(length - 1)}\n`, 'latin1'), data]);
}

/** The clip in a line. */
export function summaryOf(made: Generation, written: WrittenClip): string {
  const length = made.audio[0]!.length / made.sampleRate;
  const total = made.timings['total']!;
  const speed = `${(length / total).toFixed(1)}x real time`;
  return `${written.audio}  ${length.toFixed(2)} s of audio in ${total.toFixed(2)} s (${speed})  seed ${made.seed}`;
}

/** The clip as a JSON object. */
export function resultOf(made: Generation, { audio, latents, notes, record }: WrittenClip): Record<string, unknown> {
  const samples = made.audio[0]!.length;
  const timings = Object.entries(made.timings).map(([key, time]) => [key, Math.round(time * 1e4) / 1e4] as const);
  return {
    file: audio,
    latents_file: latents,
    prompt: record.prompt,
    seconds: made.seconds,
    samples,
    sample_rate: made.sampleRate,
    seed: made.seed,
    steps: made.steps,
    headroom: made.headroom,
    cfg: made.guidance,
    mode: record.mode,
    options: record.options,
    model: { name: record.model_name, revision: record.revision, bundle: record.bundle },
    precision: record.precision,
    synthetic: record.synthetic,
    engine: record.engine_version,
    version: record.version,
    timings: Object.fromEntries(timings),
    realtime_factor: Math.round((samples / made.sampleRate / made.timings['total']!) * 100) / 100,
    notes,
  };
}
