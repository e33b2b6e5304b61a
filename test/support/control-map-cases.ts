/** The cases of test/scenarios/control-maps.json, typed, and maps made from their short form by the real parser. */
import {
  parseControlMap,
  type ControlMap,
  type MapPoint,
  type PooledMap,
} from '../../src/core/control/control-map.ts';
import { readScenarios } from './scenario-rules.ts';

/** Point → `action/on_map_expire/on_action_executed`, `-` = not given. */
export type ShortStates = Readonly<Partial<Record<MapPoint, string>>>;

export interface ShortMap {
  /** One of `ids`. */
  readonly id: string;
  readonly priority: number;
  readonly states: ShortStates;
}

export interface Example {
  readonly given?: unknown;
  /** In place of `given`: as it stands. */
  readonly text?: string;
  readonly expected:
    | { readonly invalidAt: string }
    | { readonly states: ShortStates; readonly priority?: number; readonly id?: string };
}

export interface PoolExpectation {
  readonly active?: number;
  readonly expired?: number;
  /** Against the step before: another array. */
  readonly changed?: boolean;
  readonly keys?: readonly string[];
  readonly expiredKeys?: readonly string[];
  readonly states?: Readonly<Record<string, ShortStates>>;
  readonly has?: Readonly<Record<string, boolean>>;
  readonly nextExpiryInSeconds?: number | null;
  /** By id; `any` = of all. */
  readonly nextHalfwayInSeconds?: Readonly<Record<string, number | null>>;
  readonly expiresInSeconds?: Readonly<Record<string, number>>;
}

export type PoolStep =
  | {
      readonly do: 'insert';
      readonly map: ShortMap;
      readonly origin: PooledMap['origin'];
      readonly lifetimeSeconds: number;
    }
  | { readonly do: 'pass'; readonly seconds: number }
  | { readonly do: 'delete'; readonly id: string; readonly priority: number }
  | { readonly do: 'deleteAll'; readonly id: string }
  | { readonly do: 'clearExpired' }
  | { readonly do: 'revive'; readonly lifetimeSeconds: number }
  | { readonly expect: PoolExpectation };

export interface DecisionCase {
  readonly point: MapPoint;
  readonly maps: readonly (ShortMap & { readonly name: string; readonly expired: boolean })[];
  readonly queries: readonly {
    readonly decision: string;
    /** null = the map does not have the point. */
    readonly actionsAfter: Readonly<Record<string, string | null>>;
  }[];
  readonly compatibility?: {
    readonly passages: readonly {
      readonly decisions: readonly string[];
      readonly actionsAfter: Readonly<Record<string, string>>;
    }[];
  };
}

export interface ControlMapCase {
  readonly number: number;
  readonly section: string;
  readonly name: string;
  readonly runIn: readonly ('parse' | 'pool' | 'decision' | 'bus' | 'flow')[];
}

export type ParseCase = ControlMapCase & { readonly examples: readonly Example[] };
export type PoolCase = ControlMapCase & {
  readonly steps: readonly PoolStep[];
  readonly compatibility?: { readonly rule: string; readonly steps: readonly PoolStep[] };
};

interface CaseFile {
  readonly ids: Readonly<Record<string, string>>;
  readonly rows: readonly ControlMapCase[];
}

const file = readScenarios<CaseFile>('control-maps.json');
export const CONTROL_MAP_CASES = file.rows;

export function casesIn<T extends ControlMapCase>(place: ControlMapCase['runIn'][number]): readonly T[] {
  return CONTROL_MAP_CASES.filter(({ runIn }) => runIn.includes(place)) as T[];
}

/** `U1` → the UUID it stands for. */
export function idOf(name: string): string {
  const id = file.ids[name];
  if (id === undefined) throw new Error(`no id is called ${name}`);
  return id;
}

/** A key as in `U1/0` → that of the pool. */
export function keyOf(name: string): string {
  const [id = '', priority = ''] = name.split('/');
  return `${idOf(id)}/${priority}`;
}

/** The text somebody would send. */
export function mapText({ id, priority, states }: ShortMap): string {
  const written = Object.entries(states).map(([point, rule]) => {
    const [action, onMapExpire, onActionExecuted] = rule.split('/');
    const fields = { action, on_map_expire: onMapExpire, on_action_executed: onActionExecuted };
    return [point, Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== '-'))];
  });
  return JSON.stringify({ id: idOf(id), priority, states: Object.fromEntries(written) });
}

export function mapOf(short: ShortMap): ControlMap {
  const result = parseControlMap(mapText(short));
  if (result.kind !== 'map') throw new Error(`not a map: ${JSON.stringify(result)}`);
  return result.map;
}

/** The short form of what the parser made. */
export function shortStates(states: ControlMap['states']): ShortStates {
  return Object.fromEntries(
    Object.entries(states).map(([point, { action, onMapExpire, onActionExecuted }]) => [
      point,
      `${action}/${onMapExpire}/${onActionExecuted}`,
    ]),
  );
}
