/** Requests and recordings as vectors describe them. */

import { AudioSource, buildRequest, type GenerationRequest, NO_OPTIONS } from '../dist/index.js';
import { signal } from './vectors.js';

export interface Recording {
  seed: number;
  samples: number;
  gain: number;
}

export function recordingOf({ seed, samples, gain }: Recording): AudioSource {
  const audio = signal({ seed, shape: [2, samples], gain });
  return new AudioSource([audio.subarray(0, samples), audio.subarray(samples)], 44100, 'recording.wav');
}

export function requestOf(request: { prompt: string }, recording: Recording | null): GenerationRequest {
  const { prompt, ...options } = request;
  const source = recording && recordingOf(recording);
  return buildRequest(prompt, { ...NO_OPTIONS, ...options, init_audio: source && source.name }, source);
}
