/**
 * Live changes for whoever watches: server-sent events that name what changed. They are hints; who reads a list again
 * has missed nothing. Bounded in watchers and in what one of them may leave unread.
 */
import type { ServerResponse } from 'node:http';
import { HttpError } from './http-error.ts';

export interface ChangeNote {
  readonly kind: 'device' | 'artifact' | 'deployment';
  readonly id: string;
}

const MAX_WATCHERS = 32;
const MAX_UNREAD_BYTES = 256 * 1024;
/** Less than proxies and browsers wait. */
const HEARTBEAT_MS = 15_000;

export class EventHub {
  readonly #watchers = new Set<ServerResponse>();
  readonly #heartbeat: NodeJS.Timeout;
  /** Of this process: a watcher that comes back to another one knows by it. */
  #revision = 0;

  constructor() {
    this.#heartbeat = setInterval(() => this.#send(': still here\n\n'), HEARTBEAT_MS);
    this.#heartbeat.unref();
  }

  publish(note: ChangeNote): void {
    this.#revision++;
    if (this.#watchers.size === 0) return;
    this.#send(`id: ${this.#revision}\nevent: change\ndata: ${JSON.stringify(note)}\n\n`);
  }

  /** Answers with the stream of changes, until the client goes away. Throws HttpError 503 when too many watch. */
  watch(response: ServerResponse): void {
    if (this.#watchers.size >= MAX_WATCHERS)
      throw new HttpError(503, `more than ${MAX_WATCHERS} watch already`);
    response.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store',
    });
    response.write(`id: ${this.#revision}\nevent: hello\ndata: {}\n\n`);
    this.#watchers.add(response);
    response.once('close', () => this.#watchers.delete(response));
  }

  close(): void {
    clearInterval(this.#heartbeat);
    for (const watcher of this.#watchers) watcher.end();
    this.#watchers.clear();
  }

  #send(text: string): void {
    for (const watcher of this.#watchers) {
      // Who does not read is let go, and asks again.
      if (watcher.writableLength > MAX_UNREAD_BYTES) watcher.destroy();
      else watcher.write(text);
    }
  }
}
