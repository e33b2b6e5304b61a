import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { logBody } from '../../../../src/adapters/server/deployment-log.ts';
import { identityJson } from '../../../../src/adapters/server/identity.ts';
import { linkError } from '../../../../src/adapters/http/link-error.ts';
import { plausibleDates } from '../../../../src/adapters/http/plausible-dates.ts';
import { rawMember } from '../../../../src/adapters/server/raw-json.ts';
import { retryAfterSeconds } from '../../../../src/adapters/http/retry-after.ts';

const seed = Date.now() % 2 ** 31;

describe('a member of a JSON text', () => {
  it(`is found wherever it stands, byte for byte (seed ${seed})`, () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string(), fc.json()), { maxLength: 5 }),
        fc.json(),
        fc.array(fc.tuple(fc.string(), fc.json()), { maxLength: 5 }),
        fc.constantFrom('', ' ', '\n\t', '\r\n  '),
        (before, value, after, blank) => {
          const members = [...before, ['map', value] as const, ...after.filter(([key]) => key !== 'map')].map(
            ([key, text]) => `${JSON.stringify(key)}${blank}:${blank}${text}${blank}`,
          );
          const text = `${blank}{${blank}${members.join(`,${blank}`)}}${blank}`;
          JSON.parse(text);
          expect(rawMember(text, 'map')).toBe(value === 'null' ? null : value);
        },
      ),
      { seed, numRuns: 500 },
    );
  });

  it('is the last of several, may have an escaped name, and is none when null or absent', () => {
    expect(rawMember('{"map":1,"map": -2.50e3 }', 'map')).toBe('-2.50e3');
    expect(rawMember('{"m\\u0061p":[{"map":3}]}', 'map')).toBe('[{"map":3}]');
    expect(rawMember('{"map":1,"map":null}', 'map')).toBeNull();
    expect(rawMember('{}', 'map')).toBeNull();
    expect(rawMember('{"x":{"map":1}}', 'map')).toBeNull();
  });
});

describe('the identity', () => {
  it('has its keys sorted bytewise, also those that look like numbers', () => {
    const values = new Map([
      ['z', ['1']],
      ['10', ['x']],
      ['9', ['y', 'z']],
      ['__proto__', ['p']],
      ['Z', ['&<>"\u2028']],
      ['ä', ['']],
      ['\u{10000}', ['astral']],
      ['\uffee', ['bmp']],
    ]);
    expect(identityJson(values)).toBe(
      '{"10":"x","9":["y","z"],"Z":"&<>\\"\u2028","__proto__":"p","z":"1","ä":"","\uffee":"bmp","\u{10000}":"astral"}',
    );
  });
});

describe('Retry-After', () => {
  const now = Date.UTC(1970, 0, 1);
  it('with a date is measured by the clock of the server, else by ours', () => {
    const date = 'Tue, 03 Feb 2032 04:05:06 GMT';
    expect(retryAfterSeconds(date, 'Tue, 03 Feb 2032 04:05:00 GMT', now)).toBe(6);
    expect(retryAfterSeconds(date, 'nonsense', Date.UTC(2032, 1, 3, 4, 5, 0))).toBe(6);
    expect(retryAfterSeconds(date, undefined, Date.UTC(2033, 0, 1))).toBe(0);
    expect(retryAfterSeconds('Tuesday, 03-Feb-32 04:05:06 GMT', date, now)).toBe(0);
  });
  it('is nothing when it cannot be understood', () => {
    for (const text of ['', ' ', '1e3', '12 s', '2032-02-03', '+5', 'NaN', '99999999999999999999']) {
      expect(retryAfterSeconds(text, undefined, now)).toBeNull();
    }
  });
});

describe('the reason of a failed connection', () => {
  const dates = { earliestMs: Date.UTC(2026, 0, 1), latestMs: Date.UTC(2056, 0, 1) };
  const reason = (error: unknown, nowMs = Date.UTC(2027, 0, 1)): unknown =>
    linkError({ doing: 'asking', host: 'h' }, error, nowMs, dates).details['reason'];
  const coded = (code: string): Error => Object.assign(new Error('failed'), { code });
  it('goes by code, through wrappers and several addresses', () => {
    expect(reason(coded('EAI_AGAIN'))).toBe('name-resolution');
    expect(reason(new AggregateError([coded('ENETUNREACH'), coded('ECONNREFUSED')]))).toBe('unreachable');
    expect(reason(coded('EHOSTUNREACH'))).toBe('unreachable');
    expect(reason(coded('DEPTH_ZERO_SELF_SIGNED_CERT'))).toBe('tls');
    expect(reason(coded('ERR_SSL_WRONG_VERSION_NUMBER'))).toBe('tls');
    expect(reason(coded('SOMETHING_NEW'))).toBe('connection-lost');
    expect(reason('no error at all')).toBe('connection-lost');
  });
  it('is the clock only where the date cannot be', () => {
    for (const code of ['CERT_NOT_YET_VALID', 'CERT_HAS_EXPIRED']) {
      expect(reason(coded(code), 0)).toBe('clock-wrong');
      expect(reason(coded(code), Date.UTC(2099, 0, 1))).toBe('clock-wrong');
      expect(reason(coded(code))).toBe('tls');
    }
    expect(reason(coded('ENOTFOUND'), 0)).toBe('name-resolution');
  });
  it('takes the dates of files that exist, and of no others', () => {
    const { earliestMs, latestMs } = plausibleDates({
      builtWallMs: Date.UTC(2020, 0, 1),
      files: [new URL(import.meta.url).pathname, '/none'],
    });
    expect(earliestMs).toBeGreaterThan(Date.UTC(2024, 0, 1));
    expect(latestMs).toBeGreaterThan(earliestMs);
  });
});

describe('the body of a log upload', () => {
  it(`is never over its limit, and keeps the newest entries (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 400 }), { maxLength: 60 }),
        fc.integer({ min: 1000, max: 20_000 }),
        async (messages, maxBytes) => {
          async function* lines(): AsyncGenerator<string> {
            for (const message of messages) {
              yield JSON.stringify({ timestamp: '2030-01-02T03:04:05.123456Z', level: 'info', message });
            }
          }
          const body = await logBody(lines(), maxBytes, '2030-01-01T00:00:00Z');
          expect(body.length).toBeLessThanOrEqual(maxBytes);
          const sent = (JSON.parse(body.toString()) as { messages: { message: string }[] }).messages;
          expect(sent.length).toBeGreaterThan(0);
          const kept = sent
            .filter(({ message }) => !message.startsWith('(THE '))
            .map(({ message }) => message);
          expect(kept).toEqual(kept.length === 0 ? [] : messages.slice(-kept.length));
          if (kept.length < messages.length)
            expect(sent[0]?.message).toMatch(/^\(THE ORIGINAL LOGS WERE TOO BIG/);
        },
      ),
      { seed, numRuns: 200 },
    );
  });
});
