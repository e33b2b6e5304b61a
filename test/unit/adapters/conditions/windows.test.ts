import { describe, expect, it } from 'vitest';
import { findOpening, freezeTimes, type NextOpening } from '../../../../src/adapters/conditions/windows.ts';
import { firstReading, lastReading, localText } from '../../../../src/adapters/conditions/local-time.ts';
import type { FreezeRule, WindowRule } from '../../../../src/core/control/condition-settings.ts';
import { randomFrom, seedFromEnvironment } from '../../../support/random.ts';

const HOUR = 3_600_000;
const MINUTE = 60_000;
const DAY = 24 * HOUR;
const at = (text: string): number => Date.parse(text);

function window(from: string, to: string, more: Partial<WindowRule> = {}): WindowRule {
  const minutes = (text: string): number => Number(text.slice(0, 2)) * 60 + Number(text.slice(3));
  const fromMinute = minutes(from);
  const toMinute = minutes(to) > fromMinute ? minutes(to) : minutes(to) + 1440;
  return {
    points: ['ArtifactReboot_Enter'],
    days: [0, 1, 2, 3, 4, 5, 6],
    fromMinute,
    toMinute,
    timeZone: null,
    isSkippable: false,
    ...more,
  };
}

/** All openings that begin in the time given, found as a watcher finds them: one after the other. */
function openings(windows: readonly WindowRule[], zone: string, from: string, until: string): string[] {
  const found: string[] = [];
  let nowMs = at(from);
  for (;;) {
    const opening = findOpening(windows, nowMs, zone) as NextOpening;
    if (opening.fromMs >= at(until)) return found;
    if (opening.fromMs > nowMs) found.push(shown(opening));
    nowMs = opening.untilMs;
  }
}

function shown({ fromMs, untilMs }: { readonly fromMs: number; readonly untilMs: number }): string {
  return `${new Date(fromMs).toISOString().slice(0, 16)}Z/${(untilMs - fromMs) / MINUTE}min`;
}

describe('a window from 02:00 to 04:00 in Europe/Berlin', () => {
  const windows = [window('02:00', '04:00')];
  const zone = 'Europe/Berlin';

  it('opens once from 03:00 to 04:00 summer time on the day the clock jumps ahead', () => {
    expect(openings(windows, zone, '2027-03-27T12:00Z', '2027-03-29T12:00Z')).toEqual([
      '2027-03-28T01:00Z/60min',
      '2027-03-29T00:00Z/120min',
    ]);
    expect(localText(zone, at('2027-03-28T01:00Z'))).toBe('2027-03-28 03:00 +02:00 Europe/Berlin');
  });

  it('opens once, for three hours, on the day the hour in it occurs twice', () => {
    expect(openings(windows, zone, '2027-10-30T12:00Z', '2027-11-01T12:00Z')).toEqual([
      '2027-10-31T00:00Z/180min',
      '2027-11-01T01:00Z/120min',
    ]);
  });

  it('opens at the same local time on every other day of the year', () => {
    const all = openings(windows, zone, '2027-01-01T12:00Z', '2028-01-01T12:00Z');
    expect(all).toHaveLength(365);
    const lengths = new Map<string, number>();
    for (const one of all) {
      const length = one.split('/')[1]!;
      lengths.set(length, (lengths.get(length) ?? 0) + 1);
    }
    expect(Object.fromEntries(lengths)).toEqual({ '120min': 363, '60min': 1, '180min': 1 });
  });
});

describe('a window inside the hour that the clock jumps over', () => {
  it('opens at the jump for its configured length', () => {
    const windows = [window('02:15', '02:45')];
    expect(openings(windows, 'Europe/Berlin', '2027-03-27T12:00Z', '2027-03-29T12:00Z')).toEqual([
      '2027-03-28T01:00Z/30min',
      '2027-03-29T00:15Z/30min',
    ]);
    expect(localText('Europe/Berlin', at('2027-03-28T01:00Z'))).toContain('03:00 +02:00');
  });

  it('is not lost either when it ends exactly where the clock goes on', () => {
    expect(
      openings([window('02:30', '03:00')], 'Europe/Berlin', '2027-03-27T12:00Z', '2027-03-28T12:00Z'),
    ).toEqual(['2027-03-28T01:00Z/30min']);
  });

  it('that reaches out of the hour keeps what is left of it', () => {
    expect(
      openings([window('02:30', '03:10')], 'Europe/Berlin', '2027-03-27T12:00Z', '2027-03-28T12:00Z'),
    ).toEqual(['2027-03-28T01:00Z/10min']);
  });
});

describe('a window inside the hour that occurs twice', () => {
  it('opens once, at its first occurrence', () => {
    expect(
      openings([window('02:15', '02:45')], 'Europe/Berlin', '2027-10-30T12:00Z', '2027-10-31T12:00Z'),
    ).toEqual(['2027-10-31T00:15Z/30min']);
  });

  it('closes when the clock first shows its end', () => {
    expect(
      openings([window('01:00', '02:30')], 'Europe/Berlin', '2027-10-30T12:00Z', '2027-10-31T12:00Z'),
    ).toEqual(['2027-10-30T23:00Z/90min']);
  });
});

describe('windows in America/New_York', () => {
  const zone = 'America/New_York';

  it('open from 03:00 to 04:00 daylight time on 2027-03-14', () => {
    expect(openings([window('02:00', '04:00')], zone, '2027-03-13T12:00Z', '2027-03-15T12:00Z')).toEqual([
      '2027-03-14T07:00Z/60min',
      '2027-03-15T06:00Z/120min',
    ]);
  });

  it('open at 02:00 standard time on 2027-11-07, where 01:00 to 02:00 occurs twice', () => {
    expect(openings([window('02:00', '04:00')], zone, '2027-11-06T12:00Z', '2027-11-07T12:00Z')).toEqual([
      '2027-11-07T07:00Z/120min',
    ]);
    expect(openings([window('01:00', '04:00')], zone, '2027-11-06T12:00Z', '2027-11-07T12:00Z')).toEqual([
      '2027-11-07T05:00Z/240min',
    ]);
    expect(openings([window('01:30', '02:30')], zone, '2027-11-06T12:00Z', '2027-11-07T12:00Z')).toEqual([
      '2027-11-07T05:30Z/120min',
    ]);
  });
});

describe('windows elsewhere', () => {
  const vectors: readonly (readonly [string, string, string, string, string, readonly string[]])[] = [
    // Half an hour of daylight saving, to and fro.
    [
      'Australia/Lord_Howe',
      '01:45',
      '02:15',
      '2027-10-02T00:00Z',
      '2027-10-03T00:00Z',
      ['2027-10-02T15:15Z/15min'],
    ],
    [
      'Australia/Lord_Howe',
      '01:30',
      '02:30',
      '2027-04-03T00:00Z',
      '2027-04-04T00:00Z',
      ['2027-04-03T14:30Z/90min'],
    ],
    // Midnight itself is skipped, and occurs twice.
    ['Africa/Cairo', '00:00', '02:00', '2027-04-29T12:00Z', '2027-04-30T12:00Z', ['2027-04-29T22:00Z/60min']],
    [
      'Africa/Cairo',
      '23:00',
      '01:00',
      '2027-10-28T12:00Z',
      '2027-10-29T12:00Z',
      ['2027-10-28T20:00Z/180min'],
    ],
    [
      'Asia/Kathmandu',
      '02:00',
      '04:00',
      '2027-01-01T00:00Z',
      '2027-01-02T00:00Z',
      ['2027-01-01T20:15Z/120min'],
    ],
    [
      'Pacific/Kiritimati',
      '00:00',
      '01:00',
      '2027-01-01T00:00Z',
      '2027-01-02T00:00Z',
      ['2027-01-01T10:00Z/60min'],
    ],
    [
      'Pacific/Pago_Pago',
      '23:00',
      '24:00',
      '2027-01-01T00:00Z',
      '2027-01-02T00:00Z',
      ['2027-01-01T10:00Z/60min'],
    ],
    ['UTC', '22:00', '02:00', '2027-01-01T12:00Z', '2027-01-02T12:00Z', ['2027-01-01T22:00Z/240min']],
  ];
  for (const [zone, from, to, start, end, expected] of vectors) {
    it(`open as the local clock says: ${from} to ${to} in ${zone} from ${start}`, () => {
      expect(openings([window(from, to)], zone, start, end)).toEqual(expected);
    });
  }

  it('open on their days only, the day being the one on which a window over midnight opens', () => {
    const friday = window('23:00', '01:00', { days: [4] });
    expect(openings([friday], 'Europe/Berlin', '2027-01-01T00:00Z', '2027-01-16T00:00Z')).toEqual([
      '2027-01-01T22:00Z/120min',
      '2027-01-08T22:00Z/120min',
      '2027-01-15T22:00Z/120min',
    ]);
  });

  it('are one opening where they overlap or touch', () => {
    const windows = [window('01:00', '02:00'), window('02:00', '03:00'), window('02:30', '04:00')];
    expect(openings(windows, 'UTC', '2027-01-01T12:00Z', '2027-01-02T12:00Z')).toEqual([
      '2027-01-02T01:00Z/180min',
    ]);
  });

  it('may have a zone of their own', () => {
    const windows = [window('02:00', '03:00'), window('02:00', '03:00', { timeZone: 'Asia/Tokyo' })];
    expect(openings(windows, 'UTC', '2027-01-01T12:00Z', '2027-01-02T12:00Z')).toEqual([
      '2027-01-01T17:00Z/60min',
      '2027-01-02T02:00Z/60min',
    ]);
  });

  it('are none where there are none', () => {
    expect(findOpening([], at('2027-01-01T00:00Z'), 'UTC')).toBeNull();
  });

  it('are open at the moment they open and closed at the moment they close', () => {
    const windows = [window('02:00', '03:00')];
    const opening = (text: string): string => shown(findOpening(windows, at(text), 'UTC')!);
    expect(opening('2027-01-01T01:59:59.999Z')).toBe('2027-01-01T02:00Z/60min');
    expect(opening('2027-01-01T02:59:59.999Z')).toBe('2027-01-01T02:00Z/60min');
    expect(opening('2027-01-01T03:00:00.000Z')).toBe('2027-01-02T02:00Z/60min');
  });
});

describe('a freeze', () => {
  const freeze = (from: string, to: string): FreezeRule => ({
    points: ['ArtifactInstall_Enter'],
    fromLocalMs: at(`${from}Z`),
    toLocalMs: at(`${to}Z`),
    timeZone: null,
    reason: '',
  });

  it('lasts from the first reading of its beginning to the last of its end', () => {
    const times = freezeTimes(freeze('2027-10-31T02:15', '2027-10-31T02:45'), 'Europe/Berlin');
    expect(shown(times)).toBe('2027-10-31T00:15Z/90min');
  });

  it('ends at the jump when its end is skipped', () => {
    const times = freezeTimes(freeze('2027-03-28T01:00', '2027-03-28T02:30'), 'Europe/Berlin');
    expect(shown(times)).toBe('2027-03-28T00:00Z/60min');
  });

  it('follows the zone it is judged in', () => {
    const days = freeze('2027-12-20T00:00', '2028-01-02T00:00');
    expect(shown(freezeTimes(days, 'Asia/Tokyo'))).toBe(`2027-12-19T15:00Z/${13 * 24 * 60}min`);
    expect(shown(freezeTimes(days, 'America/New_York'))).toBe(`2027-12-20T05:00Z/${13 * 24 * 60}min`);
  });
});

describe('random windows', () => {
  const seed = seedFromEnvironment();
  console.info(`random windows: TEST_SEED=${seed}`);
  const random = randomFrom(seed);
  const below = (limit: number): number => Math.floor(random() * limit);

  /** What a wall clock shows, from another part of ICU than the code under test uses. */
  function reader(zone: string): (ms: number) => number {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
    });
    return (ms) => {
      const parts: Record<string, number> = {};
      for (const { type, value } of format.formatToParts(ms)) parts[type] = Number(value);
      return Date.UTC(parts['year']!, parts['month']! - 1, parts['day']!, parts['hour']!, parts['minute']!);
    };
  }

  /**
   * Somebody who looks at the clock on the wall every minute and follows the rules to the letter. Real times of
   * openings, merged; those before the first two days of looking may be missing.
   */
  function openingsByLooking(window: WindowRule, zone: string, fromMs: number, untilMs: number) {
    const read = reader(zone);
    const firstDay = Math.floor(read(fromMs) / DAY) + 1;
    const lastDay = Math.floor(read(untilMs) / DAY) - 2;
    const found: { fromMs: number; untilMs: number }[] = [];
    const days = [];
    for (let day = firstDay; day <= lastDay; day++) {
      if (window.days.includes((day + 3) % 7)) {
        days.push({
          open: day * DAY + window.fromMinute * MINUTE,
          close: day * DAY + window.toMinute * MINUTE,
        });
      }
    }
    const opened = new Map<number, number>();
    const closed = new Set<number>();
    let highest = -Infinity;
    for (let ms = fromMs; ms < untilMs; ms += MINUTE) {
      // A rule speaks of the first time the clock shows something or more.
      highest = Math.max(highest, read(ms));
      for (const { open, close } of days) {
        if (!opened.has(open) && highest >= open) opened.set(open, ms);
        if (!closed.has(open) && highest >= close) {
          closed.add(open);
          const start = opened.get(open)!;
          found.push({ fromMs: start, untilMs: start === ms ? start + (close - open) : ms });
        }
      }
    }
    return found.sort((one, other) => one.fromMs - other.fromMs);
  }

  it('are open exactly when somebody who follows the rules says so, and the next opening is the next', () => {
    const zones = Intl.supportedValuesOf('timeZone');
    for (let round = 0; round < 30; round++) {
      const zone = zones[below(zones.length)]!;
      // Half of the rounds lie around a jump, where there is one in that year.
      const year = 2026 + below(12);
      let middleMs = Date.UTC(year, 0, 1) + below(365 * 24 * 60) * MINUTE;
      if (round % 2 === 0) middleMs = jumpIn(zone, year, below(2)) ?? middleMs;
      const fromMinute = round % 3 === 0 ? below(5 * 60) : below(1440);
      const rule: WindowRule = {
        points: ['ArtifactReboot_Enter'],
        days: [0, 1, 2, 3, 4, 5, 6].filter((day) => day === round % 7 || random() < 0.7),
        fromMinute,
        toMinute: fromMinute + 1 + below(round % 4 === 0 ? 60 : 1440),
        timeZone: null,
        isSkippable: false,
      };
      const expected = openingsByLooking(rule, zone, middleMs - 5 * DAY, middleMs + 12 * DAY);
      for (let probe = 0; probe < 40; probe++) {
        const nowMs = middleMs - DAY + below(2 * 24 * 60) * MINUTE + below(MINUTE);
        const got = findOpening([rule], nowMs, zone)!;
        const next = expected.find(({ untilMs }) => untilMs > nowMs)!;
        let until = next.untilMs;
        for (const one of expected) if (one.fromMs <= until) until = Math.max(until, one.untilMs);
        const context = `seed ${seed} round ${round}: ${zone} ${JSON.stringify(rule)} at ${new Date(nowMs).toISOString()}`;
        // Joined with the one before, the opening began earlier; what counts then is that it is open.
        if (next.fromMs <= nowMs) expect(got.fromMs, context).toBeLessThanOrEqual(nowMs);
        else expect(new Date(got.fromMs).toISOString(), context).toBe(new Date(next.fromMs).toISOString());
        if (until < middleMs + 6 * DAY)
          expect(new Date(got.untilMs).toISOString(), context).toBe(new Date(until).toISOString());
      }
    }
  }, 60_000);

  it('have no opening that a watcher who sleeps until the next change would miss', () => {
    const zones = Intl.supportedValuesOf('timeZone');
    for (let round = 0; round < 30; round++) {
      const zone = zones[below(zones.length)]!;
      const fromMinute = below(1440);
      const rule = { ...window('00:00', '01:00'), fromMinute, toMinute: fromMinute + 1 + below(180) };
      const startMs = Date.UTC(2027 + below(5), below(12), 1 + below(28));
      let count = 0;
      for (let nowMs = startMs; nowMs < startMs + 60 * DAY;) {
        const opening = findOpening([rule], nowMs, zone)!;
        expect(opening.untilMs, `seed ${seed} ${zone}`).toBeGreaterThan(nowMs);
        if (opening.fromMs >= startMs && opening.fromMs < startMs + 60 * DAY) count++;
        nowMs = opening.untilMs;
      }
      // One a day, at both ends one more or less.
      expect(Math.abs(count - 60), `seed ${seed} ${zone} ${fromMinute} from ${startMs}`).toBeLessThanOrEqual(
        1,
      );
    }
  });

  it('read the clock both ways alike', () => {
    const zones = Intl.supportedValuesOf('timeZone');
    for (let round = 0; round < 2000; round++) {
      const zone = zones[below(zones.length)]!;
      const ms = Date.UTC(2026, 0, 1) + below(12 * 365 * 24 * 60) * MINUTE;
      const local = reader(zone)(ms);
      const first = firstReading(zone, local);
      const last = lastReading(zone, local);
      expect([first, last], `seed ${seed} ${zone} ${ms}`).toContain(ms);
      expect(first).toBeLessThanOrEqual(last);
    }
  });

  function jumpIn(zone: string, year: number, which: number): number | null {
    const read = reader(zone);
    const jumps: number[] = [];
    let previous = read(Date.UTC(year, 0, 1)) - Date.UTC(year, 0, 1);
    for (let ms = Date.UTC(year, 0, 1); ms < Date.UTC(year + 1, 0, 1); ms += HOUR) {
      const offset = read(ms) - ms;
      if (offset !== previous) jumps.push(ms);
      previous = offset;
    }
    return jumps[which % Math.max(1, jumps.length)] ?? null;
  }
});
