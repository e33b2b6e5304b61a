import type { HoldPoint } from '../hold-point.ts';
import { quoted } from '../printable.ts';
import type { MapRelease } from './map-release.ts';
import { isBlank, scanJson, type JsonMember, type JsonScan, type JsonValue } from './json-value.ts';

/**
 * Update control maps: what one says, and how its text is read. Source: spec/update-control.md section 2.
 *
 * A text is accepted exactly when Mender 3.x accepts it (its Go decoder's habits included: field names in any letter
 * case, of members that occur twice the last, `null` for "not given"), but for its length, which Mender does not limit.
 */
export const MAP_POINTS = [
  'ArtifactInstall_Enter',
  'ArtifactReboot_Enter',
  'ArtifactCommit_Enter',
] as const satisfies readonly HoldPoint[];
export type MapPoint = (typeof MAP_POINTS)[number];

export const MAP_ACTIONS = ['continue', 'force_continue', 'pause', 'fail'] as const;
export type MapAction = (typeof MAP_ACTIONS)[number];
export type MapExpiry = Exclude<MapAction, 'pause'>;

/** What a map says about one point; defaults filled in. */
export interface MapRule {
  readonly action: MapAction;
  readonly onMapExpire: MapExpiry;
  readonly onActionExecuted: MapAction;
}

/** Sanitised: points where all three say `continue` are not there. */
export interface ControlMap {
  /** In the letter case it was written in. */
  readonly id: string;
  /** −10…10; higher wins. */
  readonly priority: number;
  readonly states: Readonly<Partial<Record<MapPoint, MapRule>>>;
}

/** A map in the pool. Its lifetime is boot time: it runs during downloads too, as Mender's does. */
export interface PooledMap extends ControlMap {
  readonly origin: 'local' | 'server';
  /** Who set it; −1 = the server. */
  readonly uid: number;
  readonly setWallMs: number;
  readonly halfwayBootMs: number;
  readonly expiresBootMs: number;
  readonly isExpired: boolean;
  /** Points it lets go at a time the server has named; they do not expire before. Absent = none. */
  readonly releases?: readonly MapRelease[];
}

export interface InvalidMap {
  readonly kind: 'invalid';
  /** Where, as a JSON path, for example `$.states.ArtifactInstall_Enter.action`. */
  readonly path: string;
  /** `found …, expected …`; English, one line, printable, at most a few hundred characters. */
  readonly message: string;
}

export type ParsedMap =
  { readonly kind: 'map'; readonly map: ControlMap } | { readonly kind: 'null' } | InvalidMap;

/** In UTF-8. Mender has no such limit. */
export const MAX_MAP_BYTES = 64 * 1024;
const PRIORITY_LIMIT = 10;
const MAP_EXPIRIES = MAP_ACTIONS.filter((action): action is MapExpiry => action !== 'pause');
const MAP_FIELDS = ['id', 'priority', 'states'] as const;
const RULE_FIELDS = ['action', 'on_map_expire', 'on_action_executed'] as const;
/** What is shown of a name or value found. */
const SHOWN_CHARACTERS = 60;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isMapPoint(point: string): point is MapPoint {
  return MAP_POINTS.some((known) => known === point);
}

/**
 * Reads a map as it comes over D-Bus: up to the end of the first JSON value, whatever follows. `null`: the text is
 * JSON null, which Mender takes for a map that says nothing. Never throws.
 */
export function parseControlMap(text: string): ParsedMap {
  return isTooLong(text) ? tooLong() : parsed(scanJson(text));
}

/**
 * Reads the `update_control_map` of a server's answer: exactly one JSON value, whose id is the deployment's, compared
 * as written. `null`: there is no map. Never throws. Source: spec/update-control.md section 6.
 */
export function parseServerMap(text: string, deploymentId: string): ParsedMap {
  if (isTooLong(text)) return tooLong();
  const scan = scanJson(text);
  if (scan.kind === 'value' && !isBlank(scan.rest)) {
    return invalid('$', `found ${quoted(scan.rest, SHOWN_CHARACTERS)} behind the map, expected nothing`);
  }
  const result = parsed(scan);
  if (result.kind !== 'map' || result.map.id === deploymentId) return result;
  return invalid(
    '$.id',
    `found "${result.map.id}", expected the id of the deployment, ${quoted(deploymentId, SHOWN_CHARACTERS)}`,
  );
}

/**
 * The map as Mender writes it to its store, byte for byte: lower-case field names, points in alphabetical order, all
 * three values of each. Source: spec/update-control.md section 3.2.
 */
export function controlMapJson(map: ControlMap): string {
  const states = Object.entries(map.states)
    .sort(([one], [other]) => (one < other ? -1 : 1))
    .map(([point, { action, onMapExpire, onActionExecuted }]) => [
      point,
      { action, on_map_expire: onMapExpire, on_action_executed: onActionExecuted },
    ]);
  return JSON.stringify({ id: map.id, priority: map.priority, states: Object.fromEntries(states) });
}

/** Without the points where all three say `continue`. Source: spec/update-control.md section 2.2. */
export function sanitisedStates(states: ControlMap['states']): ControlMap['states'] {
  return Object.fromEntries(
    Object.entries(states).filter(([, { action, onMapExpire, onActionExecuted }]) =>
      [action, onMapExpire, onActionExecuted].some((value) => value !== 'continue'),
    ),
  );
}

/** The order of section 2.1: syntax, types anywhere, unknown fields, id, priority, points, actions. */
function parsed(scan: JsonScan): ParsedMap {
  if (scan.kind === 'broken') return invalid('$', scan.message);
  if (scan.value.kind === 'null') return { kind: 'null' };
  const draft: Draft = { id: '', priority: '0', rules: new Map(), unknown: null };
  const id = readMap(scan.value, draft) ?? draft.unknown ?? checkId(draft.id);
  if (id) return id;
  // Of many digits too: what does not fit a double is out of range all the same. `-0` is 0.
  const priority = Number(draft.priority) + 0;
  if (Math.abs(priority) > PRIORITY_LIMIT) {
    const expected = `expected -${PRIORITY_LIMIT} to ${PRIORITY_LIMIT}`;
    return invalid('$.priority', `found ${cut(draft.priority)}, ${expected}`);
  }
  const rules = [...draft.rules];
  const stranger = rules.find(([point]) => !isMapPoint(point));
  if (stranger) {
    const found = quoted(stranger[0], SHOWN_CHARACTERS);
    return invalid(`$.states${step(stranger[0])}`, `found ${found}, expected ${oneOf(MAP_POINTS)}`);
  }
  const states: Partial<Record<MapPoint, MapRule>> = {};
  for (const point of MAP_POINTS) {
    const written = draft.rules.get(point);
    if (!written) continue;
    const rule = toRule(written, `$.states.${point}`);
    if ('kind' in rule) return rule;
    states[point] = rule;
  }
  return { kind: 'map', map: { id: draft.id, priority, states: sanitisedStates(states) } };
}

/** Values as written; '' = not given. */
type WrittenRule = Record<(typeof RULE_FIELDS)[number], string>;

interface Draft {
  id: string;
  /** The digits. */
  priority: string;
  readonly rules: Map<string, WrittenRule>;
  /** The first field nobody knows. */
  unknown: InvalidMap | null;
}

/** Fills the draft; answers with the first value of a wrong type. */
function readMap(value: JsonValue, draft: Draft): InvalidMap | null {
  if (value.kind !== 'object') return mistyped('$', value, 'an object');
  for (const member of value.members) {
    const path = `$${step(member.key)}`;
    const field = fieldOf(member.key, MAP_FIELDS);
    let problem: InvalidMap | null = null;
    switch (field) {
      case null:
        draft.unknown ??= strange(path, member, MAP_FIELDS);
        break;
      case 'id':
        problem = readString(member.value, path, (text) => (draft.id = text));
        break;
      case 'priority':
        problem = readInteger(member.value, path, draft);
        break;
      case 'states':
        problem = readStates(member.value, path, draft);
    }
    if (problem) return problem;
  }
  return null;
}

/** Written twice, what both say counts, as in Go; `null` takes back what was written before. */
function readStates(value: JsonValue, path: string, draft: Draft): InvalidMap | null {
  if (value.kind === 'null') {
    draft.rules.clear();
    return null;
  }
  if (value.kind !== 'object') return mistyped(path, value, 'an object');
  for (const { key, value: rule } of value.members) {
    const written: WrittenRule = { action: '', on_map_expire: '', on_action_executed: '' };
    const problem = readRule(rule, `${path}${step(key)}`, written, draft);
    if (problem) return problem;
    draft.rules.set(key, written);
  }
  return null;
}

function readRule(value: JsonValue, path: string, rule: WrittenRule, draft: Draft): InvalidMap | null {
  if (value.kind === 'null') return null;
  if (value.kind !== 'object') return mistyped(path, value, 'an object');
  for (const member of value.members) {
    const memberPath = `${path}${step(member.key)}`;
    const field = fieldOf(member.key, RULE_FIELDS);
    if (field === null) {
      draft.unknown ??= strange(memberPath, member, RULE_FIELDS);
      continue;
    }
    const problem = readString(member.value, memberPath, (text) => (rule[field] = text));
    if (problem) return problem;
  }
  return null;
}

function readString(value: JsonValue, path: string, keep: (text: string) => void): InvalidMap | null {
  if (value.kind === 'null') return null;
  if (value.kind !== 'string') return mistyped(path, value, 'a string');
  keep(value.text);
  return null;
}

/** Go takes neither `1.0` nor `1e0` for an integer. */
function readInteger(value: JsonValue, path: string, draft: Draft): InvalidMap | null {
  if (value.kind === 'null') return null;
  if (value.kind !== 'number') return mistyped(path, value, 'an integer');
  if (!/^-?[0-9]+$/.test(value.literal)) {
    return invalid(path, `found ${cut(value.literal)}, expected an integer without fraction and exponent`);
  }
  draft.priority = value.literal;
  return null;
}

function checkId(id: string): InvalidMap | null {
  if (UUID.test(id)) return null;
  return invalid('$.id', `found ${quoted(id, SHOWN_CHARACTERS)}, expected a UUID of 36 characters`);
}

/** Defaults: section 2, the table. */
function toRule(written: WrittenRule, path: string): MapRule | InvalidMap {
  const action = oneOrDefault(written.action, MAP_ACTIONS, 'continue');
  if (action === null) return badAction(`${path}.action`, written.action, MAP_ACTIONS);
  const expiry = oneOrDefault(written.on_map_expire, MAP_EXPIRIES, action === 'pause' ? 'fail' : action);
  if (expiry === null) return badAction(`${path}.on_map_expire`, written.on_map_expire, MAP_EXPIRIES);
  const executed = oneOrDefault(written.on_action_executed, MAP_ACTIONS, action);
  if (executed === null) {
    return badAction(`${path}.on_action_executed`, written.on_action_executed, MAP_ACTIONS);
  }
  return { action, onMapExpire: expiry, onActionExecuted: executed };
}

function oneOrDefault<T extends string>(text: string, known: readonly T[], fallback: T): T | null {
  return text === '' ? fallback : (known.find((one) => one === text) ?? null);
}

/** Go's decoder folds letter case as Unicode does: `ſ` is an s. No field has a k, whose other form is `K`. */
function fieldOf<T extends string>(key: string, fields: readonly T[]): T | null {
  const folded = key.replaceAll('ſ', 's').replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return fields.find((field) => field === folded) ?? null;
}

function isTooLong(text: string): boolean {
  if (text.length > MAX_MAP_BYTES) return true;
  if (text.length * 3 <= MAX_MAP_BYTES) return false;
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes > MAX_MAP_BYTES;
}

function tooLong(): InvalidMap {
  return invalid('$', `found more than ${MAX_MAP_BYTES} bytes, expected at most that`);
}

/** One step of a JSON path; bounded and printable. */
function step(key: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]{0,59}$/.test(key)) return `.${key}`;
  return key === '' ? '[""]' : `[${quoted(key, SHOWN_CHARACTERS)}]`;
}

function strange(path: string, member: JsonMember, fields: readonly string[]): InvalidMap {
  const found = quoted(member.key, SHOWN_CHARACTERS);
  return invalid(path, `found the field ${found}, expected only ${fields.join(', ')}`);
}

function mistyped(path: string, value: JsonValue, expected: string): InvalidMap {
  return invalid(path, `found ${described(value)}, expected ${expected}`);
}

function badAction(path: string, found: string, known: readonly string[]): InvalidMap {
  return invalid(path, `found ${quoted(found, SHOWN_CHARACTERS)}, expected ${oneOf(known)}`);
}

function described(value: JsonValue): string {
  switch (value.kind) {
    case 'string':
      return quoted(value.text, SHOWN_CHARACTERS);
    case 'number':
      return `the number ${cut(value.literal)}`;
    case 'boolean':
      return 'a truth value';
    case 'null':
      return 'null';
    default:
      return `an ${value.kind}`;
  }
}

function oneOf(known: readonly string[]): string {
  return `${known.slice(0, -1).join(', ')} or ${known.at(-1)}`;
}

function cut(literal: string): string {
  return literal.length <= SHOWN_CHARACTERS ? literal : `${literal.slice(0, SHOWN_CHARACTERS)}…`;
}

function invalid(path: string, message: string): InvalidMap {
  return { kind: 'invalid', path, message };
}
