import { copyFile, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import table from '../scenarios/daemon.json' with { type: 'json' };
import { actionOf, ARTIFACT_SCRIPTS, ROOTFS_SCRIPTS } from '../support/chain.ts';
import { makeArtifact, makeDevice, type Device } from '../support/device.ts';

/** The rows of the scenario table as artifacts, devices and orders for the probe module and the probe scripts. */
interface Fault {
  readonly kind: string;
  readonly where: string;
  readonly times?: number;
}
export interface Row {
  readonly number: number | string;
  readonly name: string;
  readonly device: {
    readonly needsReboot: string;
    readonly supportsRollback: boolean;
    readonly payload?: string;
  };
  readonly faults: readonly Fault[];
  readonly ourChain: string;
  readonly reports: string;
  readonly outcome: string;
}
export const ROWS = [...table.rows, ...table.cRows] as readonly Row[];
export const OUTCOMES: Readonly<Record<string, string>> = {
  ok: 'release-2',
  back: 'original',
  bad: 'release-2_INCONSISTENT',
};
export const RESULTS: Readonly<Record<string, readonly string[]>> = {
  ok: ['success'],
  back: ['failure', 'rolled-back', 'aborted'],
  bad: ['inconsistent'],
};

const artifacts = new Map<string, string>();

/** Makes the artifacts of all rows; call before anything else. Resolves with what removes them. */
export async function makeRowArtifacts(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-scenarios-'));
  const make = (name: string, options: Parameters<typeof makeArtifact>[1]): Promise<unknown> =>
    makeArtifact({ folder }, options).then((path) => artifacts.set(name, path));
  await make('good', { scripts: ARTIFACT_SCRIPTS });
  await make('other-device', { scripts: ARTIFACT_SCRIPTS, deviceType: 'other-device' });
  await make('empty', { isEmpty: true });
  await make('bootstrap', { isEmpty: true, name: 'original' });
  const torn = join(folder, 'torn.mender');
  await copyFile(artifactPath('good'), torn);
  const file = await open(torn, 'r+');
  await file.truncate(3000);
  await file.close();
  artifacts.set('torn', torn);
  return () => rm(folder, { recursive: true, force: true });
}

export function artifactPath(name: string): string {
  const path = artifacts.get(name);
  if (path === undefined) throw new Error(`no artifact ${name}`);
  return path;
}

export function artifactFor(row: Row): string {
  if (row.device.payload === 'empty') return artifactPath('empty');
  const broken = row.faults.find(({ where }) => where === 'header' || where === 'device-type');
  if (broken === undefined) return artifactPath('good');
  return artifactPath(broken.where === 'header' ? 'torn' : 'other-device');
}

const NOT_ORDERS = ['header', 'device-type', 'authorize', 'script-version'];

/** `kill`: the order that makes a killed action stand still or kill. */
export async function giveOrders(device: Device, row: Row, kill: 'wait' | 'kill-service'): Promise<void> {
  for (const { kind, where } of row.faults) {
    if (where === 'script-version') await device.order('ArtifactCommit_Enter', 'wait');
    if (where.startsWith('status:') || NOT_ORDERS.includes(where)) continue;
    const action = actionOf(where);
    if (kind === 'error') await device.order(action, 'fail-once');
    else if (kind === 'hang') await device.order(action, 'hang');
    else if (kind === 'kill') await device.order(action, kill, device.pidFile);
    else throw new Error(`row ${row.number}: unknown fault ${kind}`);
  }
}

export function deviceFor(
  row: Row,
  more: Parameters<typeof makeDevice>[0] = {},
): Parameters<typeof makeDevice>[0] {
  return {
    needsReboot: row.device.needsReboot as 'No' | 'Yes' | 'Automatic',
    supportsRollback: row.device.supportsRollback,
    scripts: ROOTFS_SCRIPTS,
    ...more,
  };
}
