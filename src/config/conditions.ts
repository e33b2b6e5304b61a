/**
 * `Windows`, `Freeze`, `Power`, `Metered`, `Inhibitors`, `ConditionScripts` and `RequireSynchronizedClock` of
 * holdpoint.json → the conditions the core and its adapters know. Each of these keys is one value: a later file
 * replaces it whole. Letter case of member names does not matter; an unknown member is an error, because a misspelt
 * condition would be one that is not asked for. `points`: an array of hold points, never empty. `timezone`: an IANA
 * name, default the zone of the device.
 *
 * - `Windows`: array of { points, days (array of "mon" to "sun", default all), from "HH:MM", to "HH:MM" (up to
 *   "24:00"; not after `from` = on the next day), timezone, skippable (default false) }
 * - `Freeze`: array of { from, to: "YYYY-MM-DD" or "YYYY-MM-DDTHH:MM" (`to` as a date: to the end of that day),
 *   points (default all but the commit and the rollback's reboot), timezone, reason (text) }
 * - `Power`: { points (default install and reboot), min-battery-percent 1 to 100, require-mains (default false),
 *   assume-mains-without-upower (default false), skippable (default false) }; one of the two demands must be there
 * - `Metered`: { points (default the download), skippable (default true) }
 * - `Inhibitors`: { points (default both reboots), respect (default true) }
 * - `ConditionScripts`: { points (default all), timeout 1 to 3600 s (default 10), interval 1 to 86400 s (default 60),
 *   skippable (default false) }
 * - `RequireSynchronizedClock`: boolean, default false
 */
import * as v from 'valibot';
import {
  REBOOT_POINTS,
  type ConditionSettings,
  type FreezeRule,
  type WindowRule,
} from '../core/control/condition-settings.ts';
import { UpdateError } from '../core/errors.ts';
import { HOLD_POINTS, type HoldPoint } from '../core/hold-point.ts';
import type { Layers, Origin } from './layers.ts';
import { nearest } from './nearest.ts';
import type { HOLDPOINT_RULES } from './schema.ts';

const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
const DAY_MINUTES = 24 * 60;
const MINUTE_MS = 60_000;
const MAX_RULES = 64;
const MAX_REASON = 200;

const hasTwins = (items: readonly unknown[]): boolean => new Set(items).size < items.length;
const points = v.pipe(
  v.array(v.picklist(HOLD_POINTS, `one of ${HOLD_POINTS.join(', ')}`), 'an array of hold points'),
  v.minLength(1, 'at least one hold point'),
  v.check((items) => !hasTwins(items), 'each hold point once'),
);
const pointsOr = (fallback: readonly HoldPoint[]) => v.optional(points, [...fallback]);
const flagOr = (fallback: boolean) => v.optional(v.boolean('true or false'), fallback);
const wholeFrom = (least: number, most: number) => {
  const expected = `a whole number from ${least} to ${most}`;
  return v.pipe(
    v.number(expected),
    v.safeInteger(expected),
    v.minValue(least, expected),
    v.maxValue(most, expected),
  );
};
const matching = (pattern: RegExp, expected: string) =>
  v.pipe(v.string(expected), v.regex(pattern, expected));
const timezone = v.optional(
  v.pipe(
    v.string('the name of a time zone, for example "Europe/Berlin"'),
    v.check(isTimeZone, 'the name of a time zone, for example "Europe/Berlin"'),
  ),
);

const windowSchema = v.strictObject({
  points,
  days: v.optional(
    v.pipe(
      v.array(v.picklist(WEEKDAYS, `one of ${WEEKDAYS.join(', ')}`), 'an array of days, "mon" to "sun"'),
      v.minLength(1, 'at least one day'),
      v.check((items) => !hasTwins(items), 'each day once'),
    ),
    [...WEEKDAYS],
  ),
  from: matching(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'a time from "00:00" to "23:59"'),
  to: matching(/^(?:(?:[01]\d|2[0-3]):[0-5]\d|24:00)$/, 'a time from "00:00" to "24:00"'),
  timezone,
  skippable: flagOr(false),
});

const dateOrTime = 'a date "YYYY-MM-DD" or a time "YYYY-MM-DDTHH:MM"';
const moment = v.pipe(
  matching(/^\d{4}-\d\d-\d\d(?:T(?:[01]\d|2[0-3]):[0-5]\d)?$/, dateOrTime),
  v.check((text) => !Number.isNaN(localMsOf(text)), 'a day that exists'),
);
const freezeSchema = v.strictObject({
  from: moment,
  to: moment,
  points: pointsOr(['Download_Enter', 'ArtifactInstall_Enter', 'ArtifactReboot_Enter']),
  timezone,
  reason: v.optional(
    v.pipe(
      v.string('a text'),
      v.maxLength(MAX_REASON, `at most ${MAX_REASON} characters`),
      v.regex(/^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]*$/u, 'one line of printable characters'),
    ),
    '',
  ),
});

const listOf = <S extends v.GenericSchema>(schema: S) =>
  v.pipe(v.array(schema, 'an array of objects'), v.maxLength(MAX_RULES, `at most ${MAX_RULES} entries`));

const SCHEMAS = {
  Windows: listOf(windowSchema),
  Freeze: listOf(freezeSchema),
  Power: v.strictObject({
    points: pointsOr(['ArtifactInstall_Enter', 'ArtifactReboot_Enter']),
    'min-battery-percent': v.optional(wholeFrom(1, 100)),
    'require-mains': flagOr(false),
    'assume-mains-without-upower': flagOr(false),
    skippable: flagOr(false),
  }),
  Metered: v.strictObject({ points: pointsOr(['Download_Enter']), skippable: flagOr(true) }),
  Inhibitors: v.strictObject({ points: pointsOr(REBOOT_POINTS), respect: flagOr(true) }),
  ConditionScripts: v.strictObject({
    points: pointsOr(HOLD_POINTS),
    timeout: v.optional(wholeFrom(1, 3600), 10),
    interval: v.optional(wholeFrom(1, 86_400), 60),
    skippable: flagOr(false),
  }),
} as const;
type ConditionKey = keyof typeof SCHEMAS;
type Parsed = { readonly [K in ConditionKey]: v.InferOutput<(typeof SCHEMAS)[K]> | null };

/** Keys of this file, for check-config; `RequireSynchronizedClock` comes after them. */
export const CONDITION_KEYS = Object.keys(SCHEMAS) as readonly ConditionKey[];

export interface LoadedConditions {
  readonly settings: ConditionSettings;
  /** What counts for each key, in the spelling of the file and with defaults; null = not configured. */
  readonly effective: Readonly<Record<ConditionKey, unknown>>;
}

/** Throws kind `config` with one sentence: file and line, place in the value, what was found and expected. */
export function conditionSettings(layers: Layers<typeof HOLDPOINT_RULES>): LoadedConditions {
  const parsed: Parsed = {
    Windows: parseKey('Windows', layers),
    Freeze: parseKey('Freeze', layers),
    Power: parseKey('Power', layers),
    Metered: parseKey('Metered', layers),
    Inhibitors: parseKey('Inhibitors', layers) ?? v.parse(SCHEMAS.Inhibitors, {}),
    ConditionScripts: parseKey('ConditionScripts', layers) ?? v.parse(SCHEMAS.ConditionScripts, {}),
  };
  const { Power, Metered, Inhibitors, ConditionScripts } = parsed;
  const complain = (key: ConditionKey, place: string, sentence: string): never => {
    throw configError(key, layers.origin(key), place, sentence);
  };
  if (Power && Power['min-battery-percent'] === undefined && !Power['require-mains']) {
    complain('Power', '', 'expected require-mains or min-battery-percent, found neither');
  }
  const settings: ConditionSettings = {
    windows: (parsed.Windows ?? []).map((one, index) => windowRule(one, index, complain)),
    freezes: (parsed.Freeze ?? []).map((one, index) => freezeRule(one, index, complain)),
    power: Power && {
      points: Power.points,
      minBatteryPercent: Power['min-battery-percent'] ?? null,
      isMainsRequired: Power['require-mains'],
      assumesMainsWithoutUPower: Power['assume-mains-without-upower'],
      isSkippable: Power.skippable,
    },
    metered: Metered && { points: Metered.points, isSkippable: Metered.skippable },
    inhibitors: Inhibitors?.respect ? { points: Inhibitors.points } : null,
    scripts: ConditionScripts && {
      points: ConditionScripts.points,
      timeoutSeconds: ConditionScripts.timeout,
      intervalSeconds: ConditionScripts.interval,
      isSkippable: ConditionScripts.skippable,
    },
    isSynchronizedClockRequired: layers.get('RequireSynchronizedClock') ?? false,
  };
  return { settings, effective: { ...parsed, Windows: parsed.Windows ?? [], Freeze: parsed.Freeze ?? [] } };
}

type Complain = (key: ConditionKey, place: string, sentence: string) => never;

function windowRule(
  window: v.InferOutput<typeof windowSchema>,
  index: number,
  complain: Complain,
): WindowRule {
  const fromMinute = minuteOf(window.from);
  const toMinute = minuteOf(window.to);
  if (fromMinute === toMinute) {
    complain(
      'Windows',
      `[${index}]`,
      `found the same time for from and to (${window.from}); a whole day is "00:00" to "24:00"`,
    );
  }
  return {
    points: window.points,
    days: window.days.map((day) => WEEKDAYS.indexOf(day)),
    fromMinute,
    toMinute: toMinute < fromMinute ? toMinute + DAY_MINUTES : toMinute,
    timeZone: window.timezone ?? null,
    isSkippable: window.skippable,
  };
}

function freezeRule(
  freeze: v.InferOutput<typeof freezeSchema>,
  index: number,
  complain: Complain,
): FreezeRule {
  const fromLocalMs = localMsOf(freeze.from);
  const isDate = !freeze.to.includes('T');
  const toLocalMs = localMsOf(freeze.to) + (isDate ? DAY_MINUTES * MINUTE_MS : 0);
  if (toLocalMs <= fromLocalMs) {
    complain('Freeze', `[${index}]`, `found from ${freeze.from} and to ${freeze.to}, expected to after from`);
  }
  return {
    points: freeze.points,
    fromLocalMs,
    toLocalMs,
    timeZone: freeze.timezone ?? null,
    reason: freeze.reason,
  };
}

/** null = the key is not there. */
function parseKey<K extends ConditionKey>(key: K, layers: Layers<typeof HOLDPOINT_RULES>): Parsed[K] {
  const found = layers.get(key);
  if (found === undefined) return null;
  const result = v.safeParse(SCHEMAS[key], withLowerCaseNames(found));
  if (result.success) return result.output as Parsed[K];
  const [issue] = result.issues;
  throw configError(key, layers.origin(key), placeOf(issue), sentenceOf(issue));
}

type Issue = v.BaseIssue<unknown>;

/** valibot reports three things as one: no object at all, a member missing, and a member too many. */
function isAboutMember(issue: Issue): boolean {
  return issue.type === 'strict_object' && issue.expected !== 'Object';
}

function placeOf(issue: Issue): string {
  const parts = (issue.path ?? []).map(({ key }) =>
    typeof key === 'number' ? `[${key}]` : `.${String(key)}`,
  );
  // The member that is too much or missing is named in the sentence.
  return (isAboutMember(issue) ? parts.slice(0, -1) : parts).join('');
}

function sentenceOf(issue: Issue): string {
  if (!isAboutMember(issue)) {
    const expected = issue.type === 'strict_object' ? 'an object' : issue.message;
    return `found ${shown(issue.input)}, expected ${expected}`;
  }
  const name = String(issue.path?.at(-1)?.key);
  if (issue.expected !== 'never') return `${name} is missing`;
  const meant = nearest(name, memberNames(issue));
  return `unknown member ${name}${meant === null ? '' : ` (did you mean ${meant}?)`}`;
}

/** All member names of conditions: which object the issue is about decides little, a near name is what is meant. */
function memberNames(issue: Issue): readonly string[] {
  const entries = [windowSchema, freezeSchema, SCHEMAS.Power, SCHEMAS.ConditionScripts, SCHEMAS.Inhibitors];
  const given = Object.keys((issue.path?.at(-1)?.input as object | undefined) ?? {});
  const names = new Set(entries.flatMap((schema) => Object.keys(schema.entries)));
  return [...names].filter((name) => !given.includes(name));
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function configError(key: ConditionKey, origin: Origin, place: string, sentence: string): UpdateError {
  const where = origin.kind === 'file' ? `${origin.path}:${origin.line}: ` : '';
  const path = origin.kind === 'file' ? { path: origin.path } : {};
  return new UpdateError('config', `${where}${key}${place}: ${sentence}`, {
    details: { ...path, key: `${key}${place}` },
  });
}

/** Letter case of names does not matter in any configuration file; a member that is null is not there. */
function withLowerCaseNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withLowerCaseNames);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, one]) => one !== null)
      .map(([name, one]) => [name.toLowerCase(), withLowerCaseNames(one)]),
  );
}

function minuteOf(text: string): number {
  const [hours = 0, minutes = 0] = text.split(':').map(Number);
  return hours * 60 + minutes;
}

/** NaN = there is no such day. */
function localMsOf(text: string): number {
  const [date = '', time = '00:00'] = text.split('T');
  const dayMs = Date.parse(`${date}T00:00:00Z`);
  if (Number.isNaN(dayMs) || new Date(dayMs).toISOString().slice(0, 10) !== date) return NaN;
  return dayMs + minuteOf(time) * MINUTE_MS;
}

function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}
