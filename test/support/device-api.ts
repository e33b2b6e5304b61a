/**
 * A scriptable double of a Mender server on loopback. It keeps every request byte for byte, checks each against the
 * specification (spec/server-api.md) and writes down what is wrong with it, and lets a test take over single answers:
 * faults are what it is for. It accepts every device unless told otherwise.
 */
import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

export type Endpoint =
  'auth' | 'inventory' | 'next-v2' | 'next-v1' | 'next-v1-get' | 'status' | 'log' | 'map' | 'other';

export interface ReceivedRequest {
  readonly endpoint: Endpoint;
  readonly method: string;
  /** With the query, as sent. */
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
  /** Parsed; undefined = no body, or no JSON. */
  readonly json: unknown;
  /** Subject of the client certificate; '' = none. */
  readonly clientCertificate: string;
  /** Number of the connection it came over. */
  readonly connection: number;
}

/** A whole answer, or a function that does with the connection what it likes. */
export type Answer =
  | {
      readonly status: number;
      readonly body?: string | Buffer;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | ((request: ReceivedRequest, response: ServerResponse, socket: Socket) => void | Promise<void>);

export interface DeviceApiOptions {
  readonly tls?: ServerOptions;
  readonly host?: string;
}

export interface DeviceApi {
  readonly url: string;
  readonly port: number;
  readonly requests: readonly ReceivedRequest[];
  /** What was wrong with requests, in words. */
  readonly problems: readonly string[];
  /** Endpoints in the order they were called. */
  calls(): readonly Endpoint[];
  of(endpoint: Endpoint): readonly ReceivedRequest[];
  /** The next requests at the endpoint get these answers, one each; then the usual ones follow. */
  answerNext(endpoint: Endpoint, ...answers: readonly Answer[]): void;
  /** Every further request at the endpoint gets this answer; null = the usual one. */
  answerAlways(endpoint: Endpoint, answer: Answer | null): void;
  /** The deployment that is offered; null = none. */
  offer(deployment: unknown): void;
  /** Tokens issued so far are not accepted any more. */
  revokeTokens(): void;
  /** Who gets requests for another protocol (WebSockets); default: they are answered as ordinary ones. */
  onUpgrade(listener: (message: IncomingMessage, socket: Duplex) => void): void;
  /** The token issued last. */
  readonly token: string;
  /** Whether the token was issued here and has not been revoked. */
  isValid(token: string): boolean;
  close(): Promise<void>;
}

const DEPLOYMENTS = '/api/devices/v1/deployments/device/deployments';
const DEPLOYMENTS_V2 = '/api/devices/v2/deployments/device/deployments';
const STATUSES = new Set([
  'downloading',
  'installing',
  'rebooting',
  'pause_before_installing',
  'pause_before_rebooting',
  'pause_before_committing',
  'success',
  'failure',
  'already-installed',
]);
const MAX_BODY_BYTES = 1024 * 1024;

export async function startDeviceApi(options: DeviceApiOptions = {}): Promise<DeviceApi> {
  const requests: ReceivedRequest[] = [];
  const problems: string[] = [];
  const queued = new Map<Endpoint, Answer[]>();
  const always = new Map<Endpoint, Answer>();
  const valid = new Set<string>();
  const sockets = new Set<Socket>();
  let connections = 0;
  const numbers = new WeakMap<object, number>();
  let offered: unknown = null;
  let token = '';

  async function handle(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const received: ReceivedRequest = {
      endpoint: endpointOf(message.method ?? '', message.url ?? ''),
      method: message.method ?? '',
      path: message.url ?? '',
      headers: message.headers,
      body,
      json: parsed(body),
      clientCertificate: subjectOf(message.socket),
      connection: numbers.get(message.socket) ?? 0,
    };
    requests.push(received);
    problems.push(...objections(received).map((text) => `${received.method} ${received.path}: ${text}`));
    const answer = queued.get(received.endpoint)?.shift() ?? always.get(received.endpoint) ?? usual(received);
    if (typeof answer === 'function') return answer(received, response, message.socket);
    response.writeHead(answer.status, {
      ...(answer.status === 204 ? {} : { 'content-length': Buffer.byteLength(answer.body ?? '') }),
      ...answer.headers,
    });
    response.end(answer.status === 204 ? undefined : answer.body);
  }

  function usual(request: ReceivedRequest): Answer {
    if (request.endpoint === 'auth') {
      token = `head.${randomBytes(24).toString('base64url')}.tail`;
      valid.add(token);
      return { status: 200, body: token, headers: { 'content-type': 'application/jwt' } };
    }
    if (!valid.has(bearerOf(request))) return { status: 401, body: '{"error":"unauthorized"}' };
    switch (request.endpoint) {
      case 'inventory':
        return { status: 200 };
      case 'next-v2':
      case 'next-v1':
      case 'next-v1-get':
        return offered === null ? { status: 204 } : { status: 200, body: JSON.stringify(offered) };
      case 'status':
      case 'log':
        return { status: 204 };
      default:
        return { status: 404, body: '{"error":"not found"}' };
    }
  }

  const listener = (message: IncomingMessage, response: ServerResponse): void => {
    response.on('error', () => undefined);
    handle(message, response).catch(() => response.destroy());
  };
  const server: Server = options.tls ? createTlsServer(options.tls, listener) : createServer(listener);
  server.on('tlsClientError', () => undefined);
  const onSocket = (socket: Socket): void => {
    connections += 1;
    numbers.set(socket, connections);
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  };
  server.on(options.tls ? 'secureConnection' : 'connection', onSocket);
  const host = options.host ?? '127.0.0.1';
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `${options.tls ? 'https' : 'http'}://${host}:${port}`,
    port,
    requests,
    problems,
    calls: () => requests.map(({ endpoint }) => endpoint),
    of: (endpoint) => requests.filter((request) => request.endpoint === endpoint),
    answerNext: (endpoint, ...answers) =>
      void queued.set(endpoint, [...(queued.get(endpoint) ?? []), ...answers]),
    answerAlways: (endpoint, answer) =>
      void (answer === null ? always.delete(endpoint) : always.set(endpoint, answer)),
    offer: (deployment) => (offered = deployment),
    revokeTokens: () => valid.clear(),
    onUpgrade: (listener) => void server.on('upgrade', listener),
    isValid: (one) => valid.has(one),
    get token() {
      return token;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An offer as servers make it, for an artifact of this name. */
export function sampleOffer(id: string, artifactName: string, uri: string): Record<string, unknown> {
  return {
    id,
    artifact: {
      id: 'c0ffee00-0000-4000-8000-000000000001',
      artifact_name: artifactName,
      device_types_compatible: ['test-device'],
      source: { uri, expire: '2031-02-03T04:05:06Z', method: 'GET' },
    },
  };
}

function endpointOf(method: string, path: string): Endpoint {
  const at = path.split('?', 1)[0] ?? '';
  if (at === '/api/devices/v1/authentication/auth_requests') return 'auth';
  if (at === '/api/devices/v1/inventory/device/attributes') return 'inventory';
  if (at === `${DEPLOYMENTS_V2}/next`) return 'next-v2';
  if (at === `${DEPLOYMENTS}/next`) return method === 'GET' ? 'next-v1-get' : 'next-v1';
  if (at.startsWith(`${DEPLOYMENTS}/`) && at.endsWith('/status')) return 'status';
  if (at.startsWith(`${DEPLOYMENTS}/`) && at.endsWith('/log')) return 'log';
  if (at.startsWith(`${DEPLOYMENTS_V2}/`) && at.endsWith('/update_control_map')) return 'map';
  return 'other';
}

const METHODS: Readonly<Record<Endpoint, readonly string[]>> = {
  auth: ['POST'],
  inventory: ['PUT', 'PATCH'],
  'next-v2': ['POST'],
  'next-v1': ['POST'],
  'next-v1-get': ['GET'],
  status: ['PUT'],
  log: ['PUT'],
  map: ['GET'],
  other: [],
};

/** What the specification forbids about a request. */
function objections(request: ReceivedRequest): readonly string[] {
  const { endpoint, method, headers, body } = request;
  const found: string[] = [];
  if (endpoint === 'other') return ['no such path'];
  if (!METHODS[endpoint].includes(method)) found.push(`method ${method} at ${endpoint}`);
  if (body.length > MAX_BODY_BYTES) found.push(`a body of ${body.length} bytes`);
  if (method === 'GET') {
    if (body.length > 0) found.push('a body in a GET');
  } else {
    if (headers['content-type'] !== 'application/json') found.push(`content type ${headers['content-type']}`);
    if (request.json === undefined) found.push('a body that is not JSON');
  }
  if (endpoint === 'auth') return [...found, ...authObjections(request)];
  if (bearerOf(request) === '') found.push('no bearer token');
  return [...found, ...bodyObjections(request)];
}

function authObjections({ headers, body, json }: ReceivedRequest): readonly string[] {
  if (!isRecord(json)) return ['no JSON object'];
  const found: string[] = [];
  for (const [name, value] of Object.entries(json)) {
    if (typeof value !== 'string') found.push(`${name} is no string`);
  }
  const { id_data: identity, pubkey } = json;
  if (typeof identity !== 'string' || !isRecord(parsed(Buffer.from(identity)))) {
    found.push('id_data is no JSON object in a string');
  }
  const signature = headers['x-men-signature'];
  if (typeof signature !== 'string' || !/^[A-Za-z0-9+/]+={0,2}$/.test(signature)) found.push('no signature');
  if (
    typeof pubkey !== 'string' ||
    !/^-----BEGIN PUBLIC KEY-----\n(.{1,64}\n)+-----END PUBLIC KEY-----\n$/.test(pubkey)
  ) {
    found.push('no public key');
  } else if (typeof signature === 'string') {
    const key = createPublicKey(pubkey);
    const digest = key.asymmetricKeyType === 'ed25519' ? null : 'sha256';
    if (!verify(digest, body, key, Buffer.from(signature, 'base64')))
      found.push('the signature does not fit the body');
  }
  return found;
}

function bodyObjections({ endpoint, json, path }: ReceivedRequest): readonly string[] {
  const isFlat = (value: unknown): boolean =>
    isRecord(value) &&
    Object.values(value).every((one) => typeof one === 'string') &&
    Boolean(value['artifact_name'] && value['device_type']);
  switch (endpoint) {
    case 'next-v2':
      return isRecord(json) && isFlat(json['device_provides']) ? [] : ['device_provides is no flat map'];
    case 'next-v1':
      return isFlat(json) ? [] : ['the body is no flat map'];
    case 'next-v1-get': {
      const query = new URL(path, 'http://x').searchParams;
      return query.get('artifact_name') && query.get('device_type') ? [] : ['a parameter is missing'];
    }
    case 'status': {
      if (!isRecord(json) || !STATUSES.has(String(json['status']))) return ['no known status'];
      const { substate } = json;
      return substate === undefined ||
        (typeof substate === 'string' && substate !== '' && Buffer.byteLength(substate) <= 200)
        ? []
        : ['the substate is empty or too long'];
    }
    case 'log': {
      const messages = isRecord(json) ? json['messages'] : undefined;
      if (!Array.isArray(messages) || messages.length === 0) return ['no messages'];
      return messages.every(isLogEntry) ? [] : ['an entry that servers refuse'];
    }
    case 'inventory':
      if (!Array.isArray(json) || json.length > 100) return ['no list of at most a hundred attributes'];
      return json.every(isAttribute) ? [] : ['an attribute that servers refuse'];
    default:
      return [];
  }
}

function isLogEntry(entry: unknown): boolean {
  if (!isRecord(entry)) return false;
  const { timestamp, level, message } = entry;
  return (
    Object.keys(entry).length === 3 &&
    typeof timestamp === 'string' &&
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(timestamp) &&
    typeof level === 'string' &&
    level !== '' &&
    typeof message === 'string' &&
    message !== ''
  );
}

function isAttribute(attribute: unknown): boolean {
  if (!isRecord(attribute)) return false;
  const { name, value } = attribute;
  const isName = typeof name === 'string' && name !== '' && Buffer.byteLength(name) <= 1024;
  const isValue =
    typeof value === 'string' || (Array.isArray(value) && value.every((one) => typeof one === 'string'));
  return isName && isValue;
}

function bearerOf({ headers }: ReceivedRequest): string {
  return /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1] ?? '';
}

function subjectOf(socket: Socket): string {
  const certificate = 'getPeerCertificate' in socket ? (socket as TLSSocket).getPeerCertificate() : undefined;
  return String(certificate?.subject?.CN ?? '');
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
