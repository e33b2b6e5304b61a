import fc from 'fast-check';
import wireFormat from 'dbus-next/lib/message.js';
import DBusBuffer from 'dbus-next/lib/dbus-buffer.js';
import { describe, expect, test } from 'vitest';
import { parseSignature, parseSingleType } from '../../../../src/adapters/dbus/signature.ts';
import { decodeBody, encodeBody, OversizeBody, variant } from '../../../../src/adapters/dbus/values.ts';

/** Through the bytes of a real message and back. */
function roundTrip(signature: string, values: readonly unknown[]): unknown[] {
  const { body } = encodeBody(signature, values);
  const [bytes] = wireFormat.marshall({
    type: 4,
    flags: 0,
    serial: 1,
    path: '/a',
    interface: 'a.B',
    member: 'C',
    signature,
    body,
  });
  const bodyStart = bytes.length - bytes.readUInt32LE(4);
  const reader = new DBusBuffer(bytes.subarray(bodyStart), 0, 'l'.charCodeAt(0), null, {});
  return decodeBody(signature, reader.read(signature));
}

describe('type signatures', () => {
  test('become trees', () => {
    expect(parseSignature('')).toEqual([]);
    expect(parseSignature('sa{s(iv)}').map(({ code }) => code)).toEqual(['s', 'a{s(iv)}']);
    expect(parseSingleType('aa{sv}')).toMatchObject({ kind: 'array', element: { kind: 'dict' } });
  });

  test.each([
    ['a', /ends inside/],
    ['(', /ends inside/],
    ['()', /empty structure/],
    ['(s', /ends inside/],
    ['{sv}', /unknown type code '\{'/],
    ['a{vs}', /not a basic type/],
    ['a{s', /ends inside/],
    ['a{sss}', /without end/],
    ['z', /unknown type code 'z'/],
    ['s'.repeat(256), /longer than 255/],
    [`${'a'.repeat(33)}s`, /nested deeper than 32/],
    [`${'('.repeat(33)}s${')'.repeat(33)}`, /nested deeper than 32/],
  ])('"%s" is refused', (signature, expected) => {
    expect(() => parseSignature(signature)).toThrow(expected);
  });
});

describe('values on their way out', () => {
  test.each([
    ['d', Number.NaN, /NaN \(number\), expected a finite number/],
    ['d', Number.NEGATIVE_INFINITY, /finite/],
    ['d', '1', /finite/],
    ['x', -(2n ** 63n), /expected an integer from -9223372036854775807/],
    ['x', 2n ** 63n, /integer/],
    ['t', -1, /integer/],
    ['t', 2n ** 64n, /integer/],
    ['x', 2 ** 53, /integer/],
    ['x', 1.5, /integer/],
    ['u', 4_294_967_296, /integer from 0 to 4294967295/],
    ['u', 1n, /integer/],
    ['i', 2_147_483_648, /integer/],
    ['y', 256, /integer/],
    ['n', -32_769, /integer/],
    ['q', -1, /integer/],
    ['b', 1, /boolean/],
    ['s', undefined, /expected a string/],
    ['s', null, /expected a string/],
    ['s', 'a\0b', /NUL/],
    ['o', 'not/a/path', /object path/],
    ['g', 'a{', /signature/],
    ['h', 0, /no file descriptors/],
    ['ah', [0], /no file descriptors/],
    ['v', 'plain', /\{ signature, value \}/],
    ['v', variant('ss', ['a', 'b']), /2 complete types/],
    ['v', variant('h', 0), /no file descriptors/],
    ['v', Object.create(variant('s', 'inherited')) as unknown, /signature, value/],
    ['as', 'abc', /expected an array/],
    ['(ss)', ['a'], /2 fields/],
    ['a{sv}', [['a', 1]], /a Map or a plain object/],
    ['a{sv}', new Date(), /a Map or a plain object/],
    ['a{su}', { a: 'b' }, /argument 0\[a\]: found "b"/],
  ])('of type %s: %o is refused', (signature, value, expected) => {
    expect(() => encodeBody(signature, [value])).toThrow(expected);
    expect(() => encodeBody(signature, [value])).toThrow(expect.objectContaining({ kind: 'internal' }));
  });

  test('too few or too many are refused', () => {
    expect(() => encodeBody('ss', ['a'])).toThrow(/1 values, expected 2/);
    expect(() => encodeBody('', ['a'])).toThrow(/1 values, expected 0/);
  });

  test('nested without end are refused, not followed', () => {
    let nested = variant('s', 'x');
    for (let depth = 0; depth < 70; depth += 1) nested = variant('v', nested);
    expect(() => encodeBody('v', [nested])).toThrow(/nesting deeper/);
  });

  test('above the limit are refused while counting, before a byte is written', () => {
    expect(() => encodeBody('s', ['x'.repeat(1024 * 1024)])).toThrow(OversizeBody);
    expect(() => encodeBody('as', [Array.from({ length: 200_000 }, () => 'abc')])).toThrow(OversizeBody);
    expect(encodeBody('s', ['x'.repeat(1000)]).sizeBytes).toBeGreaterThanOrEqual(1005);
  });
});

describe('values there and back', () => {
  test('keep 64 bit numbers whole', () => {
    const numbers = [2n ** 64n - 1n, 2n ** 63n - 1n, -(2n ** 63n) + 1n, 0n];
    expect(roundTrip('txxt', numbers)).toEqual(numbers);
    expect(roundTrip('xt', [-5, Number.MAX_SAFE_INTEGER])).toEqual([-5n, 9_007_199_254_740_991n]);
  });

  test('keep a key __proto__ a key', () => {
    const sent = new Map([['__proto__', variant('s', 'evil')]]);
    const [received] = roundTrip('a{sv}', [sent]) as [Map<string, unknown>];
    expect([...received]).toEqual([['__proto__', { signature: 's', value: 'evil' }]]);
    expect(Object.getPrototypeOf(received)).toBe(Map.prototype);
  });

  test('keep dictionaries with other keys, bytes, structures and nested variants', () => {
    const values = [
      new Map([[1, 'one']]),
      Uint8Array.of(1, 2, 255),
      [['a', new Map([['k', variant('v', variant('(ub)', [7, true]))]])]],
      '/a/b',
      'a{sv}',
    ];
    expect(roundTrip('a{us}aya(sa{sv})og', values)).toEqual(values);
  });

  test('hold for any properties we might publish', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'));
    const value = fc.oneof(
      text.map((item) => variant('s', item)),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((item) => variant('t', item)),
      fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }).map((item) => variant('x', item)),
      // The library writes -0 as 0.
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((item) => variant('d', item + 0)),
      fc.boolean().map((item) => variant('b', item)),
      fc.array(text).map((item) => variant('as', item)),
      fc.array(fc.tuple(text, fc.integer())).map((item) => variant('a(si)', item)),
    );
    const map = fc.array(fc.tuple(text, value)).map((entries) => new Map(entries));
    // A failure prints its seed.
    fc.assert(
      fc.property(map, (sent) => {
        expect(roundTrip('a{sv}', [sent])).toEqual([sent]);
      }),
      { numRuns: 200 },
    );
  });
});

describe('values on their way in', () => {
  test('with a file descriptor anywhere are refused', () => {
    expect(() => decodeBody('h', [0])).toThrow(/file descriptors are not accepted/);
    const raw = [[['key', [[{ type: 'h', child: [] }], [0]]]]];
    expect(() => decodeBody('a{sv}', raw)).toThrow(/argument 0\[key\] \(variant\): file descriptors/);
  });

  test('with one key twice are refused', () => {
    expect(() =>
      decodeBody('a{su}', [
        [
          ['a', 1],
          ['a', 2],
        ],
      ]),
    ).toThrow(/the key "a" is given twice/);
  });
});
