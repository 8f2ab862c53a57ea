/** Vectors of prompts, requests and records. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { canonical, Pipeline, parseRegion, parseTime } from '../dist/index.js';
import { Tokenizer } from '../dist/tokenizer.js';
import { requestOf } from './requests.js';
import { assertDigest, DEMO, read, REPOSITORY } from './vectors.js';

const load = (path: string, longest = 1 << 30): Tokenizer =>
  new Tokenizer(readFileSync(join(REPOSITORY, path), 'utf8'), longest);

test('token ids', () => {
  const content = read('tokenizer');
  let count = 0;
  for (let index = 0; `tokenizer_${index}` in content; index++) {
    const tokenizer = load(content[`tokenizer_${index}`]);
    for (const { text, ids } of content[`cases_${index}`]) {
      const { ids: made, cut } = tokenizer.encode(text);
      const what = `${content[`tokenizer_${index}`]}: ${JSON.stringify(text.slice(0, 40))}`;
      if (Array.isArray(ids)) assert.deepEqual(made, ids, what);
      else assertDigest(Int32Array.from(made), ids, what);
      assert.equal(cut, 0);
      count++;
    }
  }
  assert.ok(count > 300);
});

test('a prompt that is too long is cut, and told', () => {
  const { cut: vector } = read('tokenizer');
  const { ids, cut } = load(vector.tokenizer, vector.max_tokens).encode(vector.text);
  assertDigest(Int32Array.from(ids), vector.ids, 'cut');
  assert.equal(cut, vector.cut);
});

test('half a surrogate pair is refused', () => {
  const { refused, tokenizer_0 } = read('tokenizer');
  for (const { utf16 } of refused) {
    const text = String.fromCharCode(...utf16.map((unit: string) => parseInt(unit, 16)));
    assert.throws(() => load(tokenizer_0).encode(text), { name: 'RequestError' });
  }
});

test('tokenizers that no text encoder needs are refused', () => {
  for (const { name, file, says } of read('limits').tokenizers) {
    assert.throws(
      () => new Tokenizer(file, 256),
      (raised: Error) => raised.name === 'BundleError' && raised.message.includes(says),
      name,
    );
  }
});

test('the longest prompt that is read, and one that is too long', () => {
  const { tokenizer, character, read: most, ids, message } = read('limits').prompts;
  assertDigest(Int32Array.from(load(tokenizer).encode(character.repeat(most)).ids), ids, 'ids');
  assert.throws(() => load(tokenizer).encode(character.repeat(most + 1)), { name: 'RequestError', message });
});

test('a file that is no tokenizer is refused', () => {
  assert.throws(() => new Tokenizer('{', 1), { name: 'BundleError' });
  assert.throws(() => new Tokenizer('{"model":{"type":"Unigram","vocab":{}},"normalizer":null,"pre_tokenizer":null}', 1), {
    name: 'BundleError',
  });
});

test('times and regions', () => {
  const { times, regions } = read('requests');
  for (const { text, seconds, message } of times) {
    if (message) assert.throws(() => parseTime(text), { name: 'RequestError', message });
    else assert.equal(parseTime(text), seconds, text);
  }
  for (const { text, region, message } of regions) {
    if (message) assert.throws(() => parseRegion(text), { name: 'RequestError', message });
    else assert.deepEqual(Object.values(parseRegion(text)), region, text);
  }
});

test('what cannot be is refused, in the same words', async () => {
  const pipeline = await Pipeline.open(DEMO);
  for (const { request, recording, message } of read('requests').refused) {
    const refused = async (): Promise<unknown> => pipeline.generate(requestOf({ prompt: 'piano', ...request }, recording));
    await assert.rejects(refused, { name: 'RequestError', message }, JSON.stringify(request));
  }
});

test('numbers in records', () => {
  for (const { bits, canonical: text } of read('requests').numbers) {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(`0x${bits}`));
    assert.equal(canonical(view.getFloat64(0)), text);
  }
});
