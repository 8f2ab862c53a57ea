/** A static server for the browser tests: ranges, isolation, and faults on demand. */

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Record<string, string> = {
  '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.wasm': 'application/wasm',
  '.json': 'application/json', '.webmanifest': 'application/manifest+json', '.svg': 'image/svg+xml',
};

export interface Asked {
  path: string;
  range: string | undefined;
}

/** Answers instead of the file where it returns true. */
export type Fault = (asked: Asked, response: ServerResponse) => boolean;

export class Server {
  readonly asked: Asked[] = [];
  fault: Fault | null = null;
  isolated = false;
  private readonly server = createServer((request, response) => void this.answer(request, response));

  constructor(private readonly folders: Record<string, string>) {}

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = normalize(decodeURIComponent(new URL(request.url!, 'http://host').pathname));
    const asked = { path, range: request.headers.range };
    this.asked.push(asked);
    if (this.isolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    if (this.fault?.(asked, response)) return;
    const prefix = Object.keys(this.folders).find((each) => path.startsWith(each));
    const file = join(this.folders[prefix!]!, path.slice(prefix!.length) || 'index.html');
    const size = (await stat(file).catch(() => null))?.size;
    if (size === undefined) {
      response.writeHead(404).end('not found');
      return;
    }
    const from = Number(/^bytes=(\d+)-$/.exec(asked.range ?? '')?.[1] ?? 0);
    response.writeHead(asked.range ? 206 : 200, {
      'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
      'Content-Length': size - from,
      ...(asked.range && { 'Content-Range': `bytes ${from}-${size - 1}/${size}` }),
    });
    createReadStream(file, { start: from }).pipe(response);
  }
}
