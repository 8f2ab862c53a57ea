/** Recordings to edit: samples of one or two channels at any rate, fitted to a clip. */

import { RequestError } from '../errors.js';
import { roundHalfEven } from '../numbers.js';
import { resample } from './resample.js';
import { decodeWav } from './wav.js';

const LOOKED_AT = 512; // bytes: every sound file has some by then that no text has
const SILENCE = 1e-5; // -100 dBFS: below the noise of a 16-bit recording
const MARGIN = 4096; // a resampler's filter sees a little beyond the end

/** A recording. */
export class AudioSource {
  /** Throws RequestError for an empty recording, or one of more channels than two. */
  constructor(
    /** One array a channel, all as long. */
    readonly channels: readonly Float32Array[],
    readonly rate: number,
    readonly name = 'the recording',
  ) {
    if (!channels[0]?.length) throw new RequestError(`${name} is empty: it has no audio`);
    if (channels.length > 2) {
      throw new RequestError(`${name} has ${channels.length} channels; one or two are read, mix it down`);
    }
  }

  /** A WAV file. Throws RequestError for any other. */
  static fromWav(data: Uint8Array, name = 'the recording'): AudioSource {
    checkContents(data, name);
    const { channels, rate } = decodeWav(data, name);
    return new AudioSource(channels, rate, name);
  }

  /** Any file that this browser decodes. Throws RequestError if it does not. */
  static async fromFile(file: Blob, rate: number, name = 'the recording'): Promise<AudioSource> {
    const context = new OfflineAudioContext(2, 1, rate); // decoding resamples to the context's rate
    try {
      const decoded = await context.decodeAudioData(await file.arrayBuffer());
      const channels = Array.from({ length: decoded.numberOfChannels }, (_, c) => decoded.getChannelData(c));
      return new AudioSource(channels, decoded.sampleRate, name);
    } catch (error) {
      if (error instanceof RequestError) throw error;
      throw new RequestError(`${name} cannot be read as audio: this browser does not know its format`);
    }
  }

  /** The recording's length in samples at another rate. */
  samplesAt(rate: number): number {
    return roundHalfEven((this.channels[0]!.length * rate) / this.rate);
  }

  /** The first `samples` at `rate`, (channels, samples), silence where the recording has ended. */
  load(samples: number, rate: number, channels: number, notes: string[]): Float32Array {
    const wanted = Math.min(samples, this.samplesAt(rate));
    const used = Math.ceil((wanted * this.rate) / rate) + (rate === this.rate ? 0 : MARGIN);
    const parts = this.channels.map((channel) => channel.subarray(0, used));
    if (!parts.every((part) => part.every(Number.isFinite))) {
      throw new RequestError(`${this.name} holds samples that are not numbers (NaN or infinity)`);
    }
    if (parts.every((part) => part.every((sample) => Math.abs(sample) < SILENCE))) {
      notes.push(`${this.name} is silent where it is used`);
    }
    const fitted = new Float32Array(channels * samples);
    for (let c = 0; c < channels; c++) {
      const part = parts[Math.min(c, parts.length - 1)]!;
      const at = rate === this.rate ? part : resample(part, this.rate, rate);
      fitted.set(at.subarray(0, wanted), c * samples);
    }
    return fitted;
  }
}

/** Throws RequestError for an empty file and for text, which would else be a recording of an unknown format. */
function checkContents(data: Uint8Array, name: string): void {
  if (!data.length) throw new RequestError(`${name} is empty: there is nothing in it`);
  const head = data.subarray(0, LOOKED_AT);
  try {
    // As a stream: a letter that the end of what is looked at has cut is none that is wrong.
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(head, { stream: true });
    if (text && /^[^\p{C}\p{Z}]*$/u.test(text.replace(/[ \r\n\t\ufeff]/g, ''))) {
      throw new RequestError(`${name} is a text, not a recording`);
    }
  } catch (error) {
    if (error instanceof RequestError) throw error;
  }
}
