/** Prompts to token ids: the Gemma family's `tokenizer.json`, byte-fallback BPE on code points. */

import { BundleError, messageOf, RequestError } from './errors.js';
import { quoted } from './words.js';

const LONGEST_FILE = 64 * 2 ** 20; // bytes; the published one has 33 MB
const LONGEST_TEXT = 100_000; // characters; the model reads some 256 tokens
const MOST_GROWTH = 64; // times as long as the prompt
const LARGEST_ID = 2 ** 31 - 1;

/** What is read of a `tokenizer.json`. */
interface TokenizerFile {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
  /** By their text. */
  readonly added: ReadonlyMap<string, number>;
  readonly unknown: string | null;
  readonly fuseUnknown: boolean;
  readonly byteFallback: boolean;
  /** What the normalizer replaces by what; "" for nothing. */
  readonly from: string;
  readonly to: string;
}

class Damaged extends Error {}

/** A symbol in a list linked both ways; `next` -1 ends it. */
interface Piece {
  text: string;
  id: number;
  previous: number;
  next: number;
  alive: boolean;
}

/** A possible merge: the lowest rank first, of equals the leftmost. */
type Offer = readonly [rank: number, at: number, left: string, right: string];

/** The text encoder's own BPE: no begin or end token, no padding, cut to `maxTokens`. */
export class Tokenizer {
  private readonly file: TokenizerFile;
  private readonly vocabulary: ReadonlyMap<string, number>;
  private readonly ranks: ReadonlyMap<string, number>;
  private readonly split: RegExp | null;
  private readonly utf8 = new TextEncoder();

  /** Throws BundleError if the file is no tokenizer of this kind. */
  constructor(
    content: string,
    private readonly maxTokens: number,
    name = 'tokenizer.json',
  ) {
    this.file = readTokenizer(content, name);
    this.vocabulary = this.file.vocabulary;
    this.ranks = new Map(this.file.merges.map(([left, right], rank) => [pair(left, right), rank]));
    const longestFirst = [...this.file.added.keys()].sort((a, b) => b.length - a.length);
    const escaped = longestFirst.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    this.split = escaped.length ? new RegExp(`(${escaped.join('|')})`, 'u') : null;
  }

  /**
   * Token ids, at most `maxTokens`, and how many more the text has.
   *
   * Throws RequestError for half a surrogate pair, which no encoding has, and for a text beyond reason.
   */
  encode(text: string): { ids: number[]; cut: number } {
    if (!isWellFormed(text)) throw new RequestError('the prompt is not valid Unicode: it has half a surrogate pair');
    const characters = text.length > LONGEST_TEXT ? [...text].length : text.length;
    if (characters > LONGEST_TEXT) {
      throw new RequestError(`the prompt has ${characters} characters, at most ${LONGEST_TEXT} are read`);
    }
    const { from, to, added } = this.file;
    const ids: number[] = [];
    for (const part of this.split ? text.split(this.split) : [text]) {
      const id = added.get(part);
      if (id !== undefined) ids.push(id);
      else if (part) this.merge(from ? part.replaceAll(from, to) : part, ids);
    }
    return { ids: ids.slice(0, this.maxTokens), cut: Math.max(0, ids.length - this.maxTokens) };
  }

  /** Single characters, or their bytes where they are not in the vocabulary. */
  private pieces(text: string): Piece[] {
    const pieces: Piece[] = [];
    const push = (symbol: string, id: number): void => {
      pieces.push({ text: symbol, id, previous: pieces.length - 1, next: pieces.length + 1, alive: true });
    };
    const { unknown, fuseUnknown } = this.file;
    let unknownBefore = false;
    for (const character of text) {
      const id = this.vocabulary.get(character);
      const bytes = id === undefined && this.file.byteFallback ? this.bytesOf(character) : null;
      if (id !== undefined) push(character, id);
      else if (bytes) for (const byte of bytes) push(byte, this.vocabulary.get(byte)!);
      else if (unknown !== null && !(fuseUnknown && unknownBefore)) push(unknown, this.vocabulary.get(unknown)!);
      unknownBefore = id === undefined && !bytes;
    }
    if (pieces.length) pieces[pieces.length - 1]!.next = -1;
    return pieces;
  }

  private bytesOf(character: string): string[] | null {
    const bytes = [...this.utf8.encode(character)];
    const tokens = bytes.map((byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
    return tokens.every((token) => this.vocabulary.has(token)) ? tokens : null;
  }

  private merge(text: string, out: number[]): void {
    const pieces = this.pieces(text);
    const heap = new Heap();
    const offer = (at: number): void => {
      const left = pieces[at]!;
      const right = pieces[left.next];
      const rank = right && this.ranks.get(pair(left.text, right.text));
      if (right && rank !== undefined) heap.push([rank, at, left.text, right.text]);
    };
    for (let at = 0; at < pieces.length; at++) offer(at);
    for (let best = heap.pop(); best; best = heap.pop()) {
      const [, at, leftText, rightText] = best;
      const left = pieces[at]!;
      const right = pieces[left.next];
      if (!left.alive || left.text !== leftText || right?.text !== rightText) continue; // merged meanwhile
      right.alive = false;
      left.text = leftText + rightText;
      left.id = this.vocabulary.get(left.text)!;
      left.next = right.next;
      if (right.next >= 0) pieces[right.next]!.previous = at;
      if (left.previous >= 0) offer(left.previous);
      offer(at);
    }
    for (const piece of pieces) if (piece.alive) out.push(piece.id);
  }
}

/** Throws BundleError for what is no tokenizer, and for parts that this host does not run. */
function readTokenizer(content: string, name: string): TokenizerFile {
  const refuse = (what: string): never => {
    throw new BundleError(`${name} is not a tokenizer that sa3-edge runs: ${what}`);
  };
  try {
    if (content.length > LONGEST_FILE) throw new Damaged(`it has ${content.length} characters, at most ${LONGEST_FILE} are read`);
    const file = objectOf(JSON.parse(content), 'the file');
    const model = objectOf(file['model'], 'its model');
    const type = String(model['type'] ?? 'BPE');
    if (type !== 'BPE') refuse(`its model is ${quoted(type.slice(0, 64))}, not one of BPE`);
    if (model['dropout']) refuse('it drops merges at random, so the same text gives other tokens each time');
    for (const part of ['continuing_subword_prefix', 'end_of_word_suffix', 'ignore_merges']) {
      if (model[part]) refuse(`its model has ${part}`);
    }
    const normalizer = stepOf(file, 'normalizer', 'Replace', refuse);
    const splitter = stepOf(file, 'pre_tokenizer', 'Split', refuse);
    const from = normalizer?.pattern ?? '';
    if (splitter && splitter.pattern !== from) refuse(`its pre_tokenizer splits at ${quoted(splitter.pattern)}, which is left in the text`);
    const vocabulary = new Map(Object.entries(objectOf(model['vocab'], 'its vocabulary')).map(([token, id]) => [token, idOf(id, token)]));
    const inside = (token: string): string => {
      if (!vocabulary.has(token)) throw new Damaged(`${quoted(token.slice(0, 64))} is not in its vocabulary`);
      return token;
    };
    const merges = arrayOf(model['merges'], 'its merges').map((merge) => {
      const parts = typeof merge === 'string' ? merge.split(' ') : arrayOf(merge, 'a merge');
      const [left, right] = parts;
      if (parts.length !== 2 || typeof left !== 'string' || typeof right !== 'string') throw new Damaged('a merge is not of two tokens');
      inside(left + right);
      return [inside(left), inside(right)] as const;
    });
    const unknown = model['unk_token'] ?? null;
    if (unknown !== null && typeof unknown !== 'string') throw new Damaged('its unknown token is no text');
    return {
      vocabulary,
      merges,
      added: addedTokens(file['added_tokens'] ?? [], from, refuse),
      unknown: unknown === null ? null : inside(unknown),
      fuseUnknown: model['fuse_unk'] === true,
      byteFallback: model['byte_fallback'] === true,
      from,
      to: normalizer?.content ?? '',
    };
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(`${name} is not a tokenizer: ${messageOf(error)}`);
  }
}

/** The normalizer or pre-tokenizer, if there is one. */
function stepOf(
  file: Readonly<Record<string, unknown>>,
  kind: 'normalizer' | 'pre_tokenizer',
  known: string,
  refuse: (what: string) => never,
): { pattern: string; content: string } | null {
  if (file[kind] == null) return null;
  const step = objectOf(file[kind], `its ${kind}`);
  // Python's word for nothing: the other hosts say it so.
  if (step['type'] !== known) return refuse(`its ${kind} is ${quoted(String(step['type'] ?? 'None').slice(0, 64))}, not one of ${known}`);
  const pattern = (step['pattern'] as { String?: unknown } | null | undefined)?.String;
  if (typeof pattern !== 'string') return refuse(`its ${kind} matches a regular expression`);
  const content = step['content'] ?? '';
  if (typeof content !== 'string') throw new Damaged(`its ${kind} has no text for its content`);
  if (!pattern || [...content].length / [...pattern].length > MOST_GROWTH) return refuse(`its ${kind} makes text many times as long`);
  return { pattern, content };
}

function addedTokens(value: unknown, from: string, refuse: (what: string) => never): Map<string, number> {
  const added = new Map<string, number>();
  for (const each of arrayOf(value, 'its added tokens')) {
    const token = objectOf(each, 'an added token');
    const { content } = token;
    if (typeof content !== 'string') throw new Damaged('an added token has no text');
    const flag = ['single_word', 'lstrip', 'rstrip'].find((name) => token[name] === true);
    if (flag) refuse(`the added token ${quoted(content)} has ${flag}`);
    if (token['normalized'] === true && from && content.includes(from)) refuse(`the added token ${quoted(content)} is found in normalized text`);
    if (content) added.set(content, idOf(token['id'], content));
  }
  return added;
}

function objectOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Damaged(`${what} is no object`);
  return value as Record<string, unknown>;
}

function arrayOf(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Damaged(`${what} is no list`);
  return value;
}

function idOf(value: unknown, token: string): number {
  if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= LARGEST_ID) return value as number;
  throw new Damaged(`the id of ${quoted(token.slice(0, 64))} is no number from 0 on`);
}

function pair(left: string, right: string): string {
  return `${left}\u0000${right}`;
}

function isWellFormed(text: string): boolean {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(text);
}

/** A binary heap of offers. */
class Heap {
  private readonly offers: Offer[] = [];

  push(offer: Offer): void {
    const { offers } = this;
    offers.push(offer);
    for (let i = offers.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!this.before(i, parent)) break;
      this.swap(i, parent);
      i = parent;
    }
  }

  pop(): Offer | undefined {
    const { offers } = this;
    const top = offers[0];
    const last = offers.pop();
    if (!offers.length || !last) return top;
    offers[0] = last;
    for (let i = 0; ; ) {
      let child = 2 * i + 1;
      if (child >= offers.length) break;
      if (child + 1 < offers.length && this.before(child + 1, child)) child++;
      if (!this.before(child, i)) break;
      this.swap(i, child);
      i = child;
    }
    return top;
  }

  private before(i: number, j: number): boolean {
    const a = this.offers[i]!;
    const b = this.offers[j]!;
    return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
  }

  private swap(i: number, j: number): void {
    const offer = this.offers[i]!;
    this.offers[i] = this.offers[j]!;
    this.offers[j] = offer;
  }
}
