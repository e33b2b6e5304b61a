import {
  sanitisedStates,
  type ControlMap,
  type MapPoint,
  type MapRule,
  type PooledMap,
} from './control-map.ts';
import { releaseOf, standingOf, type MapRelease, type ReleaseClock } from './map-release.ts';
import type { Opinion } from './priority-search.ts';

/**
 * The pool of control maps. Pure: every function answers with a new pool, or with the same one when nothing changed.
 * Times are boot time in milliseconds. Source: spec/update-control.md section 3.
 */
export type MapPool = readonly PooledMap[];

/** Mender has no limit: its pool, written to flash as a whole at every change, grows with every new id. */
export const MAX_MAPS = 64;

export interface InsertFacts {
  readonly origin: PooledMap['origin'];
  /** Who set it; −1 = the server. */
  readonly uid: number;
  readonly nowWallMs: number;
  readonly nowBootMs: number;
  /** 0 = expires at once. */
  readonly lifetimeMs: number;
  /** Announced beside it. */
  readonly releases?: readonly MapRelease[];
}

/** Unique in a pool: an id may have one map for each priority. */
export function mapKey(map: ControlMap): string {
  return `${map.id}/${map.priority}`;
}

/**
 * Appends the map, its lifetime begun anew. A local one replaces that with its id and priority and, when it says
 * nothing, only removes it (section 7); the server's replaces all with its id and is kept even if it says nothing
 * (section 6). null = not inserted, the pool has MAX_MAPS others already; the one it would have replaced stays.
 */
export function insertMap(pool: MapPool, map: ControlMap, facts: InsertFacts): MapPool | null {
  const { origin, uid, nowWallMs, nowBootMs, lifetimeMs, releases = [] } = facts;
  const others = origin === 'server' ? deleteMapsOf(pool, map.id) : deleteMap(pool, map.id, map.priority);
  if (origin === 'local' && Object.keys(map.states).length === 0) return others;
  if (others.length >= MAX_MAPS) return null;
  const { id, priority, states } = map;
  const times = timesOf(nowBootMs, lifetimeMs);
  const fresh = { id, priority, states, origin, uid, setWallMs: nowWallMs, ...times, isExpired: false };
  return [...others, releases.length === 0 ? fresh : { ...fresh, releases }];
}

/** Removes one map, active or expired. */
export function deleteMap(pool: MapPool, id: string, priority: number): MapPool {
  return without(pool, (map) => map.id === id && map.priority === priority);
}

/** Removes all maps with the id, whoever set them. */
export function deleteMapsOf(pool: MapPool, id: string): MapPool {
  return without(pool, (map) => map.id === id);
}

/** Marks those whose time is over; they stay and answer with `on_map_expire`. */
export function expireMaps(pool: MapPool, nowBootMs: number): MapPool {
  const isDue = (map: PooledMap): boolean => !map.isExpired && map.expiresBootMs <= nowBootMs;
  if (!pool.some(isDue)) return pool;
  return pool.map((map) => (isDue(map) ? { ...map, isExpired: true } : map));
}

export function clearExpired(pool: MapPool): MapPool {
  return without(pool, (map) => map.isExpired);
}

/**
 * After a start of the process: each map gets the boot lifetime in place of what was left, expired ones stay expired,
 * and points that by now only say `continue` go. Source: sections 2.2 and 3.1.
 */
export function reviveMaps(pool: MapPool, nowBootMs: number, bootLifetimeMs: number): MapPool {
  const times = timesOf(nowBootMs, bootLifetimeMs);
  return pool.map((map) => ({ ...map, states: sanitisedStates(map.states), ...times }));
}

/** Active or expired. */
export function hasMapOf(pool: MapPool, id: string): boolean {
  return pool.some((map) => map.id === id);
}

/** Of the active ones; null = there are none. */
export function nextExpiryBootMs(pool: MapPool): number | null {
  return earliest(active(pool).map(({ expiresBootMs }) => expiresBootMs));
}

/** Of the active ones with the id; `id` null = of all. null = there are none. */
export function nextHalfwayBootMs(pool: MapPool, id: string | null): number | null {
  const asked = active(pool).filter((map) => id === null || map.id === id);
  return earliest(asked.map(({ halfwayBootMs }) => halfwayBootMs));
}

/**
 * While the server's map cannot be refreshed it is not judged by its expiry: whoever is out of reach for an hour goes on
 * waiting, until the attempts or the point's ceiling are used up. Not for storing. Source: spec/update-control.md
 * section 5 (nothing is asked of the maps before a refresh has succeeded), design/stories.md 12.
 */
export function unexpiring(pool: MapPool, deploymentId: string): MapPool {
  return pool.map((map) =>
    map.origin === 'server' && map.id === deploymentId
      ? { ...map, isExpired: false, expiresBootMs: Infinity }
      : map,
  );
}

/** Milliseconds until each of the active ones expires. */
export function expiriesIn(pool: MapPool, nowBootMs: number): readonly number[] {
  return active(pool)
    .map(({ expiresBootMs }) => expiresBootMs - nowBootMs)
    .filter(Number.isFinite);
}

/** Whether one of the maps will let go of the point, or has, at a time the server has named. */
export function hasReleaseAt(pool: MapPool, point: MapPoint): boolean {
  return pool.some((map) => releaseOf(map.releases, point) !== null);
}

/** Milliseconds until maps let go of the point; none of those that have, or while the clock is not believed. */
export function releasesIn(pool: MapPool, point: string, clock: ReleaseClock): readonly number[] {
  if (clock.problem !== '') return [];
  return pool.flatMap(({ releases }) => {
    const inMs = (releaseOf(releases, point)?.atWallMs ?? 0) - clock.wallMs;
    return inMs > 0 ? [inMs] : [];
  });
}

/** That a map has let go of the point, at the time the server had named: for the record of the passage. */
export function reasonsOfReleases(pool: MapPool, point: string, clock: ReleaseClock): readonly string[] {
  return pool.some(({ releases }) => standingOf(releaseOf(releases, point), clock) === 'passed')
    ? ['released-by-map']
    : [];
}

/**
 * What every map that has the point says about it, in the order of the pool. Source: section 4. A release that has come
 * replaces what the map said; one that is to come replaces its expiry, for the time is the end of it.
 */
export function opinionsOf(pool: MapPool, point: MapPoint, clock: ReleaseClock): Opinion<PooledMap>[] {
  return pool.flatMap((map): Opinion<PooledMap>[] => {
    const release = releaseOf(map.releases, point);
    const standing = standingOf(release, clock);
    if (standing === 'passed') {
      return release?.isForced === true
        ? [{ priority: map.priority, value: 'force_continue', from: map }]
        : [];
    }
    const rule = map.states[point];
    if (!rule) return [];
    const value = map.isExpired && standing === 'none' ? rule.onMapExpire : rule.action;
    return [{ priority: map.priority, value, from: map }];
  });
}

/** The maps with these keys have been asked at the point: their action becomes `on_action_executed`, expired or not. */
export function advanceMaps(pool: MapPool, point: MapPoint, keys: readonly string[]): MapPool {
  const advanced = pool.map((map) => {
    const rule: MapRule | undefined = map.states[point];
    if (!rule || rule.action === rule.onActionExecuted || !keys.includes(mapKey(map))) return map;
    return { ...map, states: { ...map.states, [point]: { ...rule, action: rule.onActionExecuted } } };
  });
  return advanced.every((map, index) => map === pool[index]) ? pool : advanced;
}

function active(pool: MapPool): MapPool {
  return pool.filter(({ isExpired }) => !isExpired);
}

function without(pool: MapPool, isUnwanted: (map: PooledMap) => boolean): MapPool {
  return pool.some(isUnwanted) ? pool.filter((map) => !isUnwanted(map)) : pool;
}

function timesOf(nowBootMs: number, lifetimeMs: number): Pick<PooledMap, 'halfwayBootMs' | 'expiresBootMs'> {
  return {
    halfwayBootMs: nowBootMs + Math.floor(lifetimeMs / 2),
    expiresBootMs: nowBootMs + lifetimeMs,
  };
}

function earliest(times: readonly number[]): number | null {
  return times.length === 0 ? null : Math.min(...times);
}
