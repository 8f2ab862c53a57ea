/** The command line, for proofs and scripts: options, messages and exits as `sa3-edge generate` has them. */

import { stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { type Bits } from '../audio/wav.js';
import { buildRequest, type ClipOptions, NO_OPTIONS, parseTime } from '../clips/options.js';
import { messageOf, RequestError, Sa3Error } from '../errors.js';
import { type Device, type OnProgress, Pipeline } from '../pipeline.js';
import { type ClipFiles, checkFiles, openRecording, resultOf, summaryOf, VERSION, writeClip } from './files.js';

const USAGE = `usage: cli.js generate PROMPT --model DIR [options]

  --model, -m DIR        the bundle's folder
  --seconds, -s S        length of the clip, seconds or mm:ss: 30, or the recording's, by default
  --seed N               the same seed gives the same music; random by default
  --steps N              denoising steps; the model's own by default
  --headroom S           seconds composed beyond the end and cut off; the model's own by default
  --init-audio FILE      a recording (wav) to start from
  --noise-level X        variation: how far from the recording, 0.01 to 1; 0.7 by default
  --schedule NAME        variation: monotonic (default) or reference
  --inpaint A:B          make a part anew, seconds or mm:ss; repeatable
  --extend S             go on for so many seconds, or mm:ss, after the recording
  --prepend S            begin so many seconds, or mm:ss, before the recording
  --splice, --no-splice  put the recording's own samples back where it is kept (default) or not
  --cfg X                classifier-free guidance; 1 is none. The model's own by default
  --negative-prompt P    what guidance leads away from
  --apg X                adaptive projected guidance: 1 all (default), 0 plain guidance
  --output, -o FILE      the wav file to write; named after the prompt by default
  --overwrite            replace files that are there
  --bits B               16, 24 (default) or float
  --limiter, --no-limiter  turn peaks down, not clip them (default), or not
  --save-latents FILE    also write the latents, (1, C, T) float32 .npy
  --json                 print one JSON object
  --quiet, -q            print only errors
  --debug                show a traceback with errors
  --device D             cpu (onnxruntime-node), wasm, or auto (default): cpu where it is installed
  --threads N            CPU threads
  --version, --help, -h`;

const INTERRUPTED = 130;

/** Exit code 0; 1 for failures, 2 for bad requests, 130 for Ctrl-C. */
export async function main(args: string[]): Promise<number> {
  const stop = new AbortController();
  const interrupt = (): void => {
    if (!stop.signal.aborted) process.stderr.write('interrupted\n');
    stop.abort();
  };
  process.on('SIGINT', interrupt);
  try {
    await run(args, stop.signal);
    return 0;
  } catch (error) {
    if (stop.signal.aborted) return INTERRUPTED;
    const known = error instanceof Sa3Error;
    const fault = `a fault of sa3-edge: ${error instanceof Error ? error.name : 'Error'}: ${messageOf(error)}`;
    process.stderr.write(`error: ${known ? error.message : fault}\n`);
    if (args.includes('--debug') && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`);
    return known ? error.exitCode : 1;
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

const STRING = { type: 'string' } as const;
const FLAG = { type: 'boolean' } as const;

async function run(args: string[], signal: AbortSignal): Promise<void> {
  const { values, positionals, tokens } = parse(args);
  if (values.help || !args.length) return print(USAGE);
  if (values.version) return print(`sa3-edge ${VERSION}`);
  const [command, prompt, ...more] = positionals;
  if (command !== 'generate') throw new RequestError(`No such command '${command ?? ''}'.`);
  if (prompt === undefined) throw new RequestError('give a prompt (it may be empty, "")');
  if (more.length) throw new RequestError(`the prompt is more than one word; put it in quotes: generate "${[prompt, ...more].join(' ')}"`);
  if (values.model === undefined) throw new RequestError("name the bundle's folder: --model DIR");

  const options: ClipOptions = {
    ...NO_OPTIONS,
    seconds: time('seconds', values.seconds),
    seed: whole('seed', values.seed),
    steps: whole('steps', values.steps),
    headroom: time('headroom', values.headroom),
    cfg: real('cfg', values.cfg),
    apg: real('apg', values.apg) ?? NO_OPTIONS.apg,
    negative_prompt: values['negative-prompt'] ?? '',
    init_audio: values['init-audio'] ?? null,
    noise_level: real('noise-level', values['noise-level']),
    schedule: values.schedule ?? null,
    inpaint: values.inpaint ?? [],
    extend: time('extend', values.extend),
    prepend: time('prepend', values.prepend),
    splice: last(tokens, 'splice'),
    limiter: last(tokens, 'limiter'),
  };
  const files: ClipFiles = {
    audio: values.output ?? null,
    latents: values['save-latents'] ?? null,
    bits: bitsOf(values.bits),
    overwrite: values.overwrite ?? false,
  };
  const threads = threadsOf(whole('threads', values.threads));
  await checkFiles(files, options.init_audio);
  const recording = options.init_audio === null ? null : await openRecording(options.init_audio);
  const request = buildRequest(prompt, options, recording && recording.source);
  if (!(await stat(values.model).catch(() => null))?.isDirectory()) throw new RequestError(`no bundle lies in ${values.model}`);
  const device = (values.device ?? 'auto') as Device;
  const pipeline = await Pipeline.open(values.model, { device, signal, ...(threads !== null && { threads }) });
  const quiet = values.json || values.quiet || !process.stderr.isTTY;
  const made = await pipeline.generate(request, { signal, ...(!quiet && { onProgress: showProgress }) });
  signal.throwIfAborted();
  const written = await writeClip(made, pipeline, prompt, options, files, recording && recording.sha256);
  if (values.json) print(JSON.stringify(resultOf(made, written)));
  else if (!values.quiet) {
    for (const note of written.notes) process.stderr.write(`note: ${note}\n`);
    print(summaryOf(made, written));
  }
}

// The type is what parseArgs makes of the options.
// eslint-disable-next-line @typescript-eslint/explicit-function-return-type
function parse(args: string[]) {
  try {
    return parseArgs({
      args: withNegativeNumbers(args),
      allowPositionals: true,
      tokens: true,
      options: {
        model: { ...STRING, short: 'm' },
        seconds: { ...STRING, short: 's' },
        seed: STRING,
        steps: STRING,
        headroom: STRING,
        'init-audio': STRING,
        'noise-level': STRING,
        schedule: STRING,
        inpaint: { ...STRING, multiple: true },
        extend: STRING,
        prepend: STRING,
        splice: FLAG,
        'no-splice': FLAG,
        cfg: STRING,
        'negative-prompt': STRING,
        apg: STRING,
        output: { ...STRING, short: 'o' },
        bits: STRING,
        overwrite: FLAG,
        limiter: FLAG,
        'no-limiter': FLAG,
        debug: FLAG,
        'save-latents': STRING,
        json: FLAG,
        quiet: { ...FLAG, short: 'q' },
        device: STRING,
        threads: STRING,
        version: FLAG,
        help: { ...FLAG, short: 'h' },
      },
    });
  } catch (error) {
    const message = messageOf(error);
    const option = /--[\w-]+|-\w/.exec(message.replace(/-\w, /, ''))?.[0];
    if (message.startsWith('Unknown option')) throw new RequestError(`No such option: ${option}`);
    if (/argument (missing|is ambiguous)/.test(message)) throw new RequestError(`option '${option}' requires an argument`);
    throw new RequestError(message.split(/[.\n]/)[0]!);
  }
}

/** Of two flags that say the opposite, the last one counts; without one it is on. */
function last(tokens: readonly { kind: string; name?: string }[], flag: string): boolean {
  return tokens.findLast(({ name }) => name === flag || name === `no-${flag}`)?.name !== `no-${flag}`;
}

function threadsOf(threads: number | null): number | null {
  const most = availableParallelism();
  if (threads === null || (threads >= 1 && threads <= most)) return threads;
  throw new RequestError(`threads must be from 1 to ${most}, the logical cores of this machine, got ${threads}`);
}

/** `--seed -1` is a number that is refused, not an option that is missing: as `--seed=-1` it is understood. */
function withNegativeNumbers(args: readonly string[]): string[] {
  const joined: string[] = [];
  let options = true;
  for (const argument of args) {
    const before = joined.at(-1);
    options &&= argument !== '--';
    if (options && before !== undefined && /^--[a-z-]+$/.test(before) && /^-\.?\d/.test(argument)) {
      joined[joined.length - 1] = `${before}=${argument}`;
    } else joined.push(argument);
  }
  return joined;
}

const REAL = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|(inf|infinity)|(nan))$/i;

function numberIn(text: string): number | null {
  const match = REAL.exec(text);
  if (!match) return null;
  if (match[1]) return text.startsWith('-') ? -Infinity : Infinity;
  return match[2] ? NaN : Number(text);
}

function real(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  const number = numberIn(text);
  if (number === null) throw new RequestError(`invalid value for '--${name}': '${text}' is not a valid float`);
  return number;
}

/** Seconds, or minutes and seconds. */
function time(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  try {
    return numberIn(text) ?? parseTime(text);
  } catch (error) {
    throw new RequestError(`invalid value for '--${name}': ${messageOf(error)}`);
  }
}

function whole(name: string, text: string | undefined): number | null {
  if (text === undefined) return null;
  if (!/^-?\d+$/.test(text)) throw new RequestError(`invalid value for '--${name}': '${text}' is not a valid int`);
  return Number(text);
}

function bitsOf(text: string | undefined): Bits {
  if (text === undefined) return '24';
  if (text !== '16' && text !== '24' && text !== 'float') {
    throw new RequestError(`wav cannot store ${text} bits; choose 24 or 16 or float`);
  }
  return text;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

const showProgress: OnProgress = (stage, done, total) => {
  process.stderr.write(`\r\u001b[K${done < total ? `${stage} ${done}/${total}` : ''}`);
};
