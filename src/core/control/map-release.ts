/**
 * Releases that a server announces beside its control map: from a moment on, by the device's own trusted clock, the map
 * holds nobody at a point any more, whether or not the server can be reached then. Pure. Source: docs/decisions/0025;
 * the wire form is holdpoint-server(1), RELEASING EVERYBODY. Mender knows nothing of it and passes over the member.
 */
import { quoted } from '../printable.ts';
import { isMapPoint, MAP_POINTS, type InvalidMap, type MapPoint } from './control-map.ts';

export interface MapRelease {
  readonly point: MapPoint;
  /** Wall clock. */
  readonly atWallMs: number;
  /** Whether the map says `force_continue` from then on; else it says nothing. */
  readonly isForced: boolean;
}

/** What a release goes by. */
export interface ReleaseClock {
  readonly wallMs: number;
  /** Why the wall clock is not believed, for example `before-build`; '' = it is. */
  readonly problem: string;
}

/** none: the point is not released. coming: not yet, or the clock is not believed. */
export type ReleaseStanding = 'none' | 'coming' | 'passed';

const MEMBER = 'holdpoint';
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/i;
/** A release has one entry for each point; more are not read. */
const MAX_TEXT = 4096;
const SHOWN_CHARACTERS = 60;

export function releaseOf(releases: readonly MapRelease[] | undefined, point: string): MapRelease | null {
  return releases?.find((release) => release.point === point) ?? null;
}

export function standingOf(release: MapRelease | null, clock: ReleaseClock): ReleaseStanding {
  if (release === null) return 'none';
  return clock.problem === '' && release.atWallMs <= clock.wallMs ? 'passed' : 'coming';
}

/** The member as a server sends it; for {@link parseReleases} to read. */
export function releasesMember(releases: readonly MapRelease[]): {
  readonly releases: readonly {
    readonly point: MapPoint;
    readonly release_at: string;
    readonly force: boolean;
  }[];
} {
  return {
    releases: releases.map(({ point, atWallMs, isForced }) => ({
      point,
      release_at: new Date(atWallMs).toISOString(),
      force: isForced,
    })),
  };
}

/**
 * Reads the text of the member; null = there was none. Members that are not known are passed over, so that a newer server
 * may say more; a release that cannot be understood is an error, for nobody can tell when it would let go. Never throws.
 */
export function parseReleases(text: string | null): readonly MapRelease[] | InvalidMap {
  if (text === null) return [];
  if (text.length > MAX_TEXT)
    return invalid('', `found ${text.length} characters, expected at most ${MAX_TEXT}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return invalid('', 'found no JSON');
  }
  if (!isRecord(value)) return invalid('', 'expected an object');
  const list = value['releases'] ?? [];
  if (!Array.isArray(list)) return invalid('.releases', 'expected a list');
  const releases: MapRelease[] = [];
  for (const [index, one] of (list as readonly unknown[]).entries()) {
    const release = readRelease(one, `.releases[${index}]`);
    if ('kind' in release) return release;
    if (releaseOf(releases, release.point)) {
      return invalid(`.releases[${index}].point`, `found ${release.point} twice`);
    }
    releases.push(release);
  }
  return releases;
}

function readRelease(value: unknown, path: string): MapRelease | InvalidMap {
  if (!isRecord(value)) return invalid(path, 'expected an object');
  const { point, release_at: at, force = false } = value;
  if (typeof point !== 'string' || !isMapPoint(point)) {
    return invalid(`${path}.point`, `found ${shown(point)}, expected one of ${MAP_POINTS.join(', ')}`);
  }
  const atWallMs = typeof at === 'string' && RFC_3339.test(at) ? Date.parse(at) : NaN;
  if (Number.isNaN(atWallMs)) {
    return invalid(`${path}.release_at`, `found ${shown(at)}, expected an RFC 3339 time with its zone`);
  }
  if (typeof force !== 'boolean')
    return invalid(`${path}.force`, `found ${shown(force)}, expected true or false`);
  return { point, atWallMs, isForced: force };
}

function shown(value: unknown): string {
  if (typeof value === 'string') return quoted(value, SHOWN_CHARACTERS);
  return value === undefined ? 'nothing' : `a value of type ${value === null ? 'null' : typeof value}`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(path: string, message: string): InvalidMap {
  return { kind: 'invalid', path: `${MEMBER}${path}`, message };
}
