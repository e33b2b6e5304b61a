import type { Details } from '../errors.ts';
import type { HoldPoint } from '../hold-point.ts';
import type { MapPool } from './map-pool.ts';
import { mapKey } from './map-pool.ts';
import { releasesMember } from './map-release.ts';
import { remainingMs, type Hold, type HoldContext } from './hold.ts';
import type { Now } from './blockers.ts';

/** One line of the list of everything that may make an update wait on somebody's behalf: `Holds` on the bus. */
export interface HoldView {
  readonly id: string;
  readonly lifetime: 'bound' | 'timed' | 'map';
  readonly points: readonly HoldPoint[];
  readonly owner: string;
  readonly why: string;
  /** −1 = the server. */
  readonly uid: number;
  /** Open set: pause, fail; of a map also continue, force_continue, mixed. */
  readonly action: string;
  readonly onExpire: string;
  /** Wall clock; 0 = bound, or its time does not run at present. */
  readonly expiresWallMs: number;
  readonly details: Details;
}

export function holdViews(
  holds: readonly Hold[],
  maps: MapPool,
  context: HoldContext,
  now: Now,
): readonly HoldView[] {
  // To the second, so that the list does not change with every look at the clocks.
  const offsetMs = Math.round((now.wallMs - now.bootMs) / 1000) * 1000;
  return [
    ...holds.map((hold): HoldView => {
      const leftMs = remainingMs(hold, context, now.bootMs);
      return {
        id: hold.id,
        lifetime: hold.lifetime,
        points: hold.points,
        owner: hold.owner,
        why: hold.why,
        uid: hold.uid,
        action: hold.action,
        onExpire: hold.onExpire,
        expiresWallMs: leftMs === null ? 0 : hold.asOfBootMs + (hold.remainingMs ?? 0) + offsetMs,
        details: {
          'since-usec': hold.sinceWallMs * 1000,
          priority: hold.priority,
          ...(hold.pid >= 0 && { pid: hold.pid }),
          ...(hold.appId !== '' && { 'app-id': hold.appId }),
          ...(hold.countdown !== 'none' && { countdown: hold.countdown }),
          ...(hold.remainingMs !== null &&
            leftMs === null && { 'remaining-seconds': Math.ceil(hold.remainingMs / 1000) }),
          ...(hold.isExpired && { expired: true }),
          ...(hold.isOnce && { once: true }),
          ...(hold.deploymentId !== '' && { 'deployment-id': hold.deploymentId }),
        },
      };
    }),
    ...maps.map((map): HoldView => {
      const rules = Object.values(map.states);
      return {
        id: `map:${mapKey(map)}`,
        lifetime: 'map',
        points: Object.keys(map.states) as HoldPoint[],
        owner: map.origin === 'server' ? 'server' : `uid:${map.uid}`,
        why: '',
        uid: map.uid,
        action: oneOrMixed(rules.map(({ action }) => action)),
        onExpire: oneOrMixed(rules.map(({ onMapExpire }) => onMapExpire)),
        expiresWallMs: map.isExpired ? 0 : map.expiresBootMs + offsetMs,
        details: {
          'since-usec': map.setWallMs * 1000,
          priority: map.priority,
          'map-id': map.id,
          origin: map.origin,
          states: JSON.stringify(map.states),
          ...(map.releases && { releases: JSON.stringify(releasesMember(map.releases).releases) }),
          ...(map.isExpired && { expired: true }),
        },
      };
    }),
  ];
}

function oneOrMixed(values: readonly string[]): string {
  const [first = 'continue'] = values;
  return values.every((value) => value === first) ? first : 'mixed';
}
