/** Answers of our own. Texts as Mender 3.4 writes them, byte for byte. Source: spec/dbus-mender.md section 4. */
import type { ServerResponse } from 'node:http';

export interface OwnAnswer {
  readonly status: number;
  /** One line, without its end. */
  readonly text: string;
}

export const OWN_ANSWERS = {
  unknownPath: { status: 404, text: '404 page not found' },
  forbiddenPath: { status: 403, text: 'Forbidden' },
  noBearer: { status: 401, text: 'no authorization header' },
  wrongBearer: { status: 401, text: 'invalid JWT token in Authorization header' },
  noWebSocket: { status: 503, text: 'Service Unavailable' },
  tooManyWebSockets: { status: 503, text: 'too many websocket connections' },
} as const satisfies Record<string, OwnAnswer>;

/** `Service Unavailable` of the table, with a reason that names neither token nor query. */
export function unavailable(error: unknown): OwnAnswer {
  return { status: 503, text: `the server cannot be reached: ${reasonOf(error)}` };
}

/** One short word: messages of errors may repeat what was sent. */
export function reasonOf(error: unknown): string {
  const inner = error instanceof AggregateError ? error.errors[0] : error;
  const code: unknown = inner instanceof Error && 'code' in inner ? inner.code : undefined;
  if (typeof code === 'string' && /^[A-Z][A-Z0-9_]*$/.test(code)) return code;
  const kind: unknown = inner instanceof Error && 'kind' in inner ? inner.kind : undefined;
  return typeof kind === 'string' ? kind : 'no answer';
}

/** `isLast`: the connection ends with it. */
export function sendOwn(response: ServerResponse, { status, text }: OwnAnswer, isLast: boolean): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = `${text}\n`;
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'X-Content-Type-Options': 'nosniff',
    'Content-Length': Buffer.byteLength(body),
    ...(isLast ? { Connection: 'close' } : {}),
  });
  response.end(body);
}
