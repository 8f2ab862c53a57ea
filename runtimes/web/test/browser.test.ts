/** The demo page and the package in a real browser, without a head; skipped, and said so, where there is none. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import type { GenerationRequest, OpenOptions } from '../dist/index.js';
import { Server } from './server.js';
import { DEMO, read, readNpy, relative } from './vectors.js';

const places = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = places.find((place) => place && existsSync(place));
const skip = executablePath ? false : 'no Chromium: set CHROMIUM to its path';
const PAGE = fileURLToPath(new URL('demo/', import.meta.url));
const GPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--ignore-gpu-blocklist'];
const NO_ADAPTER = 'WebGPU: this browser has no adapter for it, not even in software';
const SHORT = { prompt: 'lofi piano', seconds: 0.4, steps: 2, headroom: 0.2, seed: 1 };

interface Made {
  latents: number[];
  samples: number;
  engine: string;
}

/** In the page: open a bundle and make a clip. */
async function generate(page: Page, request: GenerationRequest, options: OpenOptions = {}, model = 'model/'): Promise<Made> {
  return page.evaluate(
    async ([request, options, model]) => {
      const { Pipeline } = (await import(`${location.origin}/sa3-edge.js`)) as typeof import('../dist/index.js');
      const pipeline = await Pipeline.open(new URL(model, location.origin), options);
      const made = await pipeline.generate(request);
      return { latents: [...made.latents], samples: made.audio[0]!.length, engine: pipeline.engine.describe() };
    },
    [request, options, model] as const,
  );
}

describe('in a browser', { skip, concurrency: false }, () => {
  const server = new Server({ '/bundles/': `${DEMO}/../`, '/': PAGE });
  let browser: Browser;
  let withGpu: Browser;
  let origin: string;
  let context: BrowserContext;
  let page: Page;

  before(async () => {
    origin = await server.start();
    // A GPU in software is slow, and is asked what it computes by every new visitor.
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] });
    withGpu = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox', ...GPU] });
  });
  after(async () => {
    await browser.close();
    await withGpu.close();
    server.stop();
  });

  /** A page of a new visitor. */
  async function visit(what: 'page' | 'GPU' = 'page'): Promise<string[]> {
    await context?.close();
    context = await (what === 'GPU' ? withGpu.newContext({ serviceWorkers: 'block' }) : browser.newContext());
    page = await context.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(error.message));
    page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
    server.fault = null;
    server.asked.length = 0;
    await page.goto(origin);
    return faults;
  }

  test('the page makes a clip, also without a network once it was there', async () => {
    const faults = await visit();
    await page.fill('#seconds', '1');
    await page.fill('#seed', '42');
    await page.click('#make');
    await page.waitForSelector('#result:not([hidden])', { timeout: 120_000 });
    assert.match((await page.textContent('#status'))!, /1\.0 s of audio in .* seed 42, onnxruntime-web [\d.]+ in WebAssembly/);
    assert.equal(await page.textContent('#error'), '');
    assert.match((await page.getAttribute('#download', 'href'))!, /^blob:/);
    assert.equal(await page.getAttribute('#download', 'download'), 'lofi-piano-42.wav');
    await page.waitForFunction(() => navigator.serviceWorker.ready.then((ready) => ready.active?.state === 'activated'));
    await context.setOffline(true);
    await page.reload();
    await page.fill('#seconds', '0.5');
    await page.click('#make');
    await page.waitForSelector('#result:not([hidden])', { timeout: 120_000 });
    assert.equal(await page.textContent('#error'), '');
    assert.deepEqual(faults.filter((fault) => !/net::ERR_INTERNET_DISCONNECTED|ERR_FAILED/.test(fault)), []);
  });

  test('the page can be stopped, and says what is wrong', async () => {
    await visit();
    await page.fill('#seconds', '60');
    await page.fill('#steps', '100');
    await page.click('#make');
    await page.waitForFunction(() => document.getElementById('stage')!.textContent!.startsWith('Denoising'), null, { timeout: 120_000 });
    await page.click('#stop');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped');
    await workersGone(page);
    server.fault = ({ path }, response) => path.endsWith('manifest.json') && !!response.writeHead(503).end();
    await page.evaluate(() => caches.keys().then((keys) => Promise.all(keys.map((key) => caches.delete(key)))));
    await page.click('#forget');
    await page.waitForFunction(() => document.getElementById('status')!.textContent!.includes('deleted'));
    await page.click('#make');
    await page.waitForFunction(() => document.getElementById('error')!.textContent !== '');
    assert.match((await page.textContent('#error'))!, /manifest\.json cannot be downloaded: HTTP 503/);
  });

  test('the page has names for its controls, a language, and no inline scripts', async () => {
    await visit();
    const unnamed = await page.$$eval('input, select, button, progress', (all) =>
      all.filter((each) => !('labels' in each && (each.labels as NodeList).length) && !each.textContent!.trim()).map((each) => each.id));
    assert.deepEqual(unnamed, []);
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
    assert.equal(await page.$$eval('script:not([src]), [onclick], [style]', (all) => all.length), 0);
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement!.id), 'prompt');
    const manifest = await (await context.request.get(`${origin}/app.webmanifest`)).json();
    assert.equal(manifest.display, 'standalone');
  });

  test('latents are those of the vectors, with one thread and with two', async () => {
    const run = read('runs').runs.find((each: { name: string; bundle: string }) => each.bundle === 'demo' && each.name === 'text');
    const { prompt, seconds, seed } = run.request;
    for (const isolated of [false, true]) {
      server.isolated = isolated;
      await visit();
      assert.equal(await page.evaluate(() => crossOriginIsolated), isolated);
      const made = await generate(page, { prompt, seconds, seed, limiter: false }, { device: 'wasm', threads: isolated ? 2 : 1 });
      assert.equal(made.samples, run.samples);
      const error = relative(Float32Array.from(made.latents), readNpy(run.latents).data);
      assert.ok(error < 1e-4, `differ by ${error}`);
    }
    server.isolated = false;
  });

  test('a download that is cut goes on where it was, and is not fetched twice', async () => {
    await visit();
    const weights = '/bundles/demo/denoiser.onnx.data';
    let cuts = 0;
    server.fault = ({ path, range }, response) => {
      if (path !== weights || range || cuts++) return false;
      response.writeHead(200, { 'Content-Length': 5_000_000 });
      response.write(Buffer.alloc(0));
      void import('node:fs').then(({ createReadStream }) =>
        createReadStream(`${DEMO}/denoiser.onnx.data`, { end: 999_999 })
          .on('data', (data) => response.write(data))
          .on('end', () => setTimeout(() => response.destroy(), 200)));
      return true;
    };
    await generate(page, SHORT, { device: 'wasm' }, 'bundles/demo/');
    const ranges = server.asked.filter(({ path }) => path === weights).map(({ range }) => range);
    assert.equal(ranges.length, 2);
    assert.match(ranges[1]!, /^bytes=[1-9]\d*-$/);
    server.asked.length = 0;
    await page.reload();
    await generate(page, SHORT, { device: 'wasm' }, 'bundles/demo/');
    assert.deepEqual(server.asked.map(({ path }) => path).filter((path) => path.includes('.onnx') && path.includes('bundles')), []);
  });

  test('what is not the file that the manifest names is refused, and fetched anew', async () => {
    await visit();
    const size = (await (await context.request.get(`${origin}/bundles/demo/decoder.onnx.data`)).body()).length;
    server.fault = ({ path }, response) => {
      if (path !== '/bundles/demo/decoder.onnx.data') return false;
      response.writeHead(200).end(Buffer.alloc(size));
      return true;
    };
    await assert.rejects(generate(page, SHORT, {}, 'bundles/demo/'), /decoder.onnx.data is not the file that the manifest names/);
    server.fault = ({ path }, response) =>
      path === '/bundles/demo/decoder.onnx.data' && !!response.writeHead(200, { 'Content-Type': 'text/html' }).end('<p>log in');
    await assert.rejects(generate(page, SHORT, {}, 'bundles/demo/'), /has 9 bytes, the manifest says/);
    server.fault = null;
    assert.equal((await generate(page, SHORT, { device: 'wasm' }, 'bundles/demo/')).samples, 17640);
    await assert.rejects(generate(page, SHORT, {}, 'bundles/none/'), /is not a bundle: it has no manifest.json/);
  });

  test('memory stays flat over 50 clips, and no worker is left', async (t) => {
    await visit();
    const session = await context.newCDPSession(page);
    const heap = async (): Promise<number> => {
      await session.send('HeapProfiler.collectGarbage');
      return ((await session.send('Runtime.getHeapUsage')) as { usedSize: number }).usedSize / 1e6;
    };
    const clips = (count: number): Promise<void> =>
      page.evaluate(
        async ([request, count]) => {
          const { Pipeline } = (await import(`${location.origin}/sa3-edge.js`)) as typeof import('../dist/index.js');
          const page = globalThis as { pipeline?: import('../dist/index.js').Pipeline };
          page.pipeline ??= await Pipeline.open(new URL('model/', location.origin), { device: 'wasm' });
          for (let i = 0; i < count; i++) await page.pipeline.generate({ ...request, seconds: 0.1, headroom: 0, steps: 1 });
          page.pipeline.close();
        },
        [SHORT, count] as const,
      );
    await clips(3);
    const before = await heap();
    await clips(50);
    const grown = (await heap()) - before;
    t.diagnostic(`the page's heap: ${before.toFixed(2)} MB after 3 clips, ${(before + grown).toFixed(2)} MB after 53`);
    assert.ok(grown < 5, `${grown.toFixed(1)} MB more after 50 clips`);
    await workersGone(page);
  });

  test('a GPU that computes something else is refused by name, and left alone by "auto"', async (t) => {
    await visit('GPU');
    if (!(await hasAdapter(page))) return t.skip(NO_ADAPTER);
    await spoil(page, 'spoilt');
    await assert.rejects(generate(page, SHORT, { device: 'webgpu' }), /this GPU cannot be used/);
    assert.match((await generate(page, SHORT, { device: 'auto' })).engine, /in WebAssembly$/);
  });

  test('a GPU that is right is used, and gives the latents of the vectors', { timeout: 900_000 }, async (t) => {
    await visit('GPU');
    if (!(await hasAdapter(page))) return t.skip(NO_ADAPTER);
    await spoil(page, 'subgroups hidden');
    const run = read('runs').runs.find((each: { name: string; bundle: string }) => each.bundle === 'demo' && each.name === 'two-steps');
    const { prompt, seconds, seed, steps, headroom } = run.request;
    const made = await generate(page, { prompt, seconds, seed, steps, headroom, limiter: false }, { device: 'webgpu' });
    assert.match(made.engine, /on WebGPU$/);
    const error = relative(Float32Array.from(made.latents), readNpy(run.latents).data);
    assert.ok(error < 1e-4, `differ by ${error}`);
  });
});

/** A worker that was ended is told of a little later. */
async function workersGone(page: Page): Promise<void> {
  if (page.workers().length) await page.workers()[0]!.waitForEvent('close', { timeout: 10_000 }).catch(() => {});
  assert.equal(page.workers().length, 0);
}

function hasAdapter(page: Page): Promise<boolean> {
  return page.evaluate(async () => {
    const gpu = (navigator as unknown as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu;
    return (await gpu?.requestAdapter()) != null;
  });
}

/** Change what graphs' workers see of the GPU. SwiftShader's subgroups of 4 give wrong attention in ONNX Runtime 1.30. */
async function spoil(page: Page, how: 'spoilt' | 'subgroups hidden'): Promise<void> {
  const hidden = `
    const features = Object.getOwnPropertyDescriptor(GPUAdapter.prototype, 'features').get;
    Object.defineProperty(GPUAdapter.prototype, 'features', { get() {
      return new Set([...features.call(this)].filter((name) => !name.startsWith('subgroup')));
    } });`;
  const spoilt = `
    const make = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      // Softmax to another base: shaders of attention are in every denoiser.
      return make.call(this, { ...descriptor, code: descriptor.code.replaceAll('exp(', 'exp2(') });
    };`;
  await page.route('**/graph-worker.js', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `${hidden}\n${how === 'spoilt' ? spoilt : ''}\n${await response.text()}` });
  });
}
