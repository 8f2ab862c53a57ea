/** Prompts to token ids: the Gemma family's `tokenizer.json`, byte-fallback BPE on code points. */

import { BundleError, RequestError } from './errors.js';

interface AddedToken {
  readonly id: number;
  readonly content: string;
}

interface TokenizerFile {
  readonly added_tokens?: readonly AddedToken[];
  readonly normalizer: { readonly type: string; readonly pattern?: { readonly String?: string }; readonly content?: string } | null;
  readonly pre_tokenizer: { readonly type: string; readonly pattern?: { readonly String?: string } } | null;
  readonly model: {
    readonly type: string;
    readonly unk_token?: string | null;
    readonly fuse_unk?: boolean;
    readonly byte_fallback?: boolean;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
  };
}

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
  private readonly model: TokenizerFile['model'];
  private readonly vocabulary: ReadonlyMap<string, number>;
  private readonly ranks = new Map<string, number>();
  private readonly added: ReadonlyMap<string, number>;
  private readonly split: RegExp | null;
  private readonly from: string;
  private readonly to: string;
  private readonly utf8 = new TextEncoder();

  /** Throws BundleError if the file is no tokenizer of this kind. */
  constructor(
    content: string,
    private readonly maxTokens: number,
  ) {
    let file: TokenizerFile;
    try {
      file = JSON.parse(content) as TokenizerFile;
      this.model = file.model;
      this.vocabulary = new Map(Object.entries(file.model.vocab));
    } catch (error) {
      throw new BundleError(`tokenizer.json is not a tokenizer: ${(error as Error).message}`);
    }
    const { normalizer, pre_tokenizer: pre } = file;
    this.from = normalizer?.pattern?.String ?? '';
    this.to = normalizer?.content ?? '';
    const known =
      file.model.type === 'BPE' &&
      (normalizer === null || (normalizer.type === 'Replace' && this.from !== '')) &&
      (pre === null || (pre.type === 'Split' && pre.pattern?.String === this.from));
    if (!known) throw new BundleError('tokenizer.json is of another kind: BPE with Replace and no or a like Split is read');
    for (const [rank, merge] of file.model.merges.entries()) {
      const at = typeof merge === 'string' ? merge.indexOf(' ') : 0;
      const [left, right] = typeof merge === 'string' ? [merge.slice(0, at), merge.slice(at + 1)] : merge;
      this.ranks.set(pair(left, right), rank);
    }
    const tokens = file.added_tokens ?? [];
    this.added = new Map(tokens.map((token) => [token.content, token.id]));
    const longestFirst = tokens.map((token) => token.content).sort((a, b) => b.length - a.length);
    const escaped = longestFirst.map((token) => token.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    this.split = escaped.length ? new RegExp(`(${escaped.join('|')})`, 'u') : null;
  }

  /**
   * Token ids, at most `maxTokens`, and how many more the text has.
   *
   * Throws RequestError for half a surrogate pair, which no encoding has.
   */
  encode(text: string): { ids: number[]; cut: number } {
    if (!isWellFormed(text)) throw new RequestError('the prompt is not valid Unicode: it has half a surrogate pair');
    const ids: number[] = [];
    for (const part of this.split ? text.split(this.split) : [text]) {
      const added = this.added.get(part);
      if (added !== undefined) ids.push(added);
      else if (part) this.merge(this.from ? part.replaceAll(this.from, this.to) : part, ids);
    }
    return { ids: ids.slice(0, this.maxTokens), cut: Math.max(0, ids.length - this.maxTokens) };
  }

  /** Single characters, or their bytes where they are not in the vocabulary. */
  private pieces(text: string): Piece[] {
    const pieces: Piece[] = [];
    const push = (symbol: string, id: number): void => {
      pieces.push({ text: symbol, id, previous: pieces.length - 1, next: pieces.length + 1, alive: true });
    };
    let unknownBefore = false;
    for (const character of text) {
      const id = this.vocabulary.get(character);
      const bytes = id === undefined && this.model.byte_fallback ? this.bytesOf(character) : null;
      if (id !== undefined) push(character, id);
      else if (bytes) for (const byte of bytes) push(byte, this.vocabulary.get(byte)!);
      else if (this.model.unk_token && !(this.model.fuse_unk && unknownBefore)) {
        push(this.model.unk_token, this.vocabulary.get(this.model.unk_token)!);
      }
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
