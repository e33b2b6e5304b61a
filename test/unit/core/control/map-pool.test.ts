import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  MAP_ACTIONS,
  MAP_POINTS,
  type ControlMap,
  type MapExpiry,
  type MapPoint,
  type MapRule,
} from '../../../../src/core/control/control-map.ts';
import {
  advanceMaps,
  clearExpired,
  deleteMap,
  deleteMapsOf,
  expireMaps,
  hasMapOf,
  insertMap,
  mapKey,
  MAX_MAPS,
  nextExpiryBootMs,
  nextHalfwayBootMs,
  opinionsOf,
  reviveMaps,
  type MapPool,
} from '../../../../src/core/control/map-pool.ts';
import { searchByPriority } from '../../../../src/core/control/priority-search.ts';
import {
  casesIn,
  idOf,
  keyOf,
  mapOf,
  shortStates,
  type DecisionCase,
  type PoolCase,
  type PoolExpectation,
  type PoolStep,
  type ControlMapCase,
} from '../../../support/control-map-cases.ts';
import { seedFromEnvironment } from '../../../support/random.ts';

/** Not zero, so that a time forgotten shows. */
const START_MS = 1_000_000;
const WALL_MS = 1_790_000_000_000;

function inserted(
  pool: MapPool,
  map: ControlMap,
  { origin = 'local' as 'local' | 'server', nowBootMs = START_MS, lifetimeMs = 60_000 } = {},
): MapPool {
  const uid = origin === 'server' ? -1 : 0;
  const after = insertMap(pool, map, { origin, uid, nowWallMs: WALL_MS, nowBootMs, lifetimeMs });
  if (after === null) throw new Error('the pool is full');
  return after;
}

interface Run {
  readonly pool: MapPool;
  readonly nowMs: number;
  readonly hasChanged: boolean;
}

function step({ pool, nowMs }: Run, what: Exclude<PoolStep, { readonly expect: unknown }>): Run {
  const done = (after: MapPool, laterMs = nowMs): Run => ({
    pool: after,
    nowMs: laterMs,
    hasChanged: after !== pool,
  });
  switch (what.do) {
    case 'insert': {
      const lifetimeMs = what.lifetimeSeconds * 1000;
      return done(inserted(pool, mapOf(what.map), { origin: what.origin, nowBootMs: nowMs, lifetimeMs }));
    }
    case 'pass':
      return done(expireMaps(pool, nowMs + what.seconds * 1000), nowMs + what.seconds * 1000);
    case 'delete':
      return done(deleteMap(pool, idOf(what.id), what.priority));
    case 'deleteAll':
      return done(deleteMapsOf(pool, idOf(what.id)));
    case 'clearExpired':
      return done(clearExpired(pool));
    case 'revive':
      return done(reviveMaps(pool, nowMs, what.lifetimeSeconds * 1000));
  }
}

function check({ pool, nowMs, hasChanged }: Run, expected: PoolExpectation): void {
  const expired = pool.filter(({ isExpired }) => isExpired);
  const inSeconds = (atMs: number | null): number | null => (atMs === null ? null : (atMs - nowMs) / 1000);
  const checks: Record<keyof PoolExpectation, unknown> = {
    active: pool.length - expired.length,
    expired: expired.length,
    changed: hasChanged,
    keys: pool.map(mapKey),
    expiredKeys: expired.map(mapKey),
    states: Object.fromEntries(pool.map((map) => [mapKey(map), shortStates(map.states)])),
    has: Object.fromEntries(
      Object.keys(expected.has ?? {}).map((name) => [name, hasMapOf(pool, idOf(name))]),
    ),
    nextExpiryInSeconds: inSeconds(nextExpiryBootMs(pool)),
    nextHalfwayInSeconds: Object.fromEntries(
      Object.keys(expected.nextHalfwayInSeconds ?? {}).map((name) => [
        name,
        inSeconds(nextHalfwayBootMs(pool, name === 'any' ? null : idOf(name))),
      ]),
    ),
    expiresInSeconds: Object.fromEntries(pool.map((map) => [mapKey(map), inSeconds(map.expiresBootMs)])),
  };
  for (const [name, wanted] of Object.entries(expected)) {
    expect(checks[name as keyof PoolExpectation], name).toEqual(withRealKeys(name, wanted));
  }
}

function withRealKeys(name: string, wanted: unknown): unknown {
  if (name === 'keys' || name === 'expiredKeys') return (wanted as string[]).map(keyOf);
  if (name !== 'states' && name !== 'expiresInSeconds') return wanted;
  return Object.fromEntries(Object.entries(wanted as object).map(([key, value]) => [keyOf(key), value]));
}

function runSteps(steps: readonly PoolStep[]): void {
  expect(steps.filter((one) => 'expect' in one)).not.toHaveLength(0);
  let run: Run = { pool: [], nowMs: START_MS, hasChanged: false };
  for (const one of steps) {
    if ('expect' in one) check(run, one.expect);
    else run = step(run, one);
  }
}

const poolCases = casesIn<PoolCase>('pool');

describe('the pool, case', () => {
  it.each(poolCases.map((row) => [row.number, row.name, row] as const))('%i: %s', (_number, _name, row) => {
    runSteps(row.steps);
  });

  const changed = poolCases.flatMap(({ number, compatibility }) =>
    compatibility ? [[number, compatibility.rule, compatibility.steps] as const] : [],
  );
  it.each(changed)('%i as we do it: %s', (_number, _rule, steps) => runSteps(steps));
});

/** No map here has a release. */
const CLOCK = { wallMs: WALL_MS, problem: '' };

/** The decision, as Mender puts it. */
function decide(
  pool: MapPool,
  point: MapPoint,
): { readonly decision: string; readonly asked: readonly string[] } {
  const { verdict, asked } = searchByPriority(opinionsOf(pool, point, CLOCK));
  return { decision: verdict === 'force_continue' ? 'continue' : verdict, asked: asked.map(mapKey) };
}

function poolOf(maps: DecisionCase['maps']): MapPool {
  const pool = maps.reduce<MapPool>(
    (before, map) => inserted(before, mapOf(map), { lifetimeMs: map.expired ? 0 : 60_000 }),
    [],
  );
  return expireMaps(pool, START_MS);
}

function actionsOf(pool: MapPool, { maps, point }: DecisionCase): Record<string, string | null> {
  return Object.fromEntries(
    maps.map(({ name, id }) => [
      name,
      pool.find((map) => map.id === idOf(id))?.states[point]?.action ?? null,
    ]),
  );
}

describe('the decision at a gate, case', () => {
  const cases = casesIn<DecisionCase & ControlMapCase>('decision');
  it.each(cases.map((row) => [row.number, row.name, row] as const))('%i: %s', (_number, _name, row) => {
    let pool = poolOf(row.maps);
    for (const { decision, actionsAfter } of row.queries) {
      const result = decide(pool, row.point);
      expect(result.decision).toBe(decision);
      pool = advanceMaps(pool, row.point, result.asked);
      expect(actionsOf(pool, row)).toEqual(actionsAfter);
    }
  });

  it.each(
    cases.flatMap((row) =>
      row.compatibility ? [[row.number, row, row.compatibility.passages] as const] : [],
    ),
  )('%i as we do it: deciding again in one passage changes nothing', (_number, row, passages) => {
    let pool = poolOf(row.maps);
    for (const { decisions, actionsAfter } of passages) {
      const results = decisions.map(() => decide(pool, row.point));
      expect(results.map(({ decision }) => decision)).toEqual(decisions);
      pool = advanceMaps(pool, row.point, results.at(-1)?.asked ?? []);
      expect(actionsOf(pool, row)).toEqual(actionsAfter);
    }
  });
});

describe('advancing', () => {
  const map = mapOf({
    id: 'U1',
    priority: 3,
    states: { ArtifactInstall_Enter: 'pause/-/continue', ArtifactCommit_Enter: 'pause/fail/fail' },
  });

  it('touches only the point and the maps named, and leaves on_map_expire as it is', () => {
    const other = mapOf({ id: 'U2', priority: 3, states: { ArtifactInstall_Enter: 'pause/-/fail' } });
    const pool = inserted(inserted([], map), other);
    const advanced = advanceMaps(pool, 'ArtifactInstall_Enter', [mapKey(map)]);
    expect(advanced.map(({ states }) => shortStates(states))).toEqual([
      { ArtifactInstall_Enter: 'continue/fail/continue', ArtifactCommit_Enter: 'pause/fail/fail' },
      { ArtifactInstall_Enter: 'pause/fail/fail' },
    ]);
    expect(advanced[1]).toBe(pool[1]);
  });

  it('gives the same pool when nothing changes', () => {
    const pool = advanceMaps(inserted([], map), 'ArtifactInstall_Enter', [mapKey(map)]);
    expect(advanceMaps(pool, 'ArtifactInstall_Enter', [mapKey(map)])).toBe(pool);
    expect(advanceMaps(pool, 'ArtifactReboot_Enter', [mapKey(map)])).toBe(pool);
    expect(advanceMaps(pool, 'ArtifactCommit_Enter', [])).toBe(pool);
  });

  it('leaves a point that by now only says continue until the process starts again', () => {
    const once = mapOf({
      id: 'U1',
      priority: 0,
      states: { ArtifactInstall_Enter: 'pause/continue/continue' },
    });
    const advanced = advanceMaps(inserted([], once), 'ArtifactInstall_Enter', [mapKey(once)]);
    expect(shortStates(advanced[0]?.states ?? {})).toEqual({
      ArtifactInstall_Enter: 'continue/continue/continue',
    });
    expect(reviveMaps(advanced, START_MS, 600_000)[0]?.states).toEqual({});
  });

  it('is undone by setting the map again', () => {
    const pool = advanceMaps(inserted([], map), 'ArtifactInstall_Enter', [mapKey(map)]);
    expect(inserted(pool, map)[0]?.states).toEqual(map.states);
  });
});

describe('setting a map', () => {
  const pause = { ArtifactInstall_Enter: 'pause/-/-' };

  it('remembers who set it and when, half-way at half of the lifetime', () => {
    const map = mapOf({ id: 'U1', priority: 3, states: pause });
    const facts = { origin: 'local', uid: 7, nowWallMs: 5, nowBootMs: 100, lifetimeMs: 61_001 } as const;
    expect(insertMap([], map, facts)).toEqual([
      {
        ...map,
        origin: 'local',
        uid: 7,
        setWallMs: 5,
        halfwayBootMs: 30_600,
        expiresBootMs: 61_101,
        isExpired: false,
      },
    ]);
  });

  it('of the server is kept even if it says nothing, and replaces local ones with its id', () => {
    const pool = inserted([], mapOf({ id: 'U1', priority: 3, states: pause }));
    const empty = mapOf({ id: 'U1', priority: 0, states: {} });
    expect(inserted(pool, empty, { origin: 'server' })).toMatchObject([{ origin: 'server', states: {} }]);
  });

  it(`past ${MAX_MAPS} is refused, unless it takes the place of another or only removes one`, () => {
    let pool: MapPool = [];
    for (let at = 0; at < MAX_MAPS; at++) {
      const id = `00000000-0000-0000-0000-${String(at).padStart(12, '0')}`;
      pool = inserted(pool, { ...mapOf({ id: 'U1', priority: 0, states: pause }), id });
    }
    const facts = { uid: 0, nowWallMs: 0, nowBootMs: START_MS, lifetimeMs: 1000 };
    for (const origin of ['local', 'server'] as const) {
      const more = mapOf({ id: 'U1', priority: 0, states: pause });
      expect(insertMap(pool, more, { ...facts, origin })).toBeNull();
      const again = { ...more, id: pool[5]?.id ?? '' };
      expect(insertMap(pool, again, { ...facts, origin })).toHaveLength(MAX_MAPS);
    }
    const nothing = mapOf({ id: 'U1', priority: 0, states: {} });
    expect(insertMap(pool, nothing, { ...facts, origin: 'local' })).toBe(pool);
  });
});

describe('a pool without change', () => {
  it('stays the same array, so that nobody is woken and nothing is stored', () => {
    const pool = inserted(
      [],
      mapOf({ id: 'U1', priority: 0, states: { ArtifactInstall_Enter: 'fail/-/-' } }),
    );
    expect(expireMaps(pool, START_MS + 59_999)).toBe(pool);
    expect(clearExpired(pool)).toBe(pool);
    expect(deleteMap(pool, idOf('U1'), 1)).toBe(pool);
    expect(deleteMapsOf(pool, idOf('U2'))).toBe(pool);
    const expired = expireMaps(pool, START_MS + 60_000);
    expect(expireMaps(expired, START_MS + 999_999)).toBe(expired);
    expect(nextExpiryBootMs(expired)).toBeNull();
    expect(nextHalfwayBootMs(expired, null)).toBeNull();
  });
});

const anyRule: fc.Arbitrary<MapRule> = fc.record({
  action: fc.constantFrom(...MAP_ACTIONS),
  onMapExpire: fc.constantFrom<MapExpiry>('continue', 'force_continue', 'fail'),
  onActionExecuted: fc.constantFrom(...MAP_ACTIONS),
});
const anyMap: fc.Arbitrary<ControlMap> = fc.record({
  id: fc.uuid(),
  priority: fc.integer({ min: -10, max: 10 }),
  states: fc.dictionary(fc.constantFrom(...MAP_POINTS), anyRule),
});
const anyPool = fc
  .uniqueArray(fc.tuple(anyMap, fc.boolean()), { maxLength: 12, selector: ([{ id }]) => id })
  .map((maps) => maps.map(([map, isExpired]) => ({ map, lifetimeMs: isExpired ? 0 : 1000 })));

function filled(maps: readonly { readonly map: ControlMap; readonly lifetimeMs: number }[]): MapPool {
  const pool = maps.reduce<MapPool>(
    // As the server's: kept even when it says nothing.
    (before, { map, lifetimeMs }) => inserted(before, map, { lifetimeMs, origin: 'server' }),
    [],
  );
  return expireMaps(pool, START_MS);
}

describe('for any maps', () => {
  const seed = seedFromEnvironment();

  it('of different ids the verdict, and what becomes of each, is one in any order of insertion', () => {
    const shuffled = anyPool.chain((maps) =>
      fc.tuple(
        fc.constant(maps),
        fc.shuffledSubarray(maps, { minLength: maps.length, maxLength: maps.length }),
      ),
    );
    fc.assert(
      fc.property(shuffled, fc.constantFrom(...MAP_POINTS), ([maps, others], point) => {
        const results = [maps, others].map((order) => {
          const pool = filled(order);
          const { verdict, asked } = searchByPriority(opinionsOf(pool, point, CLOCK));
          const after = advanceMaps(pool, point, asked.map(mapKey));
          return { verdict, after: [...after].sort((a, b) => (a.id < b.id ? -1 : 1)) };
        });
        expect(results[0]).toEqual(results[1]);
      }),
      { seed, numRuns: 1000 },
    );
  });

  it('of the same id and priority the newer replaces the older, wherever it stood', () => {
    fc.assert(
      fc.property(anyPool, anyMap, fc.nat(), (maps, newer, at) => {
        const place = maps[at % Math.max(1, maps.length)]?.map;
        const { id, priority } = place ?? newer;
        const map = { ...newer, id, priority };
        const pool = inserted(filled(maps), map);
        const same = pool.filter((one) => mapKey(one) === mapKey(map));
        const isKept = Object.keys(map.states).length > 0;
        expect(same.map(({ states, isExpired }) => ({ states, isExpired }))).toEqual(
          isKept ? [{ states: map.states, isExpired: false }] : [],
        );
        expect(pool).toHaveLength(maps.length - (place ? 1 : 0) + (isKept ? 1 : 0));
      }),
      { seed, numRuns: 500 },
    );
  });

  it('an expired one answers with its on_map_expire, an active one with its action', () => {
    fc.assert(
      fc.property(anyPool, fc.constantFrom(...MAP_POINTS), (maps, point) => {
        const wanted = maps.flatMap(({ map, lifetimeMs }) => {
          const rule = map.states[point];
          return rule ? [[map.priority, lifetimeMs === 0 ? rule.onMapExpire : rule.action]] : [];
        });
        const found = opinionsOf(filled(maps), point, CLOCK).map(({ priority, value }) => [priority, value]);
        expect(found).toEqual(wanted);
      }),
      { seed, numRuns: 500 },
    );
  });

  it('nobody below the deciding priority is asked, and everybody at and above it is', () => {
    fc.assert(
      fc.property(anyPool, fc.constantFrom(...MAP_POINTS), (maps, point) => {
        const opinions = opinionsOf(filled(maps), point, CLOCK);
        const { verdict, asked, deciding } = searchByPriority(opinions);
        const level = deciding[0]?.priority ?? -Infinity;
        expect(asked.map(mapKey).sort()).toEqual(
          opinions
            .filter(({ priority }) => priority >= level)
            .map(({ from }) => mapKey(from))
            .sort(),
        );
        const heard = opinions.filter(({ priority }) => priority > level).map(({ value }) => value);
        expect(heard.every((value) => value === 'continue')).toBe(true);
        expect(verdict === 'continue').toBe(deciding.length === 0);
      }),
      { seed, numRuns: 500 },
    );
  });
});
