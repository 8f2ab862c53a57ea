/** Makes the demo page in build/demo: `node demo/build.mjs [BUNDLE]`; any static server may then serve that folder. */

import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, '../build/demo');
const ort = join(here, '../node_modules/onnxruntime-web/dist');
const bundle = process.argv[2] ?? join(here, '../../../sa3_edge/demo');

// onnxruntime-web stays as it is shipped: it starts its threads from its own file.
const BUILDS = { 'onnxruntime-web/wasm': 'ort.wasm.bundle.min.mjs', 'onnxruntime-web/webgpu': 'ort.webgpu.bundle.min.mjs' };
const asShipped = {
  name: 'onnxruntime-web as shipped',
  setup({ onResolve }) {
    onResolve({ filter: /^onnxruntime-web\// }, ({ path }) => ({ path: `./${BUILDS[path]}`, external: true }));
  },
};
const common = { bundle: true, format: 'esm', target: 'es2022', minify: true, conditions: ['browser'], plugins: [asShipped] };

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
await build({
  ...common,
  entryPoints: {
    app: join(here, 'app.ts'),
    'sa3-edge': join(here, '../dist/index.js'),
    'graph-worker': join(here, '../dist/browser/graph-worker.js'),
  },
  outdir: out,
});
for (const name of ['index.html', 'style.css', 'app.webmanifest', 'icon.svg']) await cp(join(here, name), join(out, name));
const wasm = ['ort-wasm-simd-threaded.wasm', 'ort-wasm-simd-threaded.asyncify.wasm'];
for (const name of [...Object.values(BUILDS), ...wasm]) await cp(join(ort, name), join(out, name));
await cp(join(here, '../../../LICENSE'), join(out, 'LICENSE'));

// The GPU's build is large and fetched by who uses it.
const shell = (await readdir(out)).filter((name) => !/webgpu|asyncify|LICENSE/.test(name)).sort();
const hash = createHash('sha256');
for (const name of shell) hash.update(name).update(await readFile(join(out, name)));
const SHELL = { name: `sa3-edge-${hash.digest('hex').slice(0, 16)}`, files: ['./', ...shell] };
await build({
  ...common,
  entryPoints: [join(here, 'service-worker.ts')],
  outdir: out,
  format: 'iife',
  define: { SHELL: JSON.stringify(SHELL) },
});
await cp(bundle, join(out, 'model'), { recursive: true });
console.log(`the demo page is in ${out}`);
