/**
 * Whether an artifact fits what is installed, and what is installed after it. Pure: the store and the device type
 * are handed in.
 * Source: spec/artifact.md section 9.
 */
import type { ArtifactInfo, Installed, Provides } from './artifact.ts';
import { ArtifactError } from './artifact-error.ts';
import { quoted } from './printable.ts';

const NAME_KEY = 'artifact_name';
const GROUP_KEY = 'artifact_group';
const INCONSISTENT = '_INCONSISTENT';

/**
 * The first reason this artifact may not be installed here, null = it fits.
 *
 * Codes: `unknown-device-type` (`deviceType` is null or empty; an unknown device matches nothing),
 * `wrong-device-type`, `unmet-dependency` (one key; keys are taken in the artifact's order). Values are compared
 * bytewise, an empty list never matches, a key that is not installed is unmet.
 */
export function findMisfit(
  info: ArtifactInfo,
  installed: Installed,
  deviceType: string | null,
): ArtifactError | null {
  if (deviceType === null || deviceType === '') {
    return new ArtifactError('unknown-device-type', {
      where: 'device type of this device',
      found: 'none',
      expected: `one of ${listed(info.compatibleDevices)}`,
    });
  }
  if (!info.compatibleDevices.includes(deviceType)) {
    return new ArtifactError('wrong-device-type', {
      where: `artifact ${quoted(info.artifactName)}`,
      found: `compatible devices ${listed(info.compatibleDevices)}`,
      expected: `this device's type ${quoted(deviceType)} among them`,
    });
  }
  for (const [key, values] of Object.entries(info.depends)) {
    const present = installedValue(installed, key);
    if (present !== null && values.includes(present)) continue;
    return new ArtifactError('unmet-dependency', {
      where: `dependency ${quoted(key)}`,
      found: present === null ? 'nothing installed under that key' : quoted(present),
      expected: values.length === 0 ? 'nothing (an empty list is never met)' : `one of ${listed(values)}`,
    });
  }
  return null;
}

/** Throws what {@link findMisfit} finds; returns when the artifact fits. */
export function checkDepends(info: ArtifactInfo, installed: Installed, deviceType: string | null): void {
  const misfit = findMisfit(info, installed, deviceType);
  if (misfit !== null) throw misfit;
}

/**
 * What is installed once the artifact is committed. Nothing about provides in the artifact erases everything;
 * provides alone replace everything; clears alone erase what matches; both erase, then add. The name is always the
 * artifact's; the group is the artifact's if it has one, and otherwise kept unless cleared.
 */
export function applyProvides(
  installed: Installed,
  info: Pick<ArtifactInfo, 'artifactName' | 'artifactGroup' | 'provides' | 'clearsProvides'>,
): Installed {
  const patterns = info.clearsProvides ?? ['*'];
  const isCleared = (key: string): boolean => patterns.some((pattern) => matchesPattern(pattern, key));
  const kept = Object.entries(installed.provides).filter(([key]) => !isCleared(key));
  const keptGroup = isCleared(GROUP_KEY) ? '' : installed.artifactGroup;
  const provides: Provides = Object.fromEntries([...kept, ...Object.entries(info.provides ?? {})]);
  return {
    artifactName: info.artifactName,
    artifactGroup: info.artifactGroup === '' ? keptGroup : info.artifactGroup,
    provides,
  };
}

/** The name stored when an update failed and could not be rolled back: the suffix once, however often applied. */
export function inconsistentName(name: string): string {
  return name.endsWith(INCONSISTENT) ? name : `${name}${INCONSISTENT}`;
}

/**
 * `*` stands for any run of characters, also none; everything else for itself; the whole key must match. The empty
 * pattern matches the empty key only. Time is bounded by the product of the lengths.
 */
export function matchesPattern(pattern: string, key: string): boolean {
  let p = 0;
  let k = 0;
  let star = -1;
  let starKey = 0;
  while (k < key.length) {
    // The star is looked at first: a key may itself contain one, and must not use up the pattern's.
    if (pattern[p] === '*') {
      star = p++;
      starKey = k;
    } else if (p < pattern.length && pattern[p] === key[k]) {
      p++;
      k++;
    } else if (star >= 0) {
      // The last star takes one character more; earlier stars never need to be looked at again.
      p = star + 1;
      k = ++starKey;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** null = not installed. Own keys only: `constructor` is not something a device provides. */
function installedValue(installed: Installed, key: string): string | null {
  if (key === NAME_KEY) return installed.artifactName === '' ? null : installed.artifactName;
  if (key === GROUP_KEY) return installed.artifactGroup === '' ? null : installed.artifactGroup;
  return Object.hasOwn(installed.provides, key) ? (installed.provides[key] ?? null) : null;
}

const MAX_LISTED = 10;

function listed(values: readonly string[]): string {
  const shown = values.slice(0, MAX_LISTED).map((value) => quoted(value));
  if (values.length > MAX_LISTED) shown.push(`and ${values.length - MAX_LISTED} more`);
  return shown.length === 0 ? 'nothing' : shown.join(', ');
}
