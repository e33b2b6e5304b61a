import { copyFile, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { variant } from '../../../src/adapters/dbus/values.ts';
import type { ClockTrustOptions } from '../../../src/adapters/conditions/clock-trust.ts';
import { deviceTimeZone } from '../../../src/adapters/conditions/time-zone.ts';
import type {
  ConditionSettings,
  FreezeRule,
  WindowRule,
} from '../../../src/core/control/condition-settings.ts';
import { MockService, startSystemBus, TIMEDATE } from '../../support/dbusmock.ts';
import { eventually } from '../../support/eventually.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { POINT, watch, type Watched } from './support.ts';

const HOUR = 3_600_000;
const MINUTE = 60_000;

let root: string;
let localtime: string;
let clock: VirtualClock;
let watched: Watched | null = null;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-calendar-'));
  localtime = join(root, 'localtime');
});

afterEach(async () => {
  watched?.stop();
  watched = null;
  await rm(root, { recursive: true, force: true });
});

/** As `timedatectl set-timezone` does it. */
async function setZone(zone: string): Promise<void> {
  await rm(localtime, { force: true });
  await symlink(`../usr/share/zoneinfo/${zone}`, localtime);
}

const WINDOW: WindowRule = {
  points: [POINT],
  days: [0, 1, 2, 3, 4, 5, 6],
  fromMinute: 120,
  toMinute: 240,
  timeZone: null,
  isSkippable: false,
};

async function start(
  now: string,
  settings: Partial<ConditionSettings>,
  trust: Partial<ClockTrustOptions> = {},
  address?: string,
): Promise<Watched> {
  clock = new VirtualClock({ wallMs: Date.parse(now), bootMs: 60_000 });
  watched = watch(settings, {
    clock,
    timeZone: { localtimePath: localtime, timezonePath: join(root, 'timezone') },
    clockTrust: {
      builtWallMs: Date.UTC(2026, 0, 1),
      files: [],
      synchronizedPath: join(root, 'synchronized'),
      adjtimexProgram: join(root, 'adjtimex'),
      ...trust,
    },
    ...(address === undefined ? {} : { address }),
  });
  await clock.advanceAsync(0);
  return watched;
}

/** Real time of each change of the list, and what it then was. */
async function changes(one: Watched, hours: number): Promise<string[]> {
  const seen: string[] = [];
  let count = one.emissions.length;
  const endMs = clock.now().wallMs + hours * HOUR;
  while (clock.now().wallMs < endMs) {
    await clock.advanceAsync(Math.max(1, Math.min(clock.msToNext ?? HOUR, endMs - clock.now().wallMs)));
    if (one.emissions.length === count) continue;
    count = one.emissions.length;
    seen.push(
      `${new Date(clock.now().wallMs).toISOString().slice(0, 16)}Z ${one.reasons().join(' ') || 'met'}`,
    );
  }
  return seen;
}

describe('a window from 02:00 to 04:00, watched', () => {
  it('is open once, from 03:00 to 04:00 summer time, on the day Berlin jumps ahead', async () => {
    await setZone('Europe/Berlin');
    const conditions = await start('2027-03-27T20:00:00Z', { windows: [WINDOW] });
    expect(conditions.latest()).toEqual([
      {
        id: 'window',
        kind: 'window',
        owner: '',
        reasonCode: 'outside-window',
        sinceWallMs: Date.parse('2027-03-27T20:00:00Z'),
        endsWallMs: Date.parse('2027-03-28T01:00:00Z'),
        isSkippable: false,
        details: {
          'next-window-usec': Date.parse('2027-03-28T01:00:00Z') * 1000,
          'next-window-local': '2027-03-28 03:00 +02:00 Europe/Berlin',
        },
      },
    ]);
    expect(await changes(conditions, 24)).toEqual([
      '2027-03-28T01:00Z met',
      '2027-03-28T02:00Z window/outside-window',
    ]);
  });

  it('is open once, for three hours, on the day an hour occurs twice in Berlin', async () => {
    await setZone('Europe/Berlin');
    const conditions = await start('2027-10-30T20:00:00Z', { windows: [WINDOW] });
    expect(conditions.latest()[0]!.details['next-window-local']).toBe(
      '2027-10-31 02:00 +02:00 Europe/Berlin',
    );
    expect(await changes(conditions, 24)).toEqual([
      '2027-10-31T00:00Z met',
      '2027-10-31T03:00Z window/outside-window',
    ]);
  });

  it('is open on both days in New York', async () => {
    await setZone('America/New_York');
    const spring = await start('2027-03-13T20:00:00Z', { windows: [WINDOW] });
    expect(await changes(spring, 24)).toEqual([
      '2027-03-14T07:00Z met',
      '2027-03-14T08:00Z window/outside-window',
    ]);
    spring.stop();
    const autumn = await start('2027-11-06T20:00:00Z', { windows: [WINDOW] });
    expect(await changes(autumn, 24)).toEqual([
      '2027-11-07T07:00Z met',
      '2027-11-07T09:00Z window/outside-window',
    ]);
  });

  it('follows the zone of the device within a minute', async () => {
    await setZone('Europe/Berlin');
    // 22:30 in Berlin, 02:30 the next day in Karachi.
    const conditions = await start('2027-01-10T21:30:00Z', { windows: [WINDOW] });
    expect(conditions.reasons()).toEqual(['window/outside-window']);
    await setZone('Asia/Karachi');
    await clock.advanceAsync(59_000);
    expect(conditions.reasons()).toEqual(['window/outside-window']);
    await clock.advanceAsync(1_000);
    expect(conditions.reasons()).toEqual([]);
    await setZone('Europe/Berlin');
    await clock.advanceAsync(MINUTE);
    expect(conditions.reasons()).toEqual(['window/outside-window']);
  });

  it('keeps to its own zone where it has one', async () => {
    await setZone('Europe/Berlin');
    const conditions = await start('2027-01-10T12:00:00Z', {
      windows: [{ ...WINDOW, timeZone: 'Asia/Tokyo' }],
    });
    expect(conditions.latest()[0]!.details['next-window-local']).toBe('2027-01-11 02:00 +09:00 Asia/Tokyo');
    await setZone('America/New_York');
    expect(await changes(conditions, 24)).toEqual([
      '2027-01-10T17:00Z met',
      '2027-01-10T19:00Z window/outside-window',
    ]);
  });

  it('sees the clock being set, ahead and back, within a minute', async () => {
    await setZone('UTC');
    const conditions = await start('2027-01-10T12:00:00Z', { windows: [WINDOW] });
    clock.stepWall(14.5 * HOUR);
    await clock.advanceAsync(MINUTE);
    expect(conditions.reasons()).toEqual([]);
    clock.stepWall(-HOUR);
    await clock.advanceAsync(MINUTE);
    expect(conditions.reasons()).toEqual(['window/outside-window']);
    expect(new Date(conditions.latest()[0]!.endsWallMs).toISOString()).toBe('2027-01-11T02:00:00.000Z');
    // Ten years are no burst: one look a minute.
    clock.stepWall(10 * 365 * 24 * HOUR);
    const before = conditions.emissions.length;
    await clock.advanceAsync(10 * MINUTE);
    expect(conditions.emissions.length - before).toBeLessThanOrEqual(2);
  });

  it('looks no more often than needed and not at all when nobody watches', async () => {
    await setZone('UTC');
    const conditions = await start('2027-01-10T12:00:00Z', { windows: [WINDOW] });
    expect(clock.msToNext).toBeLessThanOrEqual(MINUTE);
    conditions.stop();
    expect(clock.pending).toBe(0);
    watched = null;
  });

  it('may be passed only when every window at the point may be', async () => {
    await setZone('UTC');
    const skippable = { ...WINDOW, isSkippable: true };
    const one = await start('2027-01-10T12:00:00Z', { windows: [skippable] });
    expect(one.latest()[0]!.isSkippable).toBe(true);
    one.stop();
    const two = await start('2027-01-10T12:00:00Z', { windows: [skippable, { ...WINDOW, fromMinute: 60 }] });
    expect(two.latest()[0]!.isSkippable).toBe(false);
    two.stop();
    const elsewhere = await start('2027-01-10T12:00:00Z', {
      windows: [{ ...WINDOW, points: ['Download_Enter'] }],
    });
    expect(elsewhere.emissions).toEqual([[]]);
  });

  it('is closed where the zone cannot be told', async () => {
    await writeFile(localtime, 'TZif2 of nobody knows where');
    const conditions = await start('2027-01-10T02:30:00Z', { windows: [WINDOW] });
    expect(conditions.latest()[0]).toMatchObject({ reasonCode: 'not-known', details: { what: 'time-zone' } });
    conditions.stop();
    const own = await start('2027-01-10T02:30:00Z', { windows: [{ ...WINDOW, timeZone: 'UTC' }] });
    expect(own.latest()).toEqual([]);
  });
});

describe('a clock that cannot be trusted', () => {
  it('keeps every window closed until it is set', async () => {
    await setZone('UTC');
    const conditions = await start('1970-01-01T02:30:00Z', { windows: [WINDOW] });
    expect(conditions.latest()[0]).toMatchObject({
      kind: 'window',
      reasonCode: 'clock-not-trusted',
      endsWallMs: 0,
      details: { 'clock-problem': 'before-build' },
    });
    clock.stepWall(Date.parse('2027-01-10T02:30:00Z') - clock.now().wallMs);
    await clock.advanceAsync(MINUTE);
    expect(conditions.reasons()).toEqual([]);
  });

  it('is one that is behind what was stored before the start, until it has caught up', async () => {
    await setZone('UTC');
    const state = join(root, 'state.json');
    await writeFile(state, '{}');
    await utimes(state, new Date('2027-06-01T00:00:00Z'), new Date('2027-06-01T00:00:00Z'));
    const trust = { files: [state, join(root, 'absent')] };
    const conditions = await start('2027-05-01T02:30:00Z', { windows: [WINDOW] }, trust);
    await eventually('found out', () => conditions.emissions.length > 0);
    expect(conditions.latest()[0]!.details).toEqual({ 'clock-problem': 'before-last-state' });
    // What this very process writes with the wrong clock proves nothing.
    await utimes(state, new Date('2027-05-01T00:00:00Z'), new Date('2027-05-01T00:00:00Z'));
    await clock.advanceAsync(MINUTE);
    expect(conditions.reasons()).toEqual(['window/clock-not-trusted']);
    clock.stepWall(32 * 24 * HOUR);
    await eventually('set', async () => {
      await clock.advanceAsync(MINUTE);
      return conditions.reasons().length === 0;
    });
  });

  it('is trusted against the stored time when it is synchronized: then that was wrong', async () => {
    await setZone('UTC');
    const state = join(root, 'state.json');
    await writeFile(state, '{}');
    await utimes(state, new Date('2099-06-01T00:00:00Z'), new Date('2099-06-01T00:00:00Z'));
    await writeFile(join(root, 'synchronized'), '');
    const conditions = await start('2027-05-01T02:30:00Z', { windows: [WINDOW] }, { files: [state] });
    await eventually('found out', () => conditions.emissions.length > 0);
    expect(conditions.latest()).toEqual([]);
  });

  const SYNCHRONIZED = { windows: [WINDOW], isSynchronizedClockRequired: true };

  it('is one that is not synchronized, where that is asked for', async () => {
    await setZone('UTC');
    const conditions = await start('2027-05-01T02:30:00Z', SYNCHRONIZED);
    await eventually('found out', () => conditions.emissions.length > 0);
    expect(conditions.latest()[0]).toMatchObject({
      reasonCode: 'clock-not-trusted',
      details: { 'clock-problem': 'not-synchronized' },
    });
    await writeFile(join(root, 'synchronized'), '');
    await clock.advanceAsync(MINUTE);
    await eventually('synchronized', () => conditions.reasons().length === 0);
  });

  it('is synchronized where the kernel says so to adjtimex, in the words of Debian or of busybox', async () => {
    await setZone('UTC');
    // Printed by adjtimex 1.29 with --print, and by busybox 1.35 without; each is silent when asked in the other way.
    const words = [
      ['--print', ' return value = 0', true],
      ['', 'return value: 0 (clock synchronized)', true],
      ['', 'return value: 1 (insert leap second)', true],
      ['--print', ' return value = 5', false],
      ['', 'return value: 5 (clock not synchronized)', false],
      ['', 'nonsense', false],
    ] as const;
    for (const [option, text, isSynchronized] of words) {
      const lines = [
        '#!/bin/sh',
        `[ "$1" = "${option}" ] || exit 1`,
        'echo "status: 8193"',
        `echo "${text}"`,
      ];
      await writeFile(join(root, 'adjtimex'), `${lines.join('\n')}\n`, { mode: 0o755 });
      const conditions = await start('2027-05-01T02:30:00Z', SYNCHRONIZED);
      await eventually('found out', () => conditions.emissions.length > 0);
      expect(conditions.reasons(), text).toEqual(isSynchronized ? [] : ['window/clock-not-trusted']);
      conditions.stop();
    }
  });

  it('is synchronized where timedated says so', async () => {
    await setZone('UTC');
    const bus = await startSystemBus();
    const service = new MockService(bus.address, TIMEDATE, 'timedated', { NTP: false });
    try {
      await service.start();
      const conditions = await start('2027-05-01T02:30:00Z', SYNCHRONIZED, {}, bus.address);
      await eventually('found out', () => conditions.emissions.length > 0);
      expect(conditions.reasons()).toEqual(['window/clock-not-trusted']);
      await service.update('/org/freedesktop/timedate1', TIMEDATE, { NTPSynchronized: variant('b', true) });
      await eventually('synchronized', async () => {
        await clock.advanceAsync(MINUTE);
        return conditions.reasons().length === 0;
      });
    } finally {
      await service.dispose();
      await bus.dispose();
    }
  });
});

describe('a freeze', () => {
  const FREEZE: FreezeRule = {
    points: [POINT],
    fromLocalMs: Date.UTC(2027, 11, 20),
    toLocalMs: Date.UTC(2028, 0, 3),
    timeZone: null,
    reason: 'holiday season',
  };

  it('begins and ends at local time, cannot be passed, and says until when', async () => {
    await setZone('Europe/Berlin');
    const conditions = await start('2027-12-19T12:00:00Z', { freezes: [FREEZE] });
    expect(conditions.emissions).toEqual([[]]);
    expect(await changes(conditions, 24)).toEqual(['2027-12-19T23:00Z freeze/frozen']);
    expect(conditions.latest()[0]).toMatchObject({
      id: 'freeze:1',
      endsWallMs: Date.parse('2028-01-02T23:00:00Z'),
      isSkippable: false,
      details: { reason: 'holiday season', 'until-local': '2028-01-03 00:00 +01:00 Europe/Berlin' },
    });
    clock.stepWall(13 * 24 * HOUR);
    expect(await changes(conditions, 2 * 24)).toEqual(['2028-01-02T23:00Z met']);
  });

  it('stands beside the window and other freezes', async () => {
    await setZone('UTC');
    const settings = { windows: [WINDOW], freezes: [FREEZE, { ...FREEZE, timeZone: 'Asia/Tokyo' }] };
    const conditions = await start('2027-12-25T12:00:00Z', settings);
    expect(conditions.reasons()).toEqual(['window/outside-window', 'freeze/frozen', 'freeze/frozen']);
    expect(conditions.latest().map(({ id }) => id)).toEqual(['window', 'freeze:1', 'freeze:2']);
    conditions.stop();
    const elsewhere = await start('2027-12-25T12:00:00Z', {
      freezes: [{ ...FREEZE, points: ['Download_Enter'] }, FREEZE],
    });
    expect(elsewhere.latest().map(({ id }) => id)).toEqual(['freeze:2']);
  });

  it('may still be to come while the clock cannot be trusted, but not when it is over for certain', async () => {
    await setZone('UTC');
    const over = { ...FREEZE, fromLocalMs: Date.UTC(2024, 11, 20), toLocalMs: Date.UTC(2025, 0, 3) };
    const conditions = await start('1970-01-01T00:00:00Z', { freezes: [over, FREEZE] });
    expect(conditions.latest().map(({ id, reasonCode }) => `${id} ${reasonCode}`)).toEqual([
      'freeze:2 clock-not-trusted',
    ]);
  });
});

describe('the zone of the device', () => {
  it('is that of TZ, else of the link, else of the name beside a copy, else UTC', async () => {
    const sources = { localtimePath: localtime, timezonePath: join(root, 'timezone') };
    expect(deviceTimeZone(sources)).toBe('UTC');
    await setZone('Asia/Tokyo');
    expect(deviceTimeZone(sources)).toBe('Asia/Tokyo');
    expect(deviceTimeZone({ ...sources, tz: 'Europe/Paris' })).toBe('Europe/Paris');
    expect(deviceTimeZone({ ...sources, tz: ':America/New_York' })).toBe('America/New_York');
    expect(deviceTimeZone({ ...sources, tz: ':/usr/share/zoneinfo/Europe/Rome' })).toBe('Europe/Rome');
    expect(deviceTimeZone({ ...sources, tz: '' })).toBe('UTC');
    await setZone('posix/America/Argentina/Buenos_Aires');
    expect(deviceTimeZone(sources)).toBe('America/Argentina/Buenos_Aires');
  });

  it('is not known for rules without a name, and names without rules', async () => {
    const sources = { localtimePath: localtime, timezonePath: join(root, 'timezone'), zoneinfoFolder: root };
    expect(deviceTimeZone({ ...sources, tz: 'CET-1CEST,M3.5.0,M10.5.0/3' })).toBeNull();
    await setZone('Mars/Olympus');
    expect(deviceTimeZone(sources)).toBeNull();
    await rm(localtime);
    await writeFile(localtime, 'rules');
    expect(deviceTimeZone(sources)).toBeNull();
    await writeFile(join(root, 'timezone'), 'Europe/Berlin\n');
    expect(deviceTimeZone(sources)).toBe('Europe/Berlin');
    await mkdir(join(root, 'Europe'));
    await copyFile(localtime, join(root, 'Europe/Berlin'));
    expect(deviceTimeZone(sources)).toBe('Europe/Berlin');
    await writeFile(join(root, 'Europe/Berlin'), 'other rules');
    expect(deviceTimeZone(sources)).toBeNull();
    await writeFile(join(root, 'timezone'), '../../etc/passwd\n');
    expect(deviceTimeZone(sources)).toBeNull();
  });
});
