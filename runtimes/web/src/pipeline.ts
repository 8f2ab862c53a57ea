/** Text and recordings to audio: the graphs of a bundle, run in order, with the sampler between them. */

import { engineFor, sourceOf } from '#platform';
import { join, Limiter } from './audio/limiter.js';
import { Bundle, type OnBytes } from './bundle.js';
import { keepMask, type Plan, planRequest, splice } from './editing.js';
import { type Engine, GraphRunner } from './engine.js';
import { RequestError } from './errors.js';
import { checkGuidance, guided } from './guidance.js';
import { SEEDS } from './noise.js';
import { DEFAULT_NOISE_LEVEL, type GenerationRequest } from './request.js';
import { euler, LatentNoise, pingPong, schedule, type Velocity } from './sampling.js';
import { type Tensors, tensor, values } from './tensor.js';
import { decodeTiles, encodeTiles } from './tiling.js';
import { Tokenizer } from './tokenizer.js';

/** Far beyond what any sampler gains by. */
export const MOST_STEPS = 10_000;

/** The stages of a run, in their order; "encode" only with a recording. */
export type Stage = 'text' | 'encode' | 'condition' | 'denoise' | 'decode';
/** Steps done of a stage, and steps in all. */
export type OnProgress = (stage: Stage, done: number, total: number) => void;

/** How a run may be followed and stopped. */
export interface RunOptions {
  /** Stops the run within a step or a tile; what is thrown then is the signal's reason. */
  readonly signal?: AbortSignal;
  readonly onProgress?: OnProgress;
}

/** How a bundle is opened, and where it computes. */
export interface OpenOptions {
  /**
   * In a browser "auto" (default), "wasm" or "webgpu"; in Node "cpu" (onnxruntime-node, if it is installed) or "wasm".
   * A GPU is used only after it has computed one step of this model as WebAssembly does.
   */
  readonly device?: Device;
  /** Called as the bundle's files are fetched and checked. */
  readonly onProgress?: OnBytes;
  readonly signal?: AbortSignal;
  /** CPU threads; the engine's own choice by default. */
  readonly threads?: number;
  /** In a browser: the folder with onnxruntime-web's .wasm files, if they are not beside the script. */
  readonly wasmPaths?: string;
}

/** Where graphs run. */
export type Device = 'auto' | 'cpu' | 'wasm' | 'webgpu';

/** What was made. */
export interface Generation {
  /** One array a channel, int(seconds * sampleRate) samples; without the limiter peaks may exceed 1. */
  readonly audio: Float32Array[];
  readonly sampleRate: number;
  /** (1, C, T), T the valid frames with the headroom. */
  readonly latents: Float32Array;
  readonly latentsShape: readonly [1, number, number];
  readonly seed: number;
  readonly seconds: number;
  readonly steps: number;
  readonly headroom: number;
  readonly guidance: number;
  /** Seconds by stage, e.g. "denoiser.load", "denoiser.run", and "total". */
  readonly timings: Readonly<Record<string, number>>;
  /** What the user should know, e.g. that the prompt was cut. */
  readonly notes: readonly string[];
}

/** A part of a clip as it is decoded. */
export interface AudioPiece {
  /** One array a channel. */
  readonly audio: Float32Array[];
  /** Where it begins in the clip, in samples. */
  readonly start: number;
  /** The clip's length in samples. */
  readonly total: number;
  readonly sampleRate: number;
}

/** All but the audio, known when the last piece is out. */
export type Summary = Omit<Generation, 'audio'>;

interface Settled {
  readonly headroom: number;
  readonly steps: number;
  readonly guidance: number;
  readonly apg: number;
  readonly seed: number;
}

/** A bundle that generates audio. */
export class Pipeline {
  private readonly graphs: GraphRunner;
  private busy = false;

  private constructor(
    readonly bundle: Bundle,
    readonly engine: Engine,
    private readonly tokenizer: Tokenizer,
  ) {
    this.graphs = new GraphRunner(bundle, engine);
  }

  /** A pipeline of a verified bundle. Throws BundleError if its tokenizer is none. */
  static async create(bundle: Bundle, engine: Engine): Promise<Pipeline> {
    const { tokenizer, max_tokens: longest } = bundle.manifest.text;
    const content = new TextDecoder().decode(await (await bundle.read(tokenizer)).bytes());
    return new Pipeline(bundle, engine, new Tokenizer(content, longest, bundle.source.locate(tokenizer.path)));
  }

  /**
   * Open a bundle: an address, a directory that the user has picked, or in Node a folder's path.
   *
   * From an address its files are downloaded once and kept; `onProgress` follows that. Graphs are loaded when they are
   * needed and freed after. Throws BundleError if the bundle is not whole, DownloadError if it cannot be fetched,
   * EngineError if the device cannot be used.
   */
  static async open(source: string | URL | FileSystemDirectoryHandle, options: OpenOptions = {}): Promise<Pipeline> {
    const bundle = await Bundle.open(sourceOf(source), options.onProgress, options.signal);
    return Pipeline.create(bundle, await engineFor(bundle, options));
  }

  /** Give back all that is held between clips; the next one takes it again. */
  close(): void {
    this.engine.close?.();
  }

  /**
   * Make one clip.
   *
   * Throws RequestError for values that cannot be, before anything is computed, and EngineError if a graph fails.
   */
  async generate(request: GenerationRequest, options: RunOptions = {}): Promise<Generation> {
    const pieces: Float32Array[][] = [];
    const stream = this.stream(request, options);
    for (let next = await stream.next(); ; next = await stream.next()) {
      if (next.done) return { audio: join(pieces), ...next.value };
      pieces.push(next.value.audio);
    }
  }

  /**
   * Make one clip, and yield its audio as it is decoded; returns all else. Breaking off the loop stops the run.
   *
   * Errors as `generate`.
   */
  async *stream(request: GenerationRequest, options: RunOptions = {}): AsyncGenerator<AudioPiece, Summary> {
    const { manifest } = this.bundle;
    const notes: string[] = [];
    const settled = this.settle(request);
    const plan = planRequest(request, settled.headroom, manifest, notes);
    if (this.busy) throw new RequestError('this pipeline is making a clip; wait for it, or open another one');
    this.busy = true;
    const start = performance.now();
    this.graphs.timings = {};
    try {
      const latents = await this.makeLatents(request, settled, plan, notes, options);
      yield* this.decode(latents, plan, request.limiter !== false, options);
      return {
        sampleRate: manifest.audio.sample_rate,
        latents,
        latentsShape: [1, manifest.audio.latent_channels, plan.lengths.valid],
        seed: settled.seed,
        seconds: plan.seconds,
        steps: settled.steps,
        headroom: settled.headroom,
        guidance: settled.guidance,
        timings: { ...this.graphs.timings, total: (performance.now() - start) / 1000 },
        notes,
      };
    } finally {
      await this.graphs.doneWith();
      this.busy = false;
    }
  }

  private settle(request: GenerationRequest): Settled {
    const { sampler } = this.bundle.manifest;
    const { headroom = sampler.headroom_seconds, steps = sampler.steps, guidance = sampler.guidance, apg = 1 } = request;
    const { seed = crypto.getRandomValues(new Uint32Array(1))[0]! } = request;
    if (!Number.isInteger(seed) || seed < 0 || seed >= SEEDS) {
      throw new RequestError(`seed must be between 0 and ${SEEDS - 1}, got ${seed}`);
    }
    if (!Number.isInteger(steps) || steps < 1 || steps > MOST_STEPS) {
      throw new RequestError(`steps must be from 1 to ${MOST_STEPS}, got ${steps}`);
    }
    checkGuidance(guidance, apg, request.negativePrompt ?? '');
    return { headroom, steps, guidance, apg, seed };
  }

  private async makeLatents(
    request: GenerationRequest,
    settled: Settled,
    plan: Plan,
    notes: string[],
    options: RunOptions,
  ): Promise<Float32Array> {
    const text = await this.encodeText(request.prompt, notes, options);
    const negative = request.negativePrompt ? await this.encodeText(request.negativePrompt, notes, options) : null;
    await this.graphs.doneWith('text_encoder');
    const source = plan.source ? await this.encodeSource(plan.source, plan, options) : null;

    options.onProgress?.('condition', 0, 1);
    const kept = this.whatToKeep(plan, source);
    const conditioning = await this.condition(text, plan.seconds, kept, 1, options);
    let other: Tensors | null = null;
    if (negative) other = await this.condition(negative, plan.seconds, kept, 0, options);
    else if (settled.guidance !== 1) other = unconditional(conditioning);
    await this.graphs.doneWith('conditioner');
    options.onProgress?.('condition', 1, 1);

    const velocity = this.velocity(conditioning, plan, options);
    const guidedVelocity = other
      ? guided(velocity, this.velocity(other, plan, options), settled.guidance, settled.apg)
      : velocity;
    const latents = await this.sample(guidedVelocity, request, settled, plan, plan.regions ? null : source, options);
    await this.graphs.doneWith('denoiser');
    return latents;
  }

  /** Hidden states (1, n, W) and their mask (1, n). */
  private async encodeText(prompt: string, notes: string[], options: RunOptions): Promise<Tensors> {
    options.onProgress?.('text', 0, 1);
    const { ids, cut } = this.tokenizer.encode(prompt);
    if (cut) notes.push(`the prompt is ${cut} tokens too long; the model reads the first ${ids.length}`);
    const count = Math.max(1, ids.length);
    const width = this.bundle.manifest.text.hidden_size;
    // An empty prompt is all padding: one masked position stands for a text of no tokens.
    let hidden = tensor(new Float32Array(width), [1, 1, width]);
    if (ids.length) {
      const input_ids = { data: BigInt64Array.from(ids, BigInt), dims: [1, count] };
      hidden = tensor(values(await this.graphs.run('text_encoder', { input_ids }, {}, options.signal), 'hidden'), [1, count, width]);
    }
    options.onProgress?.('text', 1, 1);
    return { hidden, text_mask: tensor(new Float32Array(count).fill(ids.length ? 1 : 0), [1, count]) };
  }

  /** The recording's latents (C, valid). */
  private async encodeSource(source: Float32Array, plan: Plan, options: RunOptions): Promise<Float32Array> {
    const { audio, tiles } = this.bundle.manifest;
    options.onProgress?.('encode', 0, 1);
    const encode = async (samples: Float32Array, frames: number): Promise<Float32Array> => {
      const input = { audio: tensor(samples, [1, audio.channels, frames * audio.samples_per_frame]) };
      return values(await this.graphs.run('encoder', input, {}, options.signal), 'latents');
    };
    const { channels, latent_channels: width, samples_per_frame: frame } = audio;
    const latents = await encodeTiles(encode, source, channels, width, plan.lengths.valid, tiles.encoder, frame);
    await this.graphs.doneWith('encoder');
    options.onProgress?.('encode', 1, 1);
    return latents;
  }

  /** The conditioner's inputs about a recording; without one, a single zero frame stands for all. */
  private whatToKeep(plan: Plan, source: Float32Array | null): Tensors {
    const { audio } = this.bundle.manifest;
    const width = audio.latent_channels;
    const keep = plan.regions ? keepMask(plan.lengths, plan.regions, audio.samples_per_frame) : new Float32Array(1);
    const frames = keep.length;
    const masked = new Float32Array(width * frames);
    if (plan.regions && source) for (let i = 0; i < masked.length; i++) masked[i] = source[i]! * keep[i % frames]!;
    return {
      inpaint_mask: tensor(keep, [1, 1, frames]),
      inpaint_masked_input: tensor(masked, [1, width, frames]),
    };
  }

  /** Everything that the steps share, under the names of the denoiser's inputs. */
  private condition(text: Tensors, seconds: number, kept: Tensors, padding: number, options: RunOptions): Promise<Tensors> {
    const scalars = { padding_scale: tensor([padding], [1]), seconds: tensor([seconds], [1]) };
    return this.graphs.run('conditioner', { ...text, ...scalars, ...kept }, {}, options.signal);
  }

  private velocity(conditioning: Tensors, plan: Plan, options: RunOptions): Velocity {
    const dims = [1, this.bundle.manifest.audio.latent_channels, plan.lengths.valid];
    return async (x, t) => {
      const inputs = { x: tensor(x, dims), t: tensor([t], [1]) };
      return values(await this.graphs.run('denoiser', inputs, conditioning, options.signal), 'velocity');
    };
  }

  private async sample(
    velocity: Velocity,
    request: GenerationRequest,
    settled: Settled,
    plan: Plan,
    init: Float32Array | null,
    options: RunOptions,
  ): Promise<Float32Array> {
    const { audio, sampler } = this.bundle.manifest;
    const noise = new LatentNoise(settled.seed, audio.latent_channels, plan.lengths.allocated, plan.lengths.valid);
    const timesteps = this.timesteps(request, settled.steps);
    const onStep = (done: number, total: number): void => options.onProgress?.('denoise', done, total);
    onStep(0, settled.steps);
    let x = noise.draw();
    if (init) {
      const level = timesteps[0]!;
      const rest = Math.fround(1 - level);
      x = x.map((value, i) => Math.fround(init[i]! * rest) + Math.fround(value * level));
    }
    if (sampler.objective === 'rf_denoiser') return pingPong(velocity, x, timesteps, noise, onStep);
    return euler(velocity, x, timesteps, onStep);
  }

  private timesteps(request: GenerationRequest, steps: number): Float32Array {
    const { logsnr_start: start, logsnr_end: end } = this.bundle.manifest.sampler;
    if (request.edit?.kind !== 'variation') return schedule(steps, start, end);
    const level = request.edit.noiseLevel ?? DEFAULT_NOISE_LEVEL;
    if (request.edit.schedule === 'reference') return schedule(steps, start, end, level);
    const rounded = Math.fround(level);
    return schedule(steps, start, end).map((t) => t * rounded);
  }

  /** Latents (C, T) to audio; only the frames that are heard are decoded. */
  private async *decode(latents: Float32Array, plan: Plan, limited: boolean, options: RunOptions): AsyncGenerator<AudioPiece> {
    const { audio, tiles } = this.bundle.manifest;
    const { channels, samples_per_frame: frame, sample_rate: sampleRate, latent_channels: width } = audio;
    const total = plan.lengths.samples;
    const wanted = Math.ceil(total / frame);
    const limiter = limited ? new Limiter(channels, sampleRate) : null;
    let start = 0;
    const finished = (made: Float32Array[]): AudioPiece => {
      const spliced = plan.splice && plan.source && plan.regions;
      // After the limiter: the recording's own samples are not to be touched.
      const done = spliced ? splice(made, start, plan.source!, plan.regions!, sampleRate) : made;
      const piece = { audio: done, start, total, sampleRate };
      start += done[0]!.length;
      return piece;
    };
    const decode = async (tile: Float32Array, frames: number): Promise<Float32Array> => {
      const input = { latents: tensor(tile, [1, width, frames]) };
      return values(await this.graphs.run('decoder', input, {}, options.signal), 'audio');
    };
    let frames = 0;
    options.onProgress?.('decode', 0, wanted);
    for await (const piece of decodeTiles(decode, latents, width, wanted, tiles.decoder, frame, channels)) {
      const length = piece.length / channels;
      const used = Math.min(length, total - frames * frame);
      const split = Array.from({ length: channels }, (_, c) => piece.slice(c * length, c * length + used));
      frames += length / frame;
      options.onProgress?.('decode', frames, wanted);
      const made = limiter ? limiter.push(split) : split;
      if (made[0]!.length) yield finished(made);
      options.signal?.throwIfAborted();
    }
    const rest = limiter?.flush();
    if (rest?.[0]!.length) yield finished(rest);
  }
}

/** The reference's unconditional context is all zeros: attending to it gives zero. */
function unconditional(conditioning: Tensors): Tensors {
  const zeros = ['cross_k', 'cross_v'].map((name) => {
    const { dims } = conditioning[name]!;
    return [name, tensor(new Float32Array(values(conditioning, name).length), dims)] as const;
  });
  return { ...conditioning, ...Object.fromEntries(zeros) };
}
