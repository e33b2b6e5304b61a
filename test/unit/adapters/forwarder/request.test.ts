import { describe, expect, test } from 'vitest';
import { judgeBearer } from '../../../../src/adapters/forwarder/bearer.ts';
import { headersForClient } from '../../../../src/adapters/forwarder/headers.ts';
import { reasonOf, unavailable } from '../../../../src/adapters/forwarder/answer.ts';
import { destinationOf } from '../../../../src/adapters/forwarder/request-path.ts';
import { BearerToken } from '../../../../src/adapters/server/bearer-token.ts';

const token = new BearerToken('the.token.x');

describe('the bearer', () => {
  test.each([
    ['Bearer the.token.x', 'right'],
    ['bearer the.token.x', 'right'],
    ['Bearer the.token.y', 'wrong'],
    ['Bearer the.token.xx', 'wrong'],
    ['Bearer the.token.', 'wrong'],
    ['BEARER the.token.x', 'missing'],
    ['Basic the.token.x', 'missing'],
    ['the.token.x', 'missing'],
    ['Bearer', 'missing'],
    ['', 'missing'],
    [undefined, 'missing'],
  ])('%s is %s', (header, verdict) => {
    expect(judgeBearer(header, token)).toBe(verdict);
  });

  test('is never right while there is no token, not even an empty one', () => {
    for (const header of ['Bearer x', 'Bearer the.token.x']) expect(judgeBearer(header, null)).toBe('wrong');
    expect(judgeBearer('Bearer ', null)).toBe('missing');
  });
});

describe('a request target', () => {
  test.each([
    ['/api/devices/v1/a/b?c=d%2fe', '/api/devices/v1/a/b?c=d%2fe'],
    ['/api/devices/v1//a/./b/../c/', '/api/devices/v1/a/c/'],
    ['http://anything:1/api/devices/v1/a', '/api/devices/v1/a'],
    ['/api/devices/v1/authentications', '/api/devices/v1/authentications'],
    ['/api/devices/v1/a%20b', '/api/devices/v1/a%20b'],
    [
      '/api/devices/v1/x?to=/api/devices/v1/authentication/',
      '/api/devices/v1/x?to=/api/devices/v1/authentication/',
    ],
  ])('%s is forwarded as %s', (target, path) => {
    expect(destinationOf(target)).toEqual({ kind: 'forward', path });
  });

  test.each([
    '',
    '*',
    'api/devices/v1/x',
    '/api/devices',
    '/api/devicesx/y',
    '/api/devices/v1/a#b',
    '/api/devices/v1/a?b#c',
    '/api/devices/v1/%zz',
    '/api/devices/v1/a%00b',
    '/api/devices/v1/a?b c',
    '/api/devices/v1/é',
  ])('%s is unknown', (target) => {
    expect(destinationOf(target).kind).toBe('unknown');
  });

  test('is forbidden however often the authentication path is encoded', () => {
    let path = '/api/devices/v1/authentication/auth_requests';
    for (let round = 0; round < 20; round++) {
      expect(destinationOf(path).kind).toBe('forbidden');
      path = path.replace(/%|(?<=v1\/)a/, (found) => `%${found.charCodeAt(0).toString(16)}`);
    }
  });
});

test('headers of an answer lose what belongs to the connection, and keep their order and repetition', () => {
  const raw = [
    'A',
    '1',
    'Connection',
    'x-own, close',
    'X-Own',
    '2',
    'Set-Cookie',
    'a',
    'Keep-Alive',
    'x',
    'set-cookie',
    'b',
  ];
  expect(headersForClient(raw)).toEqual(['A', '1', 'Set-Cookie', 'a', 'set-cookie', 'b']);
});

test('a failure is told in one word, whatever its message repeats', () => {
  const error = Object.assign(new Error('Bearer the.token.x'), { code: 'ECONNRESET' });
  expect(unavailable(error).text).toBe('the server cannot be reached: ECONNRESET');
  expect(reasonOf(new Error('Bearer the.token.x'))).toBe('no answer');
  expect(reasonOf(new AggregateError([error]))).toBe('ECONNRESET');
});
