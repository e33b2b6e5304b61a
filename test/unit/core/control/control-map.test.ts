import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  controlMapJson,
  MAP_ACTIONS,
  MAP_POINTS,
  MAX_MAP_BYTES,
  parseControlMap,
  parseServerMap,
  type ControlMap,
  type ParsedMap,
} from '../../../../src/core/control/control-map.ts';
import { isOneLine } from '../../../../src/core/printable.ts';
import {
  casesIn,
  CONTROL_MAP_CASES,
  shortStates,
  type ParseCase,
} from '../../../support/control-map-cases.ts';
import { seedFromEnvironment } from '../../../support/random.ts';

const ID = '01234567-89ab-cdef-0123-456789abcdef';
const PAUSE = '{"ArtifactInstall_Enter":{"action":"pause"}}';

function mapIn(result: ParsedMap): ControlMap {
  if (result.kind !== 'map') throw new Error(`found ${JSON.stringify(result)}, expected a map`);
  return result.map;
}

function complaint(text: string): string {
  const result = parseControlMap(text);
  if (result.kind !== 'invalid') throw new Error(`found ${JSON.stringify(result)}, expected a refusal`);
  return `${result.path}: ${result.message}`;
}

describe('the case table', () => {
  it('has the 68 cases of the specification, each once and each run somewhere', () => {
    expect(CONTROL_MAP_CASES.map(({ number }) => number)).toEqual(
      Array.from({ length: 68 }, (_, at) => at + 1),
    );
    expect(CONTROL_MAP_CASES.filter(({ runIn }) => runIn.length === 0)).toEqual([]);
  });
});

describe('reading a map, case', () => {
  it.each(casesIn<ParseCase>('parse').map((row) => [row.number, row.name, row] as const))(
    '%i: %s',
    (_number, _name, { examples }) => {
      expect(examples.length).toBeGreaterThan(0);
      for (const { given, text = JSON.stringify(given), expected } of examples) {
        const result = parseControlMap(text);
        if ('invalidAt' in expected) {
          expect(result, text).toMatchObject({ kind: 'invalid', path: expected.invalidAt });
          continue;
        }
        const map = mapIn(result);
        expect(shortStates(map.states), text).toEqual(expected.states);
        if (expected.priority !== undefined) expect(map.priority).toBe(expected.priority);
        if (expected.id !== undefined) expect(map.id).toBe(expected.id);
      }
    },
  );
});

describe('a refusal', () => {
  it.each([
    ['', '$: found the end of the text at character 1, expected a JSON value'],
    ['not json', '$: found "not json" at character 1, expected a JSON value'],
    [`{"id":"${ID}",}`, '$: found "}" at character 46, expected a key in double quotes'],
    ['{"id" "x"}', '$: found ""x"}" at character 7, expected ":"'],
    ['{"id":"x" "y"}', '$: found ""y"}" at character 11, expected "," or "}"'],
    ['[1 2', '$: found "2" at character 4, expected "," or "]"'],
    ['3', '$: found the number 3, expected an object'],
    ['"x"', '$: found "x", expected an object'],
    ['[]', '$: found an array, expected an object'],
    ['true', '$: found a truth value, expected an object'],
    ['{"id":{}}', '$.id: found an object, expected a string'],
    ['{"priority":"1"}', '$.priority: found "1", expected an integer'],
    ['{"priority":1.0}', '$.priority: found 1.0, expected an integer without fraction and exponent'],
    ['{"priority":1e0}', '$.priority: found 1e0, expected an integer without fraction and exponent'],
    [`{"id":"${ID}","priority":11}`, '$.priority: found 11, expected -10 to 10'],
    ['{"states":[]}', '$.states: found an array, expected an object'],
    ['{"states":{"bogus":3}}', '$.states.bogus: found the number 3, expected an object'],
    ['{"states":{"x":{"action":3}}}', '$.states.x.action: found the number 3, expected a string'],
    ['{"foo":1}', '$.foo: found the field "foo", expected only id, priority, states'],
    [
      '{"states":{"x":{"foo":1}}}',
      '$.states.x.foo: found the field "foo", expected only action, on_map_expire, on_action_executed',
    ],
    ['{}', '$.id: found an empty text, expected a UUID of 36 characters'],
    [
      `{"id":"${ID}","states":{"":null}}`,
      '$.states[""]: found an empty text, expected ArtifactInstall_Enter, ArtifactReboot_Enter or ArtifactCommit_Enter',
    ],
    [
      `{"id":"${ID}","states":{"ArtifactReboot_Enter":{"on_map_expire":"pause"}}}`,
      '$.states.ArtifactReboot_Enter.on_map_expire: found "pause", expected continue, force_continue or fail',
    ],
  ])('of %s says where, what was found and what was expected', (text, expected) => {
    expect(complaint(text)).toBe(expected);
  });

  it('comes in the order syntax, types, unknown fields, id, priority, points, actions', () => {
    const state = '"ArtifactInstall_Enter":{"action":"bogus"}';
    const texts = [
      `{"foo":1,"id":3,,"priority":11,"states":{"bogus":{},${state}}}`,
      `{"foo":1,"priority":11,"states":{"bogus":{},${state}},"id":3}`,
      `{"foo":1,"priority":11,"states":{"bogus":{},${state}},"id":"x"}`,
      `{"priority":11,"states":{"bogus":{},${state}},"id":"x"}`,
      `{"priority":11,"states":{"bogus":{},${state}},"id":"${ID}"}`,
      `{"states":{${state},"bogus":{}},"id":"${ID}"}`,
      `{"states":{${state}},"id":"${ID}"}`,
    ];
    expect(texts.map((text) => complaint(text).split(': ')[0])).toEqual([
      '$',
      '$.id',
      '$.foo',
      '$.id',
      '$.priority',
      '$.states.bogus',
      '$.states.ArtifactInstall_Enter.action',
    ]);
  });

  it('shows foreign text printable and cut', () => {
    const key = `\u202e${'x'.repeat(5000)}`;
    const result = parseControlMap(JSON.stringify({ id: ID, [key]: 1 }));
    expect(result.kind).toBe('invalid');
    const { path, message } = result as { path: string; message: string };
    expect(path.length).toBeLessThan(100);
    expect(message.length).toBeLessThan(250);
    expect(path).toContain('\\u{202e}');
    expect(complaint(`{"priority":${'9'.repeat(5000)},"id":"${ID}"}`).length).toBeLessThan(200);
    expect(complaint(`"${'x'.repeat(5000)}"`).length).toBeLessThan(200);
    expect(complaint(`"${'x'.repeat(5000)}`).length).toBeLessThan(200);
  });
});

/** Each compared with the real client in test/integration/dbus/mender-update.test.ts. */
describe('as Go reads JSON,', () => {
  const states = (text: string): unknown => shortStates(mapIn(parseControlMap(text)).states);

  it('the text ends with the first value', () => {
    expect(states(`\t\r\n {"id":"${ID}","states":${PAUSE}} and more {`)).toEqual({
      ArtifactInstall_Enter: 'pause/fail/pause',
    });
    expect(parseControlMap('null')).toEqual({ kind: 'null' });
    expect(parseControlMap(' nullx')).toEqual({ kind: 'null' });
    expect(parseControlMap('nul').kind).toBe('invalid');
  });

  it('of a member that occurs twice the last counts, in any letter case', () => {
    expect(mapIn(parseControlMap(`{"Priority":1,"id":"x","ID":"${ID}","priority":2}`))).toEqual({
      id: ID,
      priority: 2,
      states: {},
    });
    expect(
      states(`{"id":"${ID}","states":{"ArtifactInstall_Enter":{"action":"bogus","action":"fail"}}}`),
    ).toEqual({ ArtifactInstall_Enter: 'fail/fail/fail' });
    const twice =
      '{"ArtifactInstall_Enter":{"action":"pause"},"ArtifactInstall_Enter":{"on_map_expire":"continue"}}';
    expect(states(`{"id":"${ID}","states":${twice}}`)).toEqual({});
  });

  it('states given twice are put together', () => {
    const text = `{"id":"${ID}","states":${PAUSE},"States":{"ArtifactReboot_Enter":{"action":"fail"}}}`;
    expect(states(text)).toEqual({
      ArtifactInstall_Enter: 'pause/fail/pause',
      ArtifactReboot_Enter: 'fail/fail/fail',
    });
  });

  it('null means not given: texts and numbers stay as they were, states are emptied', () => {
    expect(mapIn(parseControlMap(`{"id":"${ID}","id":null,"priority":3,"priority":null}`)).priority).toBe(3);
    expect(states(`{"id":"${ID}","states":${PAUSE},"states":null}`)).toEqual({});
    expect(states(`{"id":"${ID}","states":{"ArtifactInstall_Enter":null}}`)).toEqual({});
    expect(
      states(`{"id":"${ID}","states":{"ArtifactInstall_Enter":{"action":"fail","action":null}}}`),
    ).toEqual({ ArtifactInstall_Enter: 'fail/fail/fail' });
  });

  it('an escape in a name or value is what it stands for, and a long s is an s', () => {
    expect(
      states(`{"id":"${ID}","\\u017ftate\\u0073":{"ArtifactInstall_Enter":{"action":"pa\\u0075se"}}}`),
    ).toEqual({
      ArtifactInstall_Enter: 'pause/fail/pause',
    });
    expect(complaint(`{"id":"${ID}","states":{"ArtifactInstall_Enter":{"actıon":"fail"}}}`)).toMatch(
      /actıon/,
    );
    expect(complaint(`{"id":"${ID}","states":{"ArtifactInstall_Enter":{"actİon":"fail"}}}`)).toMatch(
      /actİon/,
    );
  });

  it('an escaped quote does not end a text', () => {
    expect(mapIn(parseControlMap(`{"id":"\\\\\\"}","id":"${ID}"}`)).id).toBe(ID);
    expect(complaint('{"a\\"b":1}')).toBe(
      '$["a"b"]: found the field "a"b", expected only id, priority, states',
    );
  });

  it('minus zero is zero, and other ways to write an integer are none', () => {
    expect(mapIn(parseControlMap(`{"id":"${ID}","priority":-0}`)).priority).toBe(0);
    for (const literal of ['01', '+1', '1.0', '1e0', '1.', '0x1', '1_0', 'NaN', '"1"', 'true', '[]']) {
      expect(parseControlMap(`{"id":"${ID}","priority":${literal}}`).kind, literal).toBe('invalid');
    }
  });

  it('only four characters are blank, and no raw control character may be in a text', () => {
    for (const blank of ['\ufeff', '\u00a0', '\v', '\f', '\0']) {
      expect(parseControlMap(`${blank}{"id":"${ID}"}`).kind).toBe('invalid');
    }
    for (const text of ['pause\n', 'pause\\x', 'pause\\', '\\u12']) {
      const rule = `{"ArtifactInstall_Enter":{"action":"${text}"}}`;
      expect(parseControlMap(`{"id":"${ID}","states":${rule}}`).kind).toBe('invalid');
    }
  });

  it('a name out of the prototype of objects is a name like any other', () => {
    for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      expect(complaint(`{"id":"${ID}","${key}":1}`)).toContain(`"${key}"`);
      expect(complaint(`{"id":"${ID}","states":{"${key}":{"action":"pause"}}}`)).toContain(`"${key}"`);
      const rule = `{"ArtifactInstall_Enter":{"action":"${key}"}}`;
      expect(complaint(`{"id":"${ID}","states":${rule}}`)).toContain(`"${key}"`);
    }
  });
});

describe('a text meant to do harm', () => {
  const quick = (text: string): ParsedMap => {
    const startMs = performance.now();
    const result = parseControlMap(text);
    expect(performance.now() - startMs).toBeLessThan(1000);
    return result;
  };

  it('is refused past 64 KiB, counted in bytes, trailing text included', () => {
    const whole = `{"id":"${ID}","states":${PAUSE}}`;
    const filled = (bytes: number, filler: string): string =>
      whole + filler.repeat((bytes - whole.length) / new TextEncoder().encode(filler).length);
    expect(parseControlMap(filled(MAX_MAP_BYTES, ' ')).kind).toBe('map');
    expect(parseControlMap(filled(MAX_MAP_BYTES + 1, ' ')).kind).toBe('invalid');
    for (const filler of ['é', '€', '😀']) {
      const wide = filled(MAX_MAP_BYTES - 4, filler);
      expect(parseControlMap(wide).kind).toBe('map');
      expect(parseControlMap(`${wide}${filler.repeat(4)}`).kind).toBe('invalid');
    }
    expect(complaint(' '.repeat(MAX_MAP_BYTES + 1))).toBe(
      '$: found more than 65536 bytes, expected at most that',
    );
  });

  it('neither crashes nor takes long: brackets, objects, escapes, digits, many members', () => {
    const size = MAX_MAP_BYTES;
    expect(quick('['.repeat(size)).kind).toBe('invalid');
    expect(quick('{"id":'.repeat(size / 6)).kind).toBe('invalid');
    expect(quick('{"states":{"a":'.repeat(size / 15)).kind).toBe('invalid');
    expect(quick(`"${'\\'.repeat(size - 2)}`).kind).toBe('invalid');
    expect(quick(`"${'\\u0061'.repeat(size / 6 - 1)}`).kind).toBe('invalid');
    expect(quick(`{"priority":${'9'.repeat(size - 100)},"id":"${ID}"}`).kind).toBe('invalid');
    expect(quick(`{"priority":-${'9'.repeat(size - 100)},"id":"${ID}"}`).kind).toBe('invalid');
    expect(quick(`{"id":"${ID}",${'"id":null,'.repeat(6000)}"id":null}`).kind).toBe('map');
    const states = Array.from({ length: 5000 }, (_, at) => `"s${at}":{}`).join();
    expect(quick(`{"id":"${ID}","states":{${states}}}`)).toMatchObject({ path: '$.states.s0' });
  });

  it('never makes the parser throw, and every refusal is one printable line', () => {
    const seed = seedFromEnvironment();
    const good = `{"id":"${ID}","priority":3,"states":${PAUSE}}`;
    const damaged = fc
      .tuple(fc.nat(good.length), fc.nat(4), fc.string({ unit: 'binary', maxLength: 4 }))
      .map(([at, cut, put]) => good.slice(0, at) + put + good.slice(at + cut));
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.json(), damaged), (text) => {
        for (const result of [parseControlMap(text), parseServerMap(text, ID)]) {
          if (result.kind !== 'invalid') continue;
          expect(isOneLine(result.path) && isOneLine(result.message)).toBe(true);
          expect(result.path.length + result.message.length).toBeLessThan(2000);
        }
      }),
      { seed, numRuns: 5000 },
    );
  });
});

describe('a map of the server', () => {
  it('must be one value, with the id of the deployment as written', () => {
    const text = `{"id":"${ID}","states":${PAUSE}}`;
    expect(parseServerMap(` ${text}\n`, ID)).toEqual(parseControlMap(text));
    expect(parseServerMap('null', ID)).toEqual({ kind: 'null' });
    expect(parseServerMap(`${text} x`, ID)).toEqual({
      kind: 'invalid',
      path: '$',
      message: 'found " x" behind the map, expected nothing',
    });
    expect(parseServerMap(text, ID.toUpperCase())).toMatchObject({ kind: 'invalid', path: '$.id' });
    expect(parseServerMap(text, `${ID.slice(0, -1)}0`)).toEqual({
      kind: 'invalid',
      path: '$.id',
      message: `found "${ID}", expected the id of the deployment, "${ID.slice(0, -1)}0"`,
    });
    expect(parseServerMap(`{"states":${PAUSE}}`, ID)).toMatchObject({ kind: 'invalid', path: '$.id' });
    expect(parseServerMap(' '.repeat(MAX_MAP_BYTES + 1), ID).kind).toBe('invalid');
  });
});

describe('writing a map', () => {
  it("is Mender's form: lower case, points in alphabetical order, all values", () => {
    const text = `{"States":{"ArtifactReboot_Enter":{"Action":"fail"},"ArtifactCommit_Enter":{"action":"pause"}},"ID":"${ID}"}`;
    expect(controlMapJson(mapIn(parseControlMap(text)))).toBe(
      `{"id":"${ID}","priority":0,"states":{` +
        '"ArtifactCommit_Enter":{"action":"pause","on_map_expire":"fail","on_action_executed":"pause"},' +
        '"ArtifactReboot_Enter":{"action":"fail","on_map_expire":"fail","on_action_executed":"fail"}}}',
    );
  });

  it('reads back the same, for any map', () => {
    const seed = seedFromEnvironment();
    const rule = fc.record(
      {
        action: fc.constantFrom(...MAP_ACTIONS, ''),
        on_map_expire: fc.constantFrom('continue', 'force_continue', 'fail', ''),
        on_action_executed: fc.constantFrom(...MAP_ACTIONS, ''),
      },
      { requiredKeys: [] },
    );
    const anyMap = fc.record({
      id: fc.uuid(),
      priority: fc.integer({ min: -10, max: 10 }),
      states: fc.dictionary(fc.constantFrom(...MAP_POINTS), rule),
    });
    fc.assert(
      fc.property(anyMap, (given) => {
        const map = mapIn(parseControlMap(JSON.stringify(given)));
        const written = controlMapJson(map);
        expect(parseControlMap(written)).toEqual({ kind: 'map', map });
        expect(parseServerMap(written, given.id)).toEqual({ kind: 'map', map });
      }),
      { seed, numRuns: 500 },
    );
  });
});
