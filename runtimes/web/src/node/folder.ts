/** Bundles in folders, for Node. */

import { createReadStream } from 'node:fs';
import { readFile, realpath, stat } from 'node:fs/promises';
import { join, relative, isAbsolute } from 'node:path';
import type { BundleSource, Content } from '../bundle.js';
import { BundleError } from '../errors.js';

/** A bundle's folder. */
export class FolderSource implements BundleSource {
  readonly onDisk = true;

  constructor(readonly name: string) {}

  locate(path: string): string {
    return join(this.name, path);
  }

  async open(path: string): Promise<Content | null> {
    const place = this.locate(path);
    let size: number;
    try {
      const inside = relative(await realpath(this.name), await realpath(place)); // a link may lead out, too
      if (inside.startsWith('..') || isAbsolute(inside)) {
        throw new BundleError(`${this.name}: the manifest names a file outside the bundle, '${path}'`);
      }
      const state = await stat(place);
      if (!state.isFile()) throw new BundleError(`${place} is no ordinary file`); // a pipe would never end
      size = state.size;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw error;
    }
    return {
      size,
      bytes: () => readFile(place),
      pieces: () => createReadStream(place, { highWaterMark: 1 << 22 }) as AsyncIterable<Uint8Array>,
    };
  }
}
