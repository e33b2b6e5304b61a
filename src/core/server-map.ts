import { parseServerMap } from './control/control-map.ts';
import { insertMap, type MapPool } from './control/map-pool.ts';
import { parseReleases } from './control/map-release.ts';
import type { Draft } from './draft.ts';

/** The server's control map as it came, in the offer of a deployment or in the answer to a refresh. */
export interface GivenMap {
  /** JSON text, as sent. */
  readonly text: string;
  /** JSON text of the releases announced beside it; absent = none. */
  readonly mapReleasesText?: string;
}

/** `none`: JSON null, which is no map. `refused`: nothing of it is taken. */
export type ServerMapOutcome =
  | { readonly kind: 'pool'; readonly pool: MapPool }
  | { readonly kind: 'none' }
  | { readonly kind: 'refused'; readonly message: string };

/** The pool with the map in it, its lifetime begun anew. Source: spec/update-control.md section 6. */
export function insertServerMap(draft: Draft, deploymentId: string, given: GivenMap): ServerMapOutcome {
  const parsed = parseServerMap(given.text, deploymentId);
  if (parsed.kind === 'null') return { kind: 'none' };
  if (parsed.kind === 'invalid') return { kind: 'refused', message: `${parsed.path}: ${parsed.message}` };
  const releases = parseReleases(given.mapReleasesText ?? null);
  if ('kind' in releases) return { kind: 'refused', message: `${releases.path}: ${releases.message}` };
  const { controlMaps, settings } = draft.state;
  const { at } = draft.event;
  const pool = insertMap(controlMaps, parsed.map, {
    origin: 'server',
    uid: -1,
    nowWallMs: at.wallMs,
    nowBootMs: at.bootMs,
    lifetimeMs: settings.controlMapExpirationSeconds * 1000,
    releases,
  });
  return pool === null
    ? { kind: 'refused', message: 'there are too many control maps' }
    : { kind: 'pool', pool };
}
