/** What a server, or whoever stands before it, may answer. Each is to be met at each endpoint. */
import { createHash } from 'node:crypto';
import type { Answer } from '../support/device-api.ts';

export interface FaultyAnswer {
  readonly title: string;
  readonly answer: Answer;
  /** Of an answer that asks to be left alone for so long; 0 = it does not. */
  readonly retryAfterSeconds: number;
}

function fault(title: string, answer: Answer, retryAfterSeconds = 0): FaultyAnswer {
  return { title, answer, retryAfterSeconds };
}

/** Without those that mean something where they are met: see the tests of each endpoint. */
export const FAULT_STATUSES = [
  400, 402, 403, 405, 408, 410, 411, 413, 415, 418, 421, 422, 423, 425, 429, 431, 451, 500, 501, 502, 503,
  504, 505, 507, 511, 599,
] as const;
const LONG_WAIT_SECONDS = 7200;
const PORTAL = '<!DOCTYPE html><html><body>Accept the terms of this network</body></html>';

export const STATUS_FAULTS: readonly FaultyAnswer[] = [
  ...FAULT_STATUSES.map((status) =>
    fault(`status ${status}`, { status, body: JSON.stringify({ error: `no ${status}`, request_id: 'r' }) }),
  ),
  fault('status 503 without a body', { status: 503 }),
  fault('status 502 with a web page', {
    status: 502,
    body: '<html><h1>502 Bad Gateway</h1></html>',
    headers: { 'content-type': 'text/html' },
  }),
  ...[429, 503].map((status) =>
    fault(
      `status ${status} with Retry-After`,
      { status, headers: { 'retry-after': String(LONG_WAIT_SECONDS) } },
      LONG_WAIT_SECONDS,
    ),
  ),
];

/** No answer at all, half of one, or one of somebody else. */
export const LINK_FAULTS: readonly FaultyAnswer[] = [
  fault('a connection that is reset', (_request, _response, socket) => void socket.resetAndDestroy()),
  fault('a connection that is closed', (_request, _response, socket) => void socket.destroy()),
  fault(
    'an answer that is no HTTP',
    (_request, _response, socket) => void socket.end('220 mail.example ESMTP\r\n'),
  ),
  fault('an answer that is cut short', (_request, _response, socket) => {
    socket.end('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"id":"');
  }),
  fault('a header without end', (_request, _response, socket) => {
    socket.end(`HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(256 * 1024)}\r\n\r\n`);
  }),
  fault('an answer of two lengths', (_request, _response, socket) => {
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}');
  }),
  fault('a web page of a network log-in', {
    status: 200,
    body: PORTAL,
    headers: { 'content-type': 'text/html; charset=utf-8' },
  }),
  fault('a web page that says it is JSON', {
    status: 200,
    body: PORTAL,
    headers: { 'content-type': 'application/json' },
  }),
  fault('a redirect to a network log-in', { status: 302, headers: { location: 'http://127.0.0.1:9/login' } }),
  fault('a redirect to nowhere', { status: 307, headers: { location: 'http://:0/' } }),
  fault('a redirect in a circle', (request, response) => {
    response.writeHead(307, { location: request.path }).end();
  }),
];

/** Answers of status 200 that cannot be what was asked for, wherever a body is looked at. */
export const BODY_FAULTS: readonly FaultyAnswer[] = [
  fault('an empty answer', { status: 200, body: '' }),
  fault('blanks', { status: 200, body: ' \n ' }),
  fault('JSON that is cut off', { status: 200, body: '{"id":"x","artifact":{"source"' }),
  fault('no JSON', { status: 200, body: 'all is well' }),
  fault('a JSON array', { status: 200, body: '[]' }),
  fault('JSON null', { status: 200, body: 'null' }),
  fault('members of wrong types', { status: 200, body: '{"id":7,"artifact":"x","update_control_map":[]}' }),
  fault('deep nesting', { status: 200, body: '['.repeat(200_000) }),
  fault('bytes that are no text', { status: 200, body: createHash('sha512').update('noise').digest() }),
  fault('two megabytes', { status: 200, body: JSON.stringify({ id: 'x'.repeat(2 * 1024 * 1024) }) }),
  fault('compression nobody asked for', { status: 200, body: '{}', headers: { 'content-encoding': 'gzip' } }),
];

const NOT_FOUND: FaultyAnswer = { title: 'status 404', answer: { status: 404 }, retryAfterSeconds: 0 };
/** As long as it takes, but not the two hours some ask for. */
const SHORT_FAULTS = [...STATUS_FAULTS, ...LINK_FAULTS, NOT_FOUND].filter(
  ({ retryAfterSeconds }) => retryAfterSeconds === 0,
);
const OVERLOAD = [429, 503].map((status): FaultyAnswer => {
  const answer = { status, headers: { 'retry-after': '2' } };
  return { title: `status ${status} with Retry-After`, answer, retryAfterSeconds: 2 };
});

/** Where each costs seconds, one of each sort. */
export const SORTS = [
  ...SHORT_FAULTS.filter(({ title }) =>
    [
      'status 400',
      'status 403',
      'status 404',
      'status 408',
      'status 413',
      'status 429',
      'status 500',
      'status 502 with a web page',
      'status 503',
      'status 504',
      'a connection that is reset',
      'an answer that is cut short',
      'a web page of a network log-in',
    ].includes(title),
  ),
  ...OVERLOAD,
];

/** So many parts, to be met side by side. */
export function shares(
  faults: readonly FaultyAnswer[],
  count: number,
): readonly { part: number; faults: readonly FaultyAnswer[] }[] {
  return Array.from({ length: count }, (_nothing, part) => ({
    part: part + 1,
    faults: faults.filter((_fault, index) => index % count === part),
  }));
}
