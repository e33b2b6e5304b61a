import { FAILURE_NAMES, type Details, type FailureName } from '../../core/errors.ts';
import type { HoldView } from '../../core/control/hold-view.ts';
import { releaseFactsOf } from '../../core/release-facts.ts';
import type { Blocker, HistoryEntry, SetAside } from '../../core/state.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import { REFUSAL_ERROR_NAMES } from './errors.ts';
import type { Inspection } from '../../ports/update-service.ts';
import { variant, type Variant, type VariantMap } from './values.ts';

/** Our plain values in the shapes the XML promises. −1 and '' stay what they are: unknown and none. */

const FAILURE_PREFIX = 'io.holdpoint.Update1.Failure.';

/** '' stays ''. */
export function failureErrorName(name: string): string {
  return (FAILURE_NAMES as readonly string[]).includes(name) ? FAILURE_PREFIX + (name as FailureName) : '';
}

export function detailsMap(details: Details): VariantMap {
  return new Map(Object.entries(details).map(([key, value]) => [key, plainVariant(key, value)]));
}

/** Times are unsigned 64-bit microseconds, uids unsigned 32-bit, other whole numbers signed 64-bit. */
function plainVariant(key: string, value: string | number | boolean): Variant {
  if (typeof value === 'string') return variant('s', value);
  if (typeof value === 'boolean') return variant('b', value);
  if (key.endsWith('-usec')) return variant('t', unsigned(value));
  if (key === 'initiator' || key === 'pid' || key.endsWith('uid')) return variant('u', Math.max(0, value));
  return Number.isInteger(value) ? variant('x', BigInt(value)) : variant('d', value);
}

/** `Blockers`: a(ssssa{sv}). */
export function blockerValue(blocker: Blocker): readonly unknown[] {
  const { id, kind, owner, reasonCode, sinceWallMs, endsWallMs, endsBootMs, onEnd, details } = blocker;
  return [
    id,
    kind,
    owner,
    reasonCode,
    detailsMap({
      ...details,
      'since-usec': sinceWallMs * 1000,
      ...(endsBootMs > 0 && {
        'end-usec': endsWallMs * 1000,
        'end-boot-usec': endsBootMs * 1000,
        'on-end': onEnd,
      }),
    }),
  ];
}

/** `Holds`: a(ssasssussta{sv}). */
export function holdValue(hold: HoldView): readonly unknown[] {
  const { id, lifetime, points, owner, why, uid, action, onExpire, expiresWallMs, details } = hold;
  return [
    id,
    lifetime,
    [...points],
    owner,
    why,
    // The server is no user: what is set by it is seen by its origin.
    Math.max(0, uid),
    action,
    onExpire,
    unsigned(expiresWallMs * 1000),
    detailsMap(details),
  ];
}

export function unsigned(value: number): bigint {
  return BigInt(Math.max(0, Math.round(value)));
}

export function signed(value: number): bigint {
  return BigInt(Math.round(value));
}

export function deploymentMap(facts: Snapshot['deployment']): VariantMap {
  return new Map(
    Object.entries(facts).map(([key, value]) => [
      key,
      typeof value === 'string' || typeof value === 'number'
        ? plainVariant(key, value)
        : variant('as', [...value]),
    ]),
  );
}

export function historyMap(entry: HistoryEntry, isComplete: boolean): Map<string, Variant> {
  const map = new Map<string, Variant>([
    ['deployment-id', variant('s', entry.deploymentId)],
    ['artifact-name', variant('s', entry.artifactName)],
    ['digest', variant('s', entry.digest)],
    ['source', variant('s', entry.source)],
    ['started-usec', variant('t', unsigned(entry.startedWallMs * 1000))],
    ['finished-usec', variant('t', unsigned(entry.finishedWallMs * 1000))],
    ['result', variant('s', entry.result)],
    ['error-name', variant('s', failureErrorName(entry.failure?.name ?? ''))],
    ['error-message', variant('s', entry.failure?.message ?? '')],
  ]);
  if (entry.initiatorUid >= 0) map.set('initiator', variant('u', entry.initiatorUid));
  if (!isComplete) return map;
  map.set('error-details', variant('a{sv}', detailsMap(entry.failure?.details ?? {})));
  map.set(
    'passages',
    variant(
      'aa{sv}',
      entry.passages.map(
        ({ point, reasons, atWallMs }) =>
          new Map([
            ['point', variant('s', point)],
            ['reasons', variant('as', [...reasons])],
            ['at-usec', variant('t', unsigned(atWallMs * 1000))],
          ]),
      ),
    ),
  );
  map.set(
    'consents',
    variant(
      'aa{sv}',
      entry.consents.map(
        ({ point, digest, uid, atWallMs, comment, app }) =>
          new Map([
            ['app', variant('s', app)],
            ['point', variant('s', point)],
            ['digest', variant('s', digest)],
            ['uid', variant('u', uid)],
            ['at-usec', variant('t', unsigned(atWallMs * 1000))],
            ['comment', variant('s', comment)],
          ]),
      ),
    ),
  );
  map.set(
    'decisions',
    variant(
      'aa{sv}',
      entry.decisions.map(
        ({ kind, uid, app, point, seconds, comment, atWallMs }) =>
          new Map([
            ['kind', variant('s', kind)],
            ['uid', variant('u', uid)],
            ['app', variant('s', app)],
            ['point', variant('s', point)],
            ['seconds', variant('x', signed(seconds))],
            ['comment', variant('s', comment)],
            ['at-usec', variant('t', unsigned(atWallMs * 1000))],
          ]),
      ),
    ),
  );
  return map;
}

/** `SetAside`: an entry of aa{sv}. */
export function setAsideMap(entry: SetAside): VariantMap {
  const { deploymentId, artifactName, tries, failure, needsPerson, offersToSkip } = entry;
  return new Map([
    ['deployment-id', variant('s', deploymentId)],
    ['artifact-name', variant('s', artifactName)],
    ['tries', variant('u', tries)],
    ['error-name', variant('s', failureErrorName(failure.name))],
    ['error-message', variant('s', failure.message)],
    ['needs-person', variant('b', needsPerson)],
    ['offers-to-skip', variant('u', needsPerson ? 0 : offersToSkip)],
    ['failed-usec', variant('t', unsigned(entry.failedWallMs * 1000))],
    ['offered-usec', variant('t', unsigned(entry.offeredWallMs * 1000))],
  ]);
}

export function inspectionMap({ info, sizeBytes, problem }: Inspection): VariantMap {
  const map = new Map<string, Variant>([
    ['artifact-name', variant('s', info.artifactName)],
    ['artifact-group', variant('s', info.artifactGroup)],
    ['digest', variant('s', info.digest)],
    ['payload-type', variant('s', info.payloadType ?? '')],
    ['device-types', variant('as', [...info.compatibleDevices])],
    ['signed', variant('b', info.isSigned)],
    ['verified-by', variant('s', info.verifiedBy)],
    ['compatible', variant('b', problem === null)],
  ]);
  if (problem !== null) map.set('problem', variant('s', REFUSAL_ERROR_NAMES[problem]));
  if (sizeBytes >= 0) map.set('size-bytes', variant('x', signed(sizeBytes)));
  const { releaseNotes, severity } = releaseFactsOf(info);
  if (releaseNotes !== '') map.set('release-notes', variant('s', releaseNotes));
  if (severity !== '') map.set('severity', variant('s', severity));
  return map;
}
