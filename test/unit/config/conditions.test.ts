import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadSettings, originText } from '../../../src/config/load.ts';
import type { LoadedSettings } from '../../../src/config/settings.ts';
import { conditionPoints, type ConditionSettings } from '../../../src/core/control/condition-settings.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { HOLD_POINTS } from '../../../src/core/hold-point.ts';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-config-conditions-'));
  await mkdir(join(root, 'conf.d'));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

async function load(content: unknown, later?: unknown): Promise<LoadedSettings> {
  const put = (name: string, one: unknown): Promise<void> =>
    writeFile(join(root, name), typeof one === 'string' ? one : JSON.stringify(one));
  await put('holdpoint.json', content);
  if (later !== undefined) await put('conf.d/later.json', later);
  return loadSettings(
    {},
    {
      HOLDPOINT_CONF_DIR: root,
      MENDER_CONF_DIR: join(root, 'none'),
      MENDER_DATASTORE_DIR: join(root, 'none'),
    },
  );
}

async function conditions(content: unknown, later?: unknown): Promise<ConditionSettings> {
  const { settings, warnings } = await load(content, later);
  expect(warnings).toEqual([]);
  return settings.conditions;
}

async function complaint(content: unknown): Promise<string> {
  const error: unknown = await load(content).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  expect((error as UpdateError).kind).toBe('config');
  expect((error as UpdateError).details['key']).toMatch(/^[A-Z]/);
  return (error as UpdateError).message.replace(`${root}/`, '');
}

const WINDOW = { points: ['ArtifactReboot_Enter'], from: '02:00', to: '04:00' };

describe('without any condition', () => {
  it('inhibitors and scripts are asked for, and nothing else', async () => {
    const { settings } = await load({});
    expect(settings.conditions).toEqual({
      windows: [],
      freezes: [],
      power: null,
      metered: null,
      inhibitors: { points: ['ArtifactReboot_Enter', 'ArtifactRollbackReboot_Enter'] },
      scripts: { points: [...HOLD_POINTS], timeoutSeconds: 10, intervalSeconds: 60, isSkippable: false },
      isSynchronizedClockRequired: false,
    });
    expect(settings.paths.conditionsDirectory).toBe(join(root, 'conditions.d'));
    expect(conditionPoints(settings.conditions)).toEqual(HOLD_POINTS);
  });

  it('inhibitors need not be respected, and scripts can be limited to a point', async () => {
    const settings = await conditions({
      Inhibitors: { respect: false },
      ConditionScripts: { points: ['Download_Enter'], timeout: 3, interval: 5, skippable: true },
    });
    expect(settings.inhibitors).toBeNull();
    expect(settings.scripts).toEqual({
      points: ['Download_Enter'],
      timeoutSeconds: 3,
      intervalSeconds: 5,
      isSkippable: true,
    });
    expect(conditionPoints(settings)).toEqual(['Download_Enter']);
  });
});

describe('Windows', () => {
  it('are read with their days, zone and times, over midnight or not', async () => {
    const { windows } = await conditions({
      Windows: [
        WINDOW,
        {
          ...WINDOW,
          Days: ['sat', 'sun'],
          from: '22:30',
          to: '05:00',
          timezone: 'Europe/Berlin',
          Skippable: true,
        },
        { ...WINDOW, from: '00:00', to: '24:00' },
        { ...WINDOW, from: '23:00', to: '00:00' },
      ],
    });
    expect(windows).toEqual([
      {
        points: ['ArtifactReboot_Enter'],
        days: [0, 1, 2, 3, 4, 5, 6],
        fromMinute: 120,
        toMinute: 240,
        timeZone: null,
        isSkippable: false,
      },
      {
        points: ['ArtifactReboot_Enter'],
        days: [5, 6],
        fromMinute: 22 * 60 + 30,
        toMinute: 29 * 60,
        timeZone: 'Europe/Berlin',
        isSkippable: true,
      },
      expect.objectContaining({ fromMinute: 0, toMinute: 1440 }),
      expect.objectContaining({ fromMinute: 1380, toMinute: 1440 }),
    ]);
  });

  it('of a later file replace the earlier ones whole', async () => {
    const { windows } = await conditions(
      { Windows: [WINDOW, WINDOW] },
      { windows: [{ ...WINDOW, from: '01:00' }] },
    );
    expect(windows.map(({ fromMinute }) => fromMinute)).toEqual([60]);
  });

  const wrong: readonly (readonly [string, unknown, string])[] = [
    [
      'not in an array',
      { Windows: WINDOW },
      'holdpoint.json:1: Windows: found an object, expected an array of objects',
    ],
    [
      'without points',
      { Windows: [{ from: '02:00', to: '04:00' }] },
      'holdpoint.json:1: Windows[0]: points is missing',
    ],
    [
      'without an end',
      { Windows: [WINDOW, { points: WINDOW.points, from: '02:00' }] },
      'holdpoint.json:1: Windows[1]: to is missing',
    ],
    [
      'with a time of another form',
      { Windows: [{ ...WINDOW, from: '2:00' }] },
      'holdpoint.json:1: Windows[0].from: found "2:00", expected a time from "00:00" to "23:59"',
    ],
    [
      'with a time there is not',
      { Windows: [{ ...WINDOW, to: '24:01' }] },
      'holdpoint.json:1: Windows[0].to: found "24:01", expected a time from "00:00" to "24:00"',
    ],
    [
      'with a number for a time',
      { Windows: [{ ...WINDOW, from: 2 }] },
      'holdpoint.json:1: Windows[0].from: found 2, expected a time from "00:00" to "23:59"',
    ],
    [
      'of no length',
      { Windows: [{ ...WINDOW, to: '02:00' }] },
      'holdpoint.json:1: Windows[0]: found the same time for from and to (02:00); a whole day is "00:00" to "24:00"',
    ],
    [
      'with an unknown day',
      { Windows: [{ ...WINDOW, days: ['mon', 'Tuesday'] }] },
      'holdpoint.json:1: Windows[0].days[1]: found "Tuesday", expected one of mon, tue, wed, thu, fri, sat, sun',
    ],
    [
      'on no day',
      { Windows: [{ ...WINDOW, days: [] }] },
      'holdpoint.json:1: Windows[0].days: found an array, expected at least one day',
    ],
    [
      'with an unknown zone',
      { Windows: [{ ...WINDOW, timezone: 'Europe/Berln' }] },
      'holdpoint.json:1: Windows[0].timezone: found "Europe/Berln", expected the name of a time zone, for example "Europe/Berlin"',
    ],
    [
      'with an unknown point',
      { Windows: [{ ...WINDOW, points: ['ArtifactReboot'] }] },
      `holdpoint.json:1: Windows[0].points[0]: found "ArtifactReboot", expected one of ${HOLD_POINTS.join(', ')}`,
    ],
    [
      'with a misspelt member',
      { Windows: [{ ...WINDOW, skipable: true }] },
      'holdpoint.json:1: Windows[0]: unknown member skipable (did you mean skippable?)',
    ],
    [
      'that is no object',
      { Windows: ['02:00-04:00'] },
      'holdpoint.json:1: Windows[0]: found "02:00-04:00", expected an object',
    ],
    [
      'more than anybody needs',
      { Windows: Array(65).fill(WINDOW) },
      'holdpoint.json:1: Windows: found an array, expected at most 64 entries',
    ],
    [
      'with a member named __proto__',
      '{"Windows": [{"points": ["Download_Enter"], "from": "02:00", "to": "04:00", "__proto__": {"skippable": true}}]}',
      'holdpoint.json:1: Windows[0]: unknown member __proto__',
    ],
  ];
  for (const [name, content, sentence] of wrong) {
    it(`are refused ${name}`, async () => {
      expect(await complaint(content)).toBe(sentence);
    });
  }
});

describe('Freeze', () => {
  it('is read in days and in times; a day to which it lasts is part of it', async () => {
    const { freezes } = await conditions({
      Freeze: [
        { from: '2027-12-20', to: '2028-01-02', reason: 'holiday season' },
        {
          from: '2027-05-01T08:00',
          to: '2027-05-01T18:30',
          points: ['Download_Enter'],
          timezone: 'Asia/Tokyo',
        },
        { from: '2028-02-29', to: '2028-02-29' },
      ],
    });
    expect(freezes).toEqual([
      {
        points: ['Download_Enter', 'ArtifactInstall_Enter', 'ArtifactReboot_Enter'],
        fromLocalMs: Date.UTC(2027, 11, 20),
        toLocalMs: Date.UTC(2028, 0, 3),
        timeZone: null,
        reason: 'holiday season',
      },
      {
        points: ['Download_Enter'],
        fromLocalMs: Date.UTC(2027, 4, 1, 8),
        toLocalMs: Date.UTC(2027, 4, 1, 18, 30),
        timeZone: 'Asia/Tokyo',
        reason: '',
      },
      expect.objectContaining({ fromLocalMs: Date.UTC(2028, 1, 29), toLocalMs: Date.UTC(2028, 2, 1) }),
    ]);
  });

  it('is refused with a day there is not, with its end before its beginning, and with control characters', async () => {
    expect(await complaint({ Freeze: [{ from: '2027-02-29', to: '2027-03-01' }] })).toBe(
      'holdpoint.json:1: Freeze[0].from: found "2027-02-29", expected a day that exists',
    );
    expect(await complaint({ Freeze: [{ from: '2027-03-02', to: '2027-03-01' }] })).toBe(
      'holdpoint.json:1: Freeze[0]: found from 2027-03-02 and to 2027-03-01, expected to after from',
    );
    expect(
      await complaint({ Freeze: [{ from: '2027-03-01', to: '2027-03-02', reason: 'a\u001b[2J' }] }),
    ).toContain('Freeze[0].reason: found "a\\u001b[2J", expected one line of printable characters');
    expect(
      await complaint({ Freeze: [{ from: '2027-03-01', to: '2027-03-02', skippable: true }] }),
    ).toContain('Freeze[0]: unknown member skippable');
  });
});

describe('Power and Metered', () => {
  it('count with their defaults', async () => {
    const { power, metered } = await conditions({ Power: { 'require-mains': true }, Metered: {} });
    expect(power).toEqual({
      points: ['ArtifactInstall_Enter', 'ArtifactReboot_Enter'],
      minBatteryPercent: null,
      isMainsRequired: true,
      assumesMainsWithoutUPower: false,
      isSkippable: false,
    });
    expect(metered).toEqual({ points: ['Download_Enter'], isSkippable: true });
  });

  it('are read in full', async () => {
    const { power } = await conditions({
      Power: {
        points: ['ArtifactCommit_Enter'],
        'min-battery-percent': 40,
        'Require-Mains': false,
        'assume-mains-without-upower': true,
        skippable: true,
      },
    });
    expect(power).toEqual({
      points: ['ArtifactCommit_Enter'],
      minBatteryPercent: 40,
      isMainsRequired: false,
      assumesMainsWithoutUPower: true,
      isSkippable: true,
    });
  });

  it('are refused where they ask for nothing, or for something there is not', async () => {
    expect(await complaint({ Power: {} })).toBe(
      'holdpoint.json:1: Power: expected require-mains or min-battery-percent, found neither',
    );
    expect(await complaint({ Power: { 'min-battery-percent': 101 } })).toBe(
      'holdpoint.json:1: Power.min-battery-percent: found 101, expected a whole number from 1 to 100',
    );
    expect(await complaint({ Power: { 'require-main': true } })).toBe(
      'holdpoint.json:1: Power: unknown member require-main (did you mean require-mains?)',
    );
    expect(await complaint({ Metered: true })).toBe(
      'holdpoint.json:1: Metered: found true, expected an object',
    );
    expect(await complaint({ Metered: { points: [] } })).toContain(
      'Metered.points: found an array, expected at least',
    );
    expect(await complaint({ ConditionScripts: { timeout: 0 } })).toContain(
      'ConditionScripts.timeout: found 0, expected a whole number from 1 to 3600',
    );
    expect(await complaint({ Inhibitors: { points: ['Download_Enter', 'Download_Enter'] } })).toContain(
      'Inhibitors.points: found an array, expected each hold point once',
    );
  });
});

describe('check-config', () => {
  it('shows what counts, with defaults, and where it came from', async () => {
    const loaded = await load('{\n  "Metered": {},\n  "RequireSynchronizedClock": true\n}', {
      Windows: [WINDOW],
    });
    const line = (key: string): readonly [string, string] => {
      const found = loaded.origins.find((one) => one.key === key)!;
      return [found.valueJson, originText(found.origin).replace(`${root}/`, '')];
    };
    expect(line('Metered')).toEqual(['{"points":["Download_Enter"],"skippable":true}', 'holdpoint.json:2']);
    expect(line('RequireSynchronizedClock')).toEqual(['true', 'holdpoint.json:3']);
    expect(line('Windows')[1]).toBe('conf.d/later.json:1');
    expect(JSON.parse(line('Windows')[0])).toEqual([
      { ...WINDOW, days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'], skippable: false },
    ]);
    expect(line('Freeze')).toEqual(['[]', 'default']);
    expect(line('Power')).toEqual(['""', 'default']);
    expect(JSON.parse(line('ConditionScripts')[0])).toEqual({
      points: HOLD_POINTS,
      timeout: 10,
      interval: 60,
      skippable: false,
    });
  });
});
