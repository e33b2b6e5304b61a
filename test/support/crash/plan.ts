/** What the crash matrix goes through: scenarios, the faults that strike a save in them, and how a save is named. */
import { HOLD_POINTS, type HoldPoint } from '../../../src/core/hold-point.ts';
import type { Fault } from '../faulty-files.ts';
import type { RebootAnswer } from '../../../src/ports/update-module.ts';

/** What happens to an update that nothing strikes, by the calls that fail in it. */
export const WAYS = {
  good: [],
  'download-fails': ['D'],
  'install-fails': ['I'],
  'verify-fails': ['VR'],
  'commit-fails': ['C'],
  'after-commit-fails': ['C-'],
  'rollback-fails': ['I', 'RB'],
  'rollback-leave-fails': ['VR', 'RR-'],
} as const satisfies Readonly<Record<string, readonly string[]>>;
export type Way = keyof typeof WAYS;

export interface Scenario {
  readonly way: Way;
  readonly supportsRollback: boolean;
  readonly needsReboot: RebootAnswer;
  /** Where consent is asked for; null = nowhere. */
  readonly gate: HoldPoint | null;
  readonly source: 'server' | 'local';
}

/**
 * cut: the power, and with it what was not synced; kill: the process alone. Struck by the others it lives on: fsync for that one save, however often it is tried;
 * no-space until the deployment is over; read-only until the next boot; stuck-read-only over boots as well.
 */
export const FAULTS = [
  'kill-before',
  'kill-after',
  'cut-before',
  'cut-after',
  'torn',
  'fsync',
  'no-space',
  'read-only',
  'stuck-read-only',
] as const;
export type FaultKind = (typeof FAULTS)[number];

/** The n-th save (from 1) of a state in a step, counted over the whole trial, restarts included. */
export type SaveName = `${string}#${number}`;

export interface Strike {
  readonly save: SaveName;
  readonly fault: FaultKind;
}

/** What a file system that takes nothing refuses; looking, letting go and syncing what is there it does not. */
const WRITING = ['create', 'overwrite', 'write', 'sync', 'rename', 'remove'] as const;

/** What the faults that leave the process to the files do to them. */
export const FAULTS_OF_FILES: Readonly<Partial<Record<FaultKind, Fault>>> = {
  torn: { at: 'write', code: 'CRASH' },
  fsync: { at: 'sync', code: 'EIO' },
  'no-space': { at: 'write', code: 'ENOSPC', tear: 0.5 },
  'read-only': { at: WRITING, code: 'EROFS' },
  'stuck-read-only': { at: WRITING, code: 'EROFS' },
};

const NONE = [null] as const;
const ALL_BOOTS: readonly RebootAnswer[] = ['No', 'Automatic'];

/** Every scenario, in the order of the table. */
export const SCENARIOS: readonly Scenario[] = [
  // Everything crossed where it can make a difference: an update that does not reboot has no gates of a reboot.
  ...[true, false].flatMap((supportsRollback) =>
    (['No', 'Automatic', 'Yes'] as const).flatMap((needsReboot) =>
      [null, ...HOLD_POINTS.filter((point) => isMetByGoodUpdate(point, needsReboot))]
        .filter((gate) => gate === null || needsReboot !== 'Yes')
        .map((gate) => scenario('good', supportsRollback, needsReboot, gate)),
    ),
  ),
  scenario('download-fails', true, 'No', null),
  ...failing('install-fails', [true, false], ALL_BOOTS),
  ...failing('verify-fails', [true, false], ['Automatic', 'Yes']),
  ...failing('commit-fails', [true, false], ALL_BOOTS),
  ...failing('after-commit-fails', [true], ALL_BOOTS),
  ...failing('rollback-fails', [true], ALL_BOOTS),
  ...failing('rollback-leave-fails', [true], ['Automatic']),
  // Ordered on the device: what the server is told does not hold it up.
  ...[true, false].flatMap((supportsRollback) =>
    ALL_BOOTS.map((needsReboot) => local('good', supportsRollback, needsReboot)),
  ),
  local('install-fails', true, 'No'),
];

function local(way: Way, supportsRollback: boolean, needsReboot: RebootAnswer): Scenario {
  return { ...scenario(way, supportsRollback, needsReboot, null), source: 'local' };
}

function failing(
  way: Way,
  rollbacks: readonly boolean[],
  reboots: readonly RebootAnswer[],
): readonly Scenario[] {
  return rollbacks.flatMap((supportsRollback) =>
    reboots.flatMap((needsReboot) => {
      const isGateMet = supportsRollback && needsReboot === 'Automatic' && /^(install|verify)/.test(way);
      const gates = isGateMet ? [null, 'ArtifactRollbackReboot_Enter' as const] : NONE;
      return gates.map((gate) => scenario(way, supportsRollback, needsReboot, gate));
    }),
  );
}

function isMetByGoodUpdate(point: HoldPoint, needsReboot: RebootAnswer): boolean {
  if (point === 'ArtifactRollbackReboot_Enter') return false;
  return point !== 'ArtifactReboot_Enter' || needsReboot !== 'No';
}

function scenario(
  way: Way,
  supportsRollback: boolean,
  needsReboot: RebootAnswer,
  gate: HoldPoint | null,
): Scenario {
  return { way, supportsRollback, needsReboot, gate, source: 'server' };
}

export function titleOf({ way, supportsRollback, needsReboot, gate, source }: Scenario): string {
  const waits = gate === null ? 'waits nowhere' : `waits at ${gate}`;
  const from = source === 'local' ? ', local' : '';
  return `${way}, rollback ${supportsRollback ? 'yes' : 'no'}, reboot ${needsReboot}, ${waits}${from}`;
}
