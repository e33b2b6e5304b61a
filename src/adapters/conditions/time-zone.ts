/**
 * The zone of the device, read anew each time: Node takes it at its start and never looks again, and a device is
 * carried about. Source of the order: tzset(3), localtime(5).
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isTimeZone } from './local-time.ts';

export interface TimeZoneSources {
  /** Value of TZ, if it is set. */
  readonly tz?: string | undefined;
  /** Default /etc/localtime. */
  readonly localtimePath?: string;
  /** Default /etc/timezone; counts only where the former is not a link. */
  readonly timezonePath?: string;
  /** Default /usr/share/zoneinfo. */
  readonly zoneinfoFolder?: string;
}

const UTC = 'UTC';
const MAX_NAME = 100;

/**
 * IANA name of the zone; null = it cannot be told (a copied rule file without a name, a POSIX rule in TZ, a name
 * that our zone data does not have). Nothing set at all is UTC, as for the C library. A few file operations.
 */
export function deviceTimeZone(sources: TimeZoneSources = {}): string | null {
  const name = nameFrom(sources);
  return name !== null && name.length <= MAX_NAME && isTimeZone(name) ? name : null;
}

function nameFrom(sources: TimeZoneSources): string | null {
  const { tz, localtimePath = '/etc/localtime' } = sources;
  if (tz !== undefined) {
    const name = tz.startsWith(':') ? tz.slice(1) : tz;
    if (name === '') return UTC;
    return name.startsWith('/') ? nameInPath(name) : name;
  }
  try {
    return nameInPath(readlinkSync(localtimePath));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return UTC;
    // EINVAL: a file of its own.
    return code === 'EINVAL' ? nameOfCopy(localtimePath, sources) : null;
  }
}

/** `/usr/share/zoneinfo/posix/Europe/Berlin` → `Europe/Berlin`. */
function nameInPath(path: string): string | null {
  return /(?:^|\/)zoneinfo(?:-\w+)?\/(?:posix\/|right\/)?(.+)$/.exec(path)?.[1] ?? null;
}

/** The name beside a copied rule file, believed unless the rules of that name are there and are others. */
function nameOfCopy(localtimePath: string, sources: TimeZoneSources): string | null {
  const { timezonePath = '/etc/timezone', zoneinfoFolder = '/usr/share/zoneinfo' } = sources;
  try {
    const name = readFileSync(timezonePath, 'utf8').trim();
    if (!/^[A-Za-z0-9_+-]+(\/[A-Za-z0-9_+-]+)*$/.test(name)) return null;
    let rules: Buffer;
    try {
      rules = readFileSync(join(zoneinfoFolder, name));
    } catch {
      return name;
    }
    return rules.equals(readFileSync(localtimePath)) ? name : null;
  } catch {
    return null;
  }
}
