/** The command line: exits, messages, files, and records that equal the other hosts'. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { canonical, decodeWav, encodeWav, type ClipRecord } from '../dist/index.js';
import { DEMO, read, readNpy, relative, signal, temporary } from './vectors.js';

const CLI = fileURLToPath(new URL('../dist/cli.js', import.meta.url));

function cli(folder: string, ...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { cwd: folder, encoding: 'utf8' });
  return { code: status, out: stdout, err: stderr };
}

async function recordIn(path: string): Promise<ClipRecord> {
  const { info } = decodeWav(new Uint8Array(await readFile(path)), path);
  assert.match(info['ICMT']!, /^[\x20-\x7e]*$/);
  return (JSON.parse(info['ICMT']!) as { 'sa3-edge': ClipRecord })['sa3-edge'];
}

test('the record in a clip is the one that every host writes', async () => {
  const folder = await temporary();
  for (const { prompt, options, record } of read('requests').records) {
    const clip = join(folder, 'clip.wav');
    const { code, err } = cli(folder, 'generate', '--model', DEMO, '-q', '-o', clip, '--overwrite', ...options, '--', prompt);
    assert.equal(code, 0, err);
    const own = Object.fromEntries(['version', 'engine', 'engine_version', 'model', 'bundle'].map((key) => [key, 'host']));
    assert.equal(canonical({ ...(await recordIn(clip)), ...own }), record);
  }
});

test('a clip, its latents and its JSON', async () => {
  const folder = await temporary();
  const run = read('runs').runs.find((each: { name: string; bundle: string }) => each.bundle === 'demo' && each.name === 'text');
  const { code, out } = cli(
    folder, 'generate', 'lofi piano', '--model', DEMO, '--seconds', '1', '--seed', '42', '--no-limiter',
    '--bits', 'float', '-o', 'a.wav', '--save-latents', 'a.npy', '--json',
  );
  assert.equal(code, 0);
  const result = JSON.parse(out) as Record<string, unknown>;
  assert.equal(result['file'], 'a.wav');
  assert.equal(result['samples'], 44100);
  assert.ok(relative(readNpy(join(folder, 'a.npy')).data, readNpy(run.latents).data) < 1e-4);
  const { channels } = decodeWav(new Uint8Array(await readFile(join(folder, 'a.wav'))), 'a.wav');
  const kept = channels.flatMap((channel) => [...channel.filter((_, i) => i % run.audio_stride === 0)]);
  assert.ok(relative(Float32Array.from(kept), readNpy(run.audio).data) < 1e-5);
  assert.deepEqual((await readdir(folder)).sort(), ['a.npy', 'a.wav']);
});

test('a recording is edited from its file, and named without its folder', async () => {
  const folder = await temporary();
  const [left, right] = [signal({ seed: 1, shape: [20000], gain: 0.1 }), signal({ seed: 2, shape: [20000], gain: 0.1 })];
  await writeFile(join(folder, 'song.wav'), encodeWav([left, right], 44100, 'float').data);
  const common = ['--model', DEMO, '--init-audio', join(folder, 'song.wav'), '--seed', '1', '--steps', '2', '--headroom', '0'];
  const { code, err } = cli(folder, 'generate', 'drums', ...common, '--inpaint', ':0.1', '--bits', 'float', '-o', 'b.wav');
  assert.equal(code, 0, err);
  const { channels } = decodeWav(new Uint8Array(await readFile(join(folder, 'b.wav'))), 'b.wav');
  assert.deepEqual(channels[1]!.subarray(6000), right.subarray(6000)); // beyond region and fade
  assert.notDeepEqual(channels[1]!.subarray(0, 4000), right.subarray(0, 4000));
  const record = await recordIn(join(folder, 'b.wav'));
  assert.equal(record.options.init_audio, 'song.wav');
  assert.equal(record.mode, 'inpainting');
  assert.match(record.source_sha256!, /^[0-9a-f]{64}$/);
  const refused = cli(folder, 'generate', 'drums', ...common, '-o', 'song.wav');
  assert.equal(refused.code, 2);
  assert.match(refused.err, /is the recording that is edited and would be lost/);
});

test('bad requests exit with 2 and one line, as every host words it', async () => {
  const folder = await temporary();
  const { files, refused } = read('requests').commands;
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text as string);
  const own = [
    { arguments: ['generate', 'x'], says: '--model' },
    { arguments: ['generate', 'x', '--model', 'MODEL', '--device', 'tpu'], says: "unknown device 'tpu'" },
  ];
  for (const { arguments: words, says } of [...refused, ...own]) {
    const { code, out, err } = cli(folder, ...words.map((word: string) => (word === 'MODEL' ? DEMO : word)));
    assert.equal(code, 2, words.join(' '));
    assert.equal(out, '');
    assert.ok(err.includes(says), err);
    assert.match(err, /^error: [^\n]+\n$/);
  }
  assert.deepEqual((await readdir(folder)).sort(), Object.keys(files).sort());
});

test('files are replaced where that is asked for, and of opposite flags the last one counts', async () => {
  const folder = await temporary();
  await writeFile(join(folder, 'a.wav'), '');
  const request = ['generate', 'x', '--model', DEMO, '--seconds', '0.3', '--steps', '1', '--no-limiter', '--limiter', '-o', 'a.wav'];
  const { code, err } = cli(folder, ...request, '--overwrite');
  assert.equal(code, 0, err);
  assert.equal((await recordIn(join(folder, 'a.wav'))).options.limiter, true);
  assert.deepEqual(await readdir(folder), ['a.wav']);
});

test('Ctrl-C says so, exits with 130 and leaves nothing', async () => {
  const folder = await temporary();
  // A module before the program says when Ctrl-C is heard.
  const ready = "process.on('newListener', (name) => name === 'SIGINT' && process.stdout.write('ready'))";
  const args = ['--import', `data:text/javascript,${encodeURIComponent(ready)}`, CLI];
  const request = ['generate', 'x', '--model', DEMO, '--seconds', '60', '--steps', '2000'];
  const child = spawn(process.execPath, [...args, ...request], { cwd: folder });
  let err = '';
  child.stderr.on('data', (data: Buffer) => (err += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.on('exit', resolve));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  child.kill('SIGINT');
  assert.equal(await ended, 130);
  assert.equal(err, 'interrupted\n');
  assert.deepEqual(await readdir(folder), []);
});
