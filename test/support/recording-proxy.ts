/**
 * A forwarder in front of a server that keeps who asked for what and when, and can take single devices off the network.
 * Devices are told apart by the subject of their token; what carries none passes.
 */
import { once } from 'node:events';
import { createServer, request as forward, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface ProxiedRequest {
  readonly atMs: number;
  /** Id the server knows the device by; '' = without token. */
  readonly deviceId: string;
  readonly method: string;
  readonly path: string;
  /** It was not let through. */
  readonly isCut: boolean;
}

/** An answer of the API; files are not kept. */
export interface ProxiedAnswer {
  readonly path: string;
  readonly status: number;
  readonly text: string;
}

export interface RecordingProxy {
  readonly url: string;
  readonly requests: readonly ProxiedRequest[];
  readonly answers: readonly ProxiedAnswer[];
  /** Off the network: their connections break as soon as they say something. */
  readonly offline: Set<string>;
  dispose(): Promise<void>;
}

export async function startRecordingProxy(target: string): Promise<RecordingProxy> {
  const { hostname, port } = new URL(target);
  const requests: ProxiedRequest[] = [];
  const answers: ProxiedAnswer[] = [];
  const offline = new Set<string>();
  const server = createServer((incoming, outgoing) => {
    const deviceId = subjectOf(incoming);
    const { method = '', url: path = '', headers } = incoming;
    const isCut = offline.has(deviceId);
    requests.push({ atMs: Date.now(), deviceId, method, path, isCut });
    if (isCut) {
      incoming.socket.destroy();
      return;
    }
    const onward = forward({ hostname, port, method, path, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
      if (answer.headers['content-type'] === 'application/octet-stream') return;
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      answer.on('end', () => answers.push({ path, status: answer.statusCode ?? 0, text }));
    });
    onward.on('error', () => incoming.socket.destroy());
    incoming.pipe(onward);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    answers,
    offline,
    async dispose() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function subjectOf({ headers }: IncomingMessage): string {
  const payload = /^Bearer [^.]+\.([^.]+)\./.exec(headers.authorization ?? '')?.[1];
  if (payload === undefined) return '';
  const { sub } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { readonly sub?: string };
  return sub ?? '';
}
