/**
 * `Access` of holdpoint.json → who may what on the bus. Any doubt about it is fatal: a right must not be lost or won
 * by a misspelt word.
 */
import * as v from 'valibot';
import {
  ACCESS_ACTIONS,
  DEFAULT_ACCESS,
  POINT_ACTIONS,
  type AccessAction,
  type AccessRule,
  type AccessSettings,
} from '../core/access.ts';
import { UpdateError } from '../core/errors.ts';
import { HOLD_POINTS } from '../core/hold-point.ts';
import type { Layers } from './layers.ts';
import { nearest } from './nearest.ts';
import type { HOLDPOINT_RULES } from './schema.ts';

const MAX_RULES = 256;
const MAX_IDS = 1024;
/** The highest is "no user" (−1 of 32 bits) for the system calls. */
const MAX_ID = 0xfffffffe;
const MEMBERS = ['users', 'groups', 'actions', 'points'] as const;

/**
 * Throws kind `config`, naming file, line, rule and member, for: no user and no group, no action, an unknown member,
 * action or point, a name that cannot be one, and `points` beside an action that happens at no point.
 */
export function accessSettings(layers: Layers<typeof HOLDPOINT_RULES>): AccessSettings {
  const given = layers.get('Access.rules');
  const origin = layers.origin('Access.rules');
  const where = origin.kind === 'file' ? `${origin.path}:${origin.line}` : origin.kind;
  if (given !== undefined && given.length > MAX_RULES) {
    throw wrong(`${where}: Access.rules`, `${given.length} rules`, `at most ${MAX_RULES}`);
  }
  return {
    polkit: layers.get('Access.polkit') ?? DEFAULT_ACCESS.polkit,
    rules:
      given?.map((rule, index) => toRule(rule, `${where}: Access.rules[${index}]`)) ?? DEFAULT_ACCESS.rules,
  };
}

function toRule(rule: Readonly<Record<string, unknown>>, where: string): AccessRule {
  for (const key of Object.keys(rule)) {
    if (!(MEMBERS as readonly string[]).includes(key)) {
      throw wrong(where, `the member ${JSON.stringify(key)}`, MEMBERS.join(', '), nearest(key, MEMBERS));
    }
  }
  const users = list(rule['users'], `${where}.users`, toId);
  const groups = list(rule['groups'], `${where}.groups`, toId);
  const actions = list(rule['actions'], `${where}.actions`, (value, at) => toWord(value, ACCESS_ACTIONS, at));
  const points = list(rule['points'], `${where}.points`, (value, at) => toWord(value, HOLD_POINTS, at));
  if (users.length + groups.length === 0) throw wrong(where, 'nobody', 'users or groups');
  if (actions.length === 0) throw wrong(where, 'no actions', `some of ${ACCESS_ACTIONS.join(', ')}`);
  if (rule['points'] === undefined) return { users, groups, actions, points: null };
  if (points.length === 0) throw wrong(`${where}.points`, 'an empty list', 'a point, or no points at all');
  const pointless = actions.find((action: AccessAction) => !POINT_ACTIONS.includes(action));
  if (pointless !== undefined) {
    throw wrong(
      `${where}.points`,
      `the action ${pointless}, which happens at no point`,
      POINT_ACTIONS.join(', '),
    );
  }
  return { users, groups, actions, points };
}

function list<T>(value: unknown, where: string, convert: (item: unknown, where: string) => T): readonly T[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw wrong(where, shown(value), 'a list');
  if (value.length > MAX_IDS) throw wrong(where, `${value.length} entries`, `at most ${MAX_IDS}`);
  return value.map((item, index) => convert(item, `${where}[${index}]`));
}

const id = v.union([
  v.pipe(v.number(), v.safeInteger(), v.minValue(0), v.maxValue(MAX_ID)),
  // A colon or line break would never be found in /etc/passwd, a number in quotes is no name.
  v.pipe(v.string(), v.regex(/^(?![0-9]+$)[^\s:/,]{1,256}$/u)),
]);

function toId(value: unknown, where: string): string | number {
  const result = v.safeParse(id, value);
  if (result.success) return result.output;
  throw wrong(where, shown(value), 'a name, or a number without quotes');
}

function toWord<T extends string>(value: unknown, words: readonly T[], where: string): T {
  const word = words.find((candidate) => candidate === value);
  if (word !== undefined) return word;
  const meant = typeof value === 'string' ? nearest(value, words) : null;
  throw wrong(where, shown(value), `one of ${words.join(', ')}`, meant);
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function wrong(where: string, found: string, expected: string, meant: string | null = null): UpdateError {
  const hint = meant === null ? '' : ` (did you mean ${meant}?)`;
  return new UpdateError('config', `${where}: found ${found}, expected ${expected}${hint}`, {
    details: { key: 'Access.rules' },
  });
}
