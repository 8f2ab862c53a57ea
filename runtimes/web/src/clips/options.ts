/** The options that shape a clip, as a command line or JSON has them, and what they ask for. */

import type { AudioSource } from '../audio/recording.js';
import { RequestError } from '../errors.js';
import { DEFAULT_NOISE_LEVEL, type GenerationRequest, type Region } from '../request.js';

/** As typed; null or empty is "not given". */
export interface ClipOptions {
  readonly seconds: number | null;
  readonly seed: number | null;
  readonly steps: number | null;
  readonly headroom: number | null;
  readonly cfg: number | null;
  readonly apg: number;
  readonly negative_prompt: string;
  readonly init_audio: string | null;
  readonly noise_level: number | null;
  readonly schedule: string | null;
  readonly inpaint: readonly string[];
  readonly extend: number | null;
  readonly prepend: number | null;
  readonly splice: boolean;
  readonly limiter: boolean;
}

/** Nothing asked for. */
export const NO_OPTIONS: ClipOptions = {
  seconds: null,
  seed: null,
  steps: null,
  headroom: null,
  cfg: null,
  apg: 1,
  negative_prompt: '',
  init_audio: null,
  noise_level: null,
  schedule: null,
  inpaint: [],
  extend: null,
  prepend: null,
  splice: true,
  limiter: true,
};

const TIME = /^(?:(?:\d+:)?\d+(?:\.\d*)?|\.\d+)$/; // seconds, or minutes:seconds

/** What kind of clip these options make. */
export function modeOf(options: ClipOptions): 'text' | 'variation' | 'inpainting' | 'continuation' {
  if (options.inpaint.length) return 'inpainting';
  if (options.extend !== null || options.prepend !== null) return 'continuation';
  return options.init_audio === null ? 'text' : 'variation';
}

/** Seconds from "90", "12.5" or "1:30". Throws RequestError. */
export function parseTime(text: string): number {
  if (!TIME.test(text)) {
    throw new RequestError(`'${text}' is no time; write seconds (12.5) or minutes:seconds (1:30)`);
  }
  const colon = text.indexOf(':');
  const seconds = Number(text.slice(colon + 1));
  if (colon >= 0 && seconds >= 60) throw new RequestError(`'${text}' has more than 59 seconds after the minutes`);
  return (colon < 0 ? 0 : Number(text.slice(0, colon))) * 60 + seconds;
}

/** A region from "4:8", "4:", ":8", "1:30:1:45" or, where that could be read in two ways, "50-1:10". */
export function parseRegion(text: string): Region {
  const dashed = text.includes('-');
  let parts = text.split(dashed ? '-' : ':');
  if (!dashed && parts.length === 4) parts = [`${parts[0]}:${parts[1]}`, `${parts[2]}:${parts[3]}`];
  else if (!dashed && parts.length === 3 && parts[2] === '') parts = [`${parts[0]}:${parts[1]}`, ''];
  else if (!dashed && parts.length === 3 && parts[0] === '') parts = ['', `${parts[1]}:${parts[2]}`];
  if (parts.length !== 2 || parts.every((part) => part === '')) {
    throw new RequestError(
      `'${text}' is no region; write START:END in seconds (4:8, 4:, :8) or with a dash (50-1:10)`,
    );
  }
  const [start, end] = parts.map((part) => (part === '' ? null : parseTime(part)));
  return { start: start!, end: end! };
}

/**
 * The request that options ask for; `source` is the recording of `init_audio`.
 *
 * Throws RequestError for options that do not go together.
 */
export function buildRequest(prompt: string, options: ClipOptions, source: AudioSource | null): GenerationRequest {
  const given = <K extends string, T>(key: K, value: T | null): Partial<Record<K, T>> =>
    value === null ? {} : ({ [key]: value } as Record<K, T>);
  return {
    prompt,
    ...given('seconds', options.seconds),
    ...given('seed', options.seed),
    ...given('steps', options.steps),
    ...given('headroom', options.headroom),
    ...given('guidance', options.cfg),
    ...given('edit', editOf(options, source)),
    negativePrompt: options.negative_prompt,
    apg: options.apg,
    limiter: options.limiter,
  };
}

function editOf(options: ClipOptions, source: AudioSource | null): NonNullable<GenerationRequest['edit']> | null {
  const continues = options.extend !== null || options.prepend !== null;
  const varies = options.noise_level !== null || options.schedule !== null;
  const kinds: [string, boolean][] = [
    ['--noise-level or --schedule', varies],
    ['--inpaint', options.inpaint.length > 0],
    ['--extend or --prepend', continues],
  ];
  const wanted = kinds.filter(([, given]) => given).map(([name]) => name);
  if (wanted.length > 1) throw new RequestError(`${wanted.join(' and ')} do not go together; do one after the other`);
  if (source === null && wanted.length) throw new RequestError(`${wanted[0]} needs a recording: --init-audio FILE`);
  if (!options.splice && (source === null || !(options.inpaint.length || continues))) {
    throw new RequestError('--no-splice needs --inpaint, --extend or --prepend');
  }
  if (source === null) return null;
  const { splice } = options;
  if (options.inpaint.length) return { kind: 'inpainting', source, regions: options.inpaint.map(parseRegion), splice };
  if (continues) {
    return { kind: 'continuation', source, extend: options.extend ?? 0, prepend: options.prepend ?? 0, splice };
  }
  const schedule = options.schedule ?? 'monotonic';
  if (schedule !== 'monotonic' && schedule !== 'reference') {
    throw new RequestError(`unknown schedule '${schedule}'; choose monotonic or reference`);
  }
  return { kind: 'variation', source, noiseLevel: options.noise_level ?? DEFAULT_NOISE_LEVEL, schedule };
}
