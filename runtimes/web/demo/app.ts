/** The demo page: a form, a pipeline, a player. */

import { AudioSource, encodeWav, forgetBundles, type GenerationRequest, Pipeline, type Stage, Sa3Error } from '../dist/index.js';

const STAGES: Record<Stage, string> = {
  text: 'Reading the prompt',
  encode: 'Encoding the recording',
  condition: 'Conditioning',
  denoise: 'Denoising',
  decode: 'Decoding',
};
const MODEL = new URL('model/', location.href);

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const form = element<HTMLFormElement>('form');
const make = element<HTMLButtonElement>('make');
const stop = element<HTMLButtonElement>('stop');
const forget = element<HTMLButtonElement>('forget');
const bar = element<HTMLProgressElement>('progress');
const field = (id: string): HTMLInputElement => element<HTMLInputElement>(id);

let pipeline: { device: string; opened: Pipeline } | null = null;
let running: AbortController | null = null;

function show(stage: string, done: number, total: number): void {
  element('stage').textContent = total > 1 && total < 1000 ? `${stage}: ${done} of ${total}` : stage;
  bar.max = total;
  bar.value = done;
}

async function open(signal: AbortSignal): Promise<Pipeline> {
  const device = element<HTMLSelectElement>('device').value as 'auto' | 'wasm' | 'webgpu';
  if (pipeline?.device === device) return pipeline.opened;
  const onProgress = (done: number, total: number): void =>
    show(`Fetching the model: ${(done / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`, done, total);
  const opened = await Pipeline.open(MODEL, { device, signal, onProgress });
  pipeline = { device, opened };
  return opened;
}

async function requestOf(rate: number): Promise<GenerationRequest> {
  const file = field('recording').files?.[0];
  const seed = field('seed').value;
  return {
    prompt: field('prompt').value,
    seconds: field('seconds').valueAsNumber,
    steps: field('steps').valueAsNumber,
    ...(seed !== '' && { seed: Number(seed) }),
    ...(file && {
      edit: {
        kind: 'variation',
        source: await AudioSource.fromFile(file, rate, file.name),
        noiseLevel: field('level').valueAsNumber,
      },
    }),
  };
}

async function run(signal: AbortSignal): Promise<void> {
  const opened = await open(signal);
  const request = await requestOf(opened.bundle.manifest.audio.sample_rate);
  const made = await opened.generate(request, {
    signal,
    onProgress: (stage, done, total) => show(STAGES[stage], done, total),
  });
  const { data } = encodeWav(made.audio, made.sampleRate, '24', { INAM: request.prompt, ISFT: 'sa3-edge' });
  const player = element<HTMLAudioElement>('player');
  const link = element<HTMLAnchorElement>('download');
  URL.revokeObjectURL(player.src);
  player.src = link.href = URL.createObjectURL(new Blob([data], { type: 'audio/wav' }));
  link.download = `${request.prompt.replace(/[^\p{L}\p{N}]+/gu, '-') || 'untitled'}-${made.seed}.wav`;
  const notes = [...made.notes];
  if (opened.bundle.manifest.model.synthetic) notes.push('This model is untrained (random weights): what it makes is noise.');
  element('notes').replaceChildren(
    ...notes.map((note) => Object.assign(document.createElement('li'), { textContent: note })),
  );
  element('result').hidden = false;
  const seconds = made.audio[0]!.length / made.sampleRate;
  element('status').textContent =
    `${seconds.toFixed(1)} s of audio in ${made.timings['total']!.toFixed(1)} s, seed ${made.seed}, ${opened.engine.describe()}`;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (running) return;
  const controller = (running = new AbortController());
  element('error').textContent = element('status').textContent = '';
  make.disabled = forget.disabled = true;
  stop.disabled = false;
  run(controller.signal)
    .catch((error: unknown) => {
      if (controller.signal.aborted) element('status').textContent = 'Stopped';
      else if (error instanceof Sa3Error) element('error').textContent = error.message;
      else element('error').textContent = `A fault of this page: ${String(error)}`;
    })
    .finally(() => {
      running = null;
      show('Ready', 0, 1);
      make.disabled = forget.disabled = false;
      stop.disabled = true;
    });
});
stop.addEventListener('click', () => running?.abort());
field('level').addEventListener('input', () => (element('level-shown').textContent = field('level').value));
forget.addEventListener('click', () => {
  pipeline = null;
  void forgetBundles().then(() => (element('status').textContent = 'The model is deleted; it is fetched again when needed'));
});
void navigator.serviceWorker?.register('service-worker.js');
