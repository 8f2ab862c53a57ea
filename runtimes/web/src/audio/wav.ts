/** WAV files: samples in and out, and what a file says of itself in its INFO chunk. */

import { RequestError } from '../errors.js';
import { roundHalfEven } from '../numbers.js';

/** What a WAV file holds; one array a channel. */
export interface Wav {
  readonly channels: Float32Array[];
  readonly rate: number;
  /** By RIFF's names: INAM is the title, ICMT the comment. */
  readonly info: Readonly<Record<string, string>>;
}

/** How samples are stored. */
export type Bits = '16' | '24' | 'float';

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

/** Read a WAV file. Throws RequestError for anything else. */
export function decodeWav(data: Uint8Array, name: string): Wav {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const tag = (at: number): string => String.fromCharCode(...data.subarray(at, at + 4));
  if (data.length < 12 || tag(0) !== 'RIFF' || tag(8) !== 'WAVE') {
    throw new RequestError(`${name} cannot be read as audio: its format is unknown; convert it to wav`);
  }
  let format: { kind: number; channels: number; rate: number; bits: number } | undefined;
  let samples: Float32Array[] | undefined;
  const info: Record<string, string> = {};
  for (let at = 12; at + 8 <= data.length; ) {
    const size = view.getUint32(at + 4, true);
    const start = at + 8;
    if (tag(at) === 'fmt ' && start + 16 <= data.length) {
      const kind = view.getUint16(start, true);
      format = {
        kind: kind === EXTENSIBLE && size >= 40 ? view.getUint16(start + 24, true) : kind,
        channels: view.getUint16(start + 2, true),
        rate: view.getUint32(start + 4, true),
        bits: view.getUint16(start + 14, true),
      };
    } else if (tag(at) === 'data' && format) {
      if (start + size > data.length && size !== 0xffffffff) {
        throw new RequestError(`${name} is damaged: its samples end too early`);
      }
      samples = readSamples(view, start, Math.min(size, data.length - start), format, name);
    } else if (tag(at) === 'LIST' && tag(start) === 'INFO') {
      for (let field = start + 4; field + 8 <= Math.min(start + size, data.length); ) {
        const length = view.getUint32(field + 4, true);
        const text = new TextDecoder().decode(data.subarray(field + 8, field + 8 + length));
        info[tag(field)] = text.split('\0')[0]!;
        field += 8 + length + (length % 2);
      }
    }
    at = start + size + (size % 2);
  }
  if (!format || !samples) throw new RequestError(`${name} cannot be read as audio: it has no samples`);
  return { channels: samples, rate: format.rate, info };
}

function readSamples(
  view: DataView,
  start: number,
  size: number,
  format: { kind: number; channels: number; bits: number },
  name: string,
): Float32Array[] {
  const width = format.bits / 8;
  const read: Record<string, ((at: number) => number) | undefined> = {
    [`${PCM}:8`]: (at) => (view.getUint8(at) - 128) / 2 ** 7,
    [`${PCM}:16`]: (at) => view.getInt16(at, true) / 2 ** 15,
    [`${PCM}:24`]: (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
    [`${PCM}:32`]: (at) => view.getInt32(at, true) / 2 ** 31,
    [`${FLOAT}:32`]: (at) => view.getFloat32(at, true),
    [`${FLOAT}:64`]: (at) => view.getFloat64(at, true),
  };
  const sample = read[`${format.kind}:${format.bits}`];
  if (!sample || format.channels === 0) {
    throw new RequestError(`${name} cannot be read as audio: WAV of 8 to 32 bits or float is known; convert it`);
  }
  const frames = Math.floor(size / width / format.channels);
  return Array.from({ length: format.channels }, (_, c) =>
    Float32Array.from({ length: frames }, (_, i) => sample(start + (i * format.channels + c) * width)),
  );
}

/** A WAV file of `channels`, and how many samples were beyond full scale and are clipped. */
export function encodeWav(
  channels: readonly Float32Array[],
  rate: number,
  bits: Bits,
  info: Readonly<Record<string, string>> = {},
): { data: Uint8Array<ArrayBuffer>; clipped: number } {
  const frames = channels[0]!.length;
  const width = bits === 'float' ? 4 : Number(bits) / 8;
  const size = frames * channels.length * width;
  const list = infoChunk(info);
  const data = new Uint8Array(44 + size + (size % 2) + list.length);
  const view = new DataView(data.buffer);
  const ascii = (at: number, text: string): void => data.set(new TextEncoder().encode(text), at);
  ascii(0, 'RIFF');
  view.setUint32(4, data.length - 8, true);
  ascii(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, bits === 'float' ? FLOAT : PCM, true);
  view.setUint16(22, channels.length, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * channels.length * width, true);
  view.setUint16(32, channels.length * width, true);
  view.setUint16(34, width * 8, true);
  ascii(36, 'data');
  view.setUint32(40, size, true);
  const clipped = writeSamples(view, channels, bits);
  data.set(list, 44 + size + (size % 2));
  return { data, clipped };
}

/** Integers by a power of two, so that a sample read from such a file is written back as it was; 16 bits are dithered. */
function writeSamples(view: DataView, channels: readonly Float32Array[], bits: Bits): number {
  const full = bits === 'float' ? 0 : 2 ** (Number(bits) - 1);
  const width = bits === 'float' ? 4 : Number(bits) / 8;
  const dither = lcg();
  let clipped = 0;
  let at = 44;
  for (let i = 0; i < channels[0]!.length; i++) {
    for (const channel of channels) {
      if (bits === 'float') view.setFloat32(at, channel[i]!, true);
      else {
        const scaled = channel[i]! * full;
        const rough = bits === '16' && !Number.isInteger(scaled) ? scaled + dither() - dither() : scaled;
        const rounded = roundHalfEven(rough);
        const value = Math.max(-full, Math.min(full - 1, rounded));
        if (value !== rounded) clipped++;
        if (bits === '16') view.setInt16(at, value, true);
        else {
          view.setUint16(at, value & 0xffff, true);
          view.setInt8(at + 2, value >> 16);
        }
      }
      at += width;
    }
  }
  return clipped;
}

/** Uniforms in [0, 1), the same each time: the same request gives the same file. */
function lcg(): () => number {
  let state = 1;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
}

function infoChunk(info: Readonly<Record<string, string>>): Uint8Array {
  const fields = Object.entries(info).filter(([, text]) => text);
  if (!fields.length) return new Uint8Array();
  const chunk = (name: string, content: Uint8Array): Uint8Array => {
    const made = new Uint8Array(8 + content.length + (content.length % 2));
    made.set(new TextEncoder().encode(name));
    new DataView(made.buffer).setUint32(4, content.length, true);
    made.set(content, 8);
    return made;
  };
  const parts = fields.map(([name, text]) => chunk(name, new TextEncoder().encode(`${text}\0`)));
  const content = new Uint8Array(4 + parts.reduce((sum, part) => sum + part.length, 0));
  content.set(new TextEncoder().encode('INFO'));
  let at = 4;
  for (const part of parts) {
    content.set(part, at);
    at += part.length;
  }
  return chunk('LIST', content);
}
