import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJson, plainValue } from '../../../src/config/json.ts';
import { nearest } from '../../../src/config/nearest.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { seedFromEnvironment } from '../../support/random.ts';

function message(text: string): string {
  try {
    parseJson(text, '/c.json');
  } catch (error) {
    expect(error).toBeInstanceOf(UpdateError);
    return (error as UpdateError).message;
  }
  throw new Error('expected an error');
}

describe('the JSON reader', () => {
  it('reads any JSON as the built-in parser does', () => {
    const seed = seedFromEnvironment();
    fc.assert(
      fc.property(fc.json(), fc.constantFrom(undefined, 2, '\t'), (text, indent) => {
        const spaced = JSON.stringify(JSON.parse(text), null, indent);
        expect(JSON.stringify(plainValue(parseJson(spaced, 'x')))).toBe(JSON.stringify(JSON.parse(spaced)));
      }),
      { seed, numRuns: 500 },
    );
  });

  it('accepts and refuses the same damaged texts as the built-in parser', () => {
    const seed = seedFromEnvironment();
    fc.assert(
      fc.property(
        fc.json(),
        fc.nat(),
        fc.constantFrom('', ',', '"', '}', ']', ':', '0', '\\', '\n', 'e'),
        (text, at, put) => {
          const place = at % (text.length + 1);
          const damaged = text.slice(0, place) + put + text.slice(place + 1);
          let isGood = true;
          try {
            JSON.parse(damaged);
          } catch {
            isGood = false;
          }
          if (isGood) parseJson(damaged, 'x');
          else expect(() => parseJson(damaged, 'x')).toThrow(UpdateError);
        },
      ),
      { seed, numRuns: 2000 },
    );
  });

  it('says file, line, column, what it found and what it expected', () => {
    expect(message('{\n  "a": 1,\n  "b" 2\n}')).toBe('/c.json:3:7: found "2", expected ":"');
    expect(message('{\n  "a": 1\n  "b": 2\n}')).toBe('/c.json:3:3: found "\\"", expected "," or "}"');
    expect(message('')).toBe('/c.json:1:1: found the end of the file, expected a value');
    expect(message('{"a": yes}')).toBe('/c.json:1:7: found "yes", expected a value');
    expect(message('{"a": 1,}')).toBe('/c.json:1:9: found "}", expected a key in double quotes');
    expect(message('{"a": "x')).toMatch(/^\/c\.json:1:7: found a broken string/);
    expect(message('{} {}')).toBe('/c.json:1:4: found "{", expected the end of the file');
    expect(message("{'a': 1}")).toBe('/c.json:1:2: found "\'", expected a key in double quotes');
  });

  it('refuses endless nesting instead of running out of stack', () => {
    expect(message('['.repeat(100_000))).toContain('at most 64 levels');
  });

  it('treats __proto__ as a mere key', () => {
    const value = plainValue(parseJson('{"__proto__": {"polluted": true}}', 'x'));
    expect((value as { polluted?: unknown }).polluted).toBeUndefined();
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('keeps both of two equal keys, with their places, and lets the last one count', () => {
    const node = parseJson('{"a": 1,\n "a": 2}', 'x');
    expect(node.kind === 'object' && node.members.map(({ line }) => line)).toEqual([1, 2]);
    expect(plainValue(node)).toEqual(Object.assign(Object.create(null), { a: 2 }));
  });
});

describe('the nearest word', () => {
  const words = ['ServerURL', 'Servers', 'TenantToken', 'RetryPollCount'];
  it('finds misspellings, swaps and other letter case', () => {
    expect(nearest('SeverURL', words)).toBe('ServerURL');
    expect(nearest('tenanttokne', words)).toBe('TenantToken');
    expect(nearest('RETRYPOLLCOUNTS', words)).toBe('RetryPollCount');
  });

  it('does not guess wildly', () => {
    expect(nearest('Colour', words)).toBeNull();
    expect(nearest('x'.repeat(100_000), words)).toBeNull();
  });
});
