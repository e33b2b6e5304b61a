import { once } from 'node:events';
import { open, stat } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A web server on loopback that hands one file out at a steady rate, and says how much has left it. */
export interface SlowWebServer {
  readonly url: string;
  /** Bytes the connection has taken so far, buffers of the kernel included. */
  sentBytes(): number;
  readonly requests: number;
  close(): Promise<void>;
}

const SLICES_PER_SECOND = 20;

export async function serveSlowly(path: string, bytesPerSecond: number): Promise<SlowWebServer> {
  const { size } = await stat(path);
  let sent = 0;
  let requests = 0;
  const send = async (response: ServerResponse): Promise<void> => {
    const file = await open(path);
    try {
      const slice = Buffer.alloc(Math.ceil(bytesPerSecond / SLICES_PER_SECOND));
      const startMs = performance.now();
      for (let at = 0; at < size && !response.destroyed;) {
        const { bytesRead } = await file.read(slice, 0, slice.length, at);
        // Sent before the buffer is used again; a reader that stops reading stops us here.
        await new Promise<void>((resolve) => {
          response.once('close', resolve);
          response.write(slice.subarray(0, bytesRead), () => {
            response.off('close', resolve);
            resolve();
          });
        });
        at += bytesRead;
        sent += bytesRead;
        const dueMs = startMs + (at / bytesPerSecond) * 1000;
        await sleep(Math.max(0, dueMs - performance.now()));
      }
      response.end();
    } finally {
      await file.close();
    }
  };
  const server = createServer((_request, response) => {
    requests += 1;
    response.on('error', () => {});
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': size });
    send(response).catch(() => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/release.mender?signature=secret`,
    sentBytes: () => sent,
    get requests() {
      return requests;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
