/**
 * The server of a golden trace: it gives the answers the real client got there, with the same faults, and keeps what it
 * was asked. It is as simple as the one the traces were made with; what a client may send is judged by the comparison.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { HttpLine } from './trace.ts';

export interface MockServerOptions {
  /** Faults as the first line of a trace has them: `--fail-auth 2`. */
  readonly flags: readonly string[];
  /** The offer of the trace, with `<server>` and `<time>` in it. */
  readonly offer: Offer;
  /** The artifact it leads to. */
  readonly artifact: Buffer;
}

export interface Offer {
  readonly id: string;
  readonly artifact: Readonly<Record<string, unknown>>;
  readonly update_control_map?: Readonly<Record<string, unknown>>;
}

export interface MockServer {
  readonly url: string;
  /** In order of arrival; `t` is wall time in seconds. */
  readonly requests: readonly HttpLine[];
  /** The tokens it issued. */
  readonly tokens: ReadonlySet<string>;
  makeDeploymentAvailable(): void;
  /** What the map of the deployment says from now on. */
  setControlMap(map: Readonly<Record<string, unknown>>): void;
  /** Resolves when the claim about the answered requests holds; rejects after `withinMs` with what was asked until then. */
  until(what: string, claim: (requests: readonly HttpLine[]) => boolean, withinMs: number): Promise<void>;
  close(): Promise<void>;
}

const DEPLOYMENTS = /^\/api\/devices\/v([12])\/deployments\/device\/deployments\/(.*)$/;
const FINAL = new Set(['success', 'failure', 'already-installed']);

interface Reply {
  readonly status: number;
  readonly body?: unknown;
}

export async function startMockServer(options: MockServerOptions): Promise<MockServer> {
  const numberOf = (flag: string): number => {
    const index = options.flags.indexOf(flag);
    return index < 0 ? 0 : Number(options.flags[index + 1]);
  };
  const requests: HttpLine[] = [];
  const waiting = new Set<() => void>();
  const sockets = new Set<Socket>();
  const tokens = new Set<string>();
  /** Requests a token is still good for. */
  const uses = new Map<string, number>();
  const usesOfToken = numberOf('--expire-token-after') || Infinity;
  const abortedStatus = options.flags[options.flags.indexOf('--abort-on-status') + 1];
  const isAborting = options.flags.includes('--abort-on-status');
  let authFailures = numberOf('--fail-auth');
  let nextFailures = numberOf('--fail-next');
  let statusFailures = numberOf('--fail-status');
  let drops = numberOf('--drop-times');
  const dropAfter = numberOf('--drop-after');
  let isAvailable = false;
  let isFinished = false;
  let map: Readonly<Record<string, unknown>> | undefined = options.offer.update_control_map;

  function answerTo(method: string, path: string, body: unknown, token: string): Reply {
    if (path === '/api/devices/v1/authentication/auth_requests' && method === 'POST') {
      if (authFailures-- > 0) {
        return { status: 401, body: { error: 'unauthorized: device not accepted (simulated)' } };
      }
      const fresh = `head.${randomBytes(24).toString('base64url')}.tail`;
      tokens.add(fresh);
      uses.set(fresh, usesOfToken);
      return { status: 200, body: fresh };
    }
    const left = uses.get(token) ?? 0;
    if (left <= 0) return { status: 401, body: { error: 'unauthorized (simulated)' } };
    uses.set(token, left - 1);
    if (path === '/api/devices/v1/inventory/device/attributes' && method === 'PUT') return { status: 200 };
    const found = DEPLOYMENTS.exec(path);
    if (found) return deploymentsAnswer(method, found[1] ?? '', found[2] ?? '', body);
    return { status: 404, body: { error: 'not found' } };
  }

  function deploymentsAnswer(method: string, version: string, rest: string, body: unknown): Reply {
    if (rest === 'next' && (method === 'POST' || (method === 'GET' && version === '1'))) {
      if (version === '2' && options.flags.includes('--v1-only')) {
        return { status: 404, body: { error: 'not found' } };
      }
      if (nextFailures-- > 0) return { status: 500, body: { error: 'simulated' } };
      return isAvailable && !isFinished ? { status: 200, body: offered() } : { status: 204 };
    }
    if (rest === `${options.offer.id}/status` && method === 'PUT') {
      if (statusFailures-- > 0) return { status: 500, body: { error: 'simulated' } };
      const { status } = body as { status: string };
      if (isAborting && status === abortedStatus)
        return { status: 409, body: { error: 'deployment aborted' } };
      if (FINAL.has(status)) isFinished = true;
      return { status: 204 };
    }
    if (rest === `${options.offer.id}/log` && method === 'PUT') return { status: 204 };
    if (rest === `${options.offer.id}/update_control_map` && method === 'GET' && map !== undefined) {
      return { status: 200, body: { update_control_map: map } };
    }
    return { status: 404, body: { error: 'not found' } };
  }

  function offered(): unknown {
    const expire = new Date(Date.now() + 86_400_000).toISOString();
    const text = JSON.stringify(options.offer).replaceAll('<server>', url).replaceAll('<time>', expire);
    return JSON.parse(text);
  }

  /** Sends the artifact, or the part asked for, unless the connection is to be dropped on the way. */
  async function sendArtifact(range: string, response: ServerResponse): Promise<Partial<HttpLine>> {
    const size = options.artifact.length;
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? [];
    const part = options.artifact.subarray(Number(from), to === '' ? size : Number(to) + 1);
    const contentRange = `bytes ${from}-${Number(from) + part.length - 1}/${size}`;
    const isPart = range !== '';
    response.writeHead(isPart ? 206 : 200, {
      'content-length': part.length,
      ...(isPart ? { 'content-range': contentRange } : {}),
    });
    const isDropped = dropAfter > 0 && dropAfter < part.length && drops-- > 0;
    const sent = isDropped ? part.subarray(0, dropAfter) : part;
    await new Promise<void>((resolve) => {
      response.once('close', resolve);
      response.write(sent, () => {
        if (isDropped) response.destroy();
        else response.end(resolve);
      });
    });
    return {
      status: isPart ? 206 : 200,
      contentLength: part.length,
      ...(isPart ? { contentRange } : {}),
      bodyBytes: sent.length,
      ...(isDropped ? { fault: 'connection-dropped' } : {}),
    };
  }

  async function handle(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const t = Date.now() / 1000;
    const method = message.method ?? '';
    const [path = '', query] = (message.url ?? '').split('?', 2);
    // Its place is that of its arrival, whenever it is answered.
    const index = requests.push({ t, src: 'http', method, path, req: {}, status: 0 }) - 1;
    const chunks: Buffer[] = [];
    for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const body = text === '' ? undefined : parsed(text);
    const asked = {
      t,
      src: 'http' as const,
      method,
      path,
      ...(query === undefined ? {} : { query: `?${query}` }),
      req: message.headers as Readonly<Record<string, string>>,
      ...(body === undefined ? {} : { body }),
    };
    if (path === `/artifacts/${options.offer.id}` && method === 'GET') {
      const outcome = await sendArtifact(message.headers.range ?? '', response);
      requests[index] = { ...asked, status: 0, ...outcome };
    } else {
      const token = /^Bearer (\S+)$/.exec(message.headers.authorization ?? '')?.[1] ?? '';
      const reply = answerTo(method, path, body, token);
      requests[index] = {
        ...asked,
        status: reply.status,
        ...(reply.body === undefined ? {} : { reply: reply.body }),
      };
      const sent = typeof reply.body === 'string' ? reply.body : JSON.stringify(reply.body ?? '');
      const hasBody = reply.status !== 204 && reply.body !== undefined;
      response.writeHead(reply.status, hasBody ? { 'content-length': Buffer.byteLength(sent) } : {});
      response.end(hasBody ? sent : undefined);
    }
    waiting.forEach((look) => look());
  }

  const server = createServer((message, response) => {
    response.on('error', () => undefined);
    handle(message, response).catch(() => response.destroy());
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    url,
    requests,
    tokens,
    makeDeploymentAvailable: () => void (isAvailable = true),
    setControlMap: (states) => void (map = { id: options.offer.id, ...states }),
    until: (what, claim, withinMs) =>
      new Promise((resolve, reject) => {
        const done = (): void => {
          clearTimeout(timer);
          waiting.delete(look);
        };
        const look = (): void => {
          if (!claim(requests.filter(({ status }) => status !== 0))) return;
          done();
          resolve();
        };
        const timer = setTimeout(() => {
          done();
          const asked = requests.map((line) => `${line.method} ${line.path} -> ${line.status}`);
          reject(
            new Error(`not so after ${withinMs} ms: ${what}; the server was asked\n${asked.join('\n')}`),
          );
        }, withinMs);
        waiting.add(look);
        look();
      }),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
