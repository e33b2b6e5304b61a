/** Headers on their way through: all but those that belong to one connection. Source: RFC 9110 section 7.6.1. */
import type { IncomingMessage } from 'node:http';
import type { Secret } from '../../ports/authentication.ts';

const HOP_BY_HOP = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'te',
  'trailer',
  'upgrade',
  'http2-settings',
  'proxy-authenticate',
  'proxy-authorization',
]);
/** Made anew for the server. */
const REPLACED = new Set(['host', 'authorization', 'expect']);

/** As undici takes them: several values of one name are kept. */
export type RequestHeaders = Record<string, string | string[]>;

/** `token` takes the place of what was shown, which may have been several. */
export function headersForServer(message: IncomingMessage, token: Secret): RequestHeaders {
  const headers = Object.create(null) as RequestHeaders;
  for (const [name, value] of endToEnd(message.rawHeaders)) {
    const key = name.toLowerCase();
    if (REPLACED.has(key)) continue;
    const before = headers[key];
    if (before === undefined) headers[key] = value;
    else headers[key] = [...(typeof before === 'string' ? [before] : before), value];
  }
  headers['authorization'] = `Bearer ${token.reveal()}`;
  return headers;
}

/** From and to the flat form: name, value, name, value. */
export function headersForClient(raw: readonly string[]): string[] {
  return endToEnd(raw).flat();
}

/** '' = absent. */
export function valueOf(raw: readonly string[], name: string): string {
  const at = raw.findIndex((text, index) => index % 2 === 0 && text.toLowerCase() === name);
  return at < 0 ? '' : (raw[at + 1] ?? '');
}

function endToEnd(raw: readonly string[]): readonly [name: string, value: string][] {
  const pairs: [string, string][] = [];
  const named = new Set<string>();
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const [name = '', value = ''] = raw.slice(at, at + 2);
    pairs.push([name, value]);
    if (name.toLowerCase() !== 'connection') continue;
    for (const one of value.split(',')) named.add(one.trim().toLowerCase());
  }
  // The length of a body is not the sender's to hide.
  named.delete('content-length');
  return pairs.filter(([name]) => !HOP_BY_HOP.has(name.toLowerCase()) && !named.has(name.toLowerCase()));
}

/** Whether a body follows, and so must be passed on. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}
