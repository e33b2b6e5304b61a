import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { filter, firstValueFrom, takeWhile, timeout } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerStatus } from '../../src/core/effect.ts';
import type { UpdateState } from '../../src/core/state.ts';
import table from '../scenarios/daemon.json' with { type: 'json' };
import { actionOf, ARTIFACT_SCRIPTS, chainOf, ROOTFS_SCRIPTS, shortOf } from '../support/chain.ts';
import { compose, type Composition } from '../support/composition.ts';
import { makeArtifact, makeDevice, type Device } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { FakeServer, type ServerFault } from '../support/fake-server.ts';
import { ServiceHarness } from '../support/service.ts';

/**
 * Every row of the scenario table with everything real but the server: artifacts, store, the module and the scripts
 * as processes. Then a choice of rows, with every kind of kill, through the service as a process of its own.
 */
interface Fault {
  readonly kind: string;
  readonly where: string;
  readonly times?: number;
}
interface Row {
  readonly number: number | string;
  readonly name: string;
  readonly device: { readonly needsReboot: string; readonly supportsRollback: boolean; readonly payload?: string };
  readonly faults: readonly Fault[];
  readonly ourChain: string;
  readonly reports: string;
  readonly outcome: string;
}
const ROWS = [...table.rows, ...table.cRows] as readonly Row[];
const OUTCOMES: Readonly<Record<string, string>> = {
  ok: 'release-2',
  back: 'original',
  bad: 'release-2_INCONSISTENT',
};
const RESULTS: Readonly<Record<string, readonly string[]>> = {
  ok: ['success'],
  back: ['failure', 'rolled-back', 'aborted'],
  bad: ['inconsistent'],
};
const PATIENCE_MS = 30_000;
const DEPLOYMENT = 'deployment-1';

let folder: string;
const artifacts = new Map<string, string>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-scenarios-'));
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
});

afterAll(() => rm(folder, { recursive: true, force: true }));

function artifactPath(name: string): string {
  const path = artifacts.get(name);
  if (path === undefined) throw new Error(`no artifact ${name}`);
  return path;
}

function artifactFor(row: Row): string {
  if (row.device.payload === 'empty') return artifactPath('empty');
  const broken = row.faults.find(({ where }) => where === 'header' || where === 'device-type');
  if (broken === undefined) return artifactPath('good');
  return artifactPath(broken.where === 'header' ? 'torn' : 'other-device');
}

const NOT_ORDERS = ['header', 'device-type', 'authorize', 'script-version'];

function serverFaults(row: Row): readonly ServerFault[] {
  return row.faults.flatMap(({ kind, where, times = 1 }) => {
    const [what, status = '', attempt = ''] = where.split(':');
    if (what !== 'status') return [];
    return [{ kind: kind as ServerFault['kind'], status: status as ServerStatus, attempt: Number(attempt), times }];
  });
}

/** `kill`: the order that makes a killed action stand still or kill. */
async function giveOrders(device: Device, row: Row, kill: 'wait' | 'kill-service'): Promise<void> {
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

function deviceFor(row: Row, more: Parameters<typeof makeDevice>[0] = {}): Parameters<typeof makeDevice>[0] {
  return {
    needsReboot: row.device.needsReboot as 'No' | 'Yes' | 'Automatic',
    supportsRollback: row.device.supportsRollback,
    scripts: ROOTFS_SCRIPTS,
    ...more,
  };
}

function called(device: Device, short: string): Promise<void> {
  return eventually(
    `${short} is called`,
    async () => (await device.calls()).some((call) => shortOf(call) === short),
    PATIENCE_MS,
  );
}

function isOver(state: UpdateState): boolean {
  return state.history.length > 0 && state.deployment === null && state.step === 'idle';
}

/** Asks the server for a deployment whenever the device is idle, as the schedule would, until one has ended. */
function checkWhenIdle({ machine }: Composition): void {
  machine.state$.pipe(takeWhile((state) => state.history.length === 0)).subscribe((state) => {
    if (state.step === 'idle' && state.deployment === null) machine.dispatch({ kind: 'CheckRequested' });
  });
}

interface Ended {
  readonly state: UpdateState;
  readonly server: FakeServer;
  readonly calls: readonly string[];
}

/** Runs the row in this process. A kill drops everything while the action stands still, and begins from the files. */
async function runRow(row: Row, boot: 'same' | 'next'): Promise<Ended> {
  const device = await makeDevice(deviceFor(row));
  const location = { kind: 'file', path: artifactFor(row) } as const;
  const offer = { deploymentId: DEPLOYMENT, artifactName: 'release-2', location };
  const server = new FakeServer(offer, serverFaults(row));
  const authorize = row.faults.find(({ where }) => where === 'authorize');
  server.failingAuthorizations = authorize === undefined ? 0 : (authorize.times ?? 1);
  const hangs = row.faults.some(({ kind }) => kind === 'hang');
  let service: Composition | null = null;
  try {
    await giveOrders(device, row, 'wait');
    const start = (): Promise<Composition> => compose({ device, server, ...(hangs && { moduleTimeoutSeconds: 400 }) });
    service = await start();
    checkWhenIdle(service);
    for (const { where } of row.faults.filter(({ kind }) => kind === 'kill')) {
      await called(device, where);
      service.drop();
      await device.cancelOrder(actionOf(where), 'wait');
      if (boot === 'next') await device.newBoot();
      service = await start();
      checkWhenIdle(service);
    }
    if (row.faults.some(({ where }) => where === 'script-version')) {
      await called(device, 'C+');
      await writeFile(join(device.conf, 'scripts/version'), '999');
      await device.cancelOrder('ArtifactCommit_Enter', 'wait');
    }
    const state = await firstValueFrom(service.machine.state$.pipe(filter(isOver), timeout(PATIENCE_MS)));
    return { state, server, calls: await device.calls() };
  } catch (cause) {
    const calls = chainOf(await device.calls(), true);
    const records = service?.log.records.slice(-8) ?? [];
    const log = records.map(({ sentence, fields }) => `${sentence} ${JSON.stringify(fields)}`).join('\n');
    throw new Error(`row ${row.number} did not end: ${calls}\n${log}`, { cause });
  } finally {
    service?.drop();
    await device.dispose();
  }
}

function expectOutcome(row: Row, { state, server, calls }: Ended): void {
  expect(chainOf(calls, row.ourChain.includes('Idle'))).toBe(row.ourChain);
  expect(server.reports).toBe(row.reports);
  expect(state.installed.artifactName).toBe(OUTCOMES[row.outcome]);
  expect(RESULTS[row.outcome]).toContain(state.history[0]?.result);
  expect(state.history).toHaveLength(1);
  const isFailure = server.accepted.at(-1) === 'failure';
  expect(server.uploadedLogs).toHaveLength(isFailure ? 1 : 0);
}

describe.concurrent('every row of the table, with a server', { timeout: 60_000 }, () => {
  for (const row of ROWS) {
    it(`row ${row.number}: ${row.name}`, async () => expectOutcome(row, await runRow(row, 'same')));
  }
});

describe.concurrent('rows with a kill, when the machine boots again as well', { timeout: 60_000 }, () => {
  for (const row of ROWS.filter(({ faults }) => faults.some(({ kind }) => kind === 'kill'))) {
    it(`row ${row.number}: ${row.name}`, async () => expectOutcome(row, await runRow(row, 'next')));
  }
});

/** Normal, each way to fail, and a kill in every family: in the process that is shipped. */
const REAL_ROWS = [1, 3, 5, 10, 14, 18, 23, 25, 27, 29, 31, 33, 37, 41, 44, 50, 53, 56, 61];

describe.concurrent('rows in the real service, with real kills', { timeout: 60_000 }, () => {
  for (const row of ROWS.filter(({ number }) => REAL_ROWS.includes(Number(number)))) {
    it(`row ${row.number}: ${row.name}`, async () => {
      const service = await ServiceHarness.create(deviceFor(row));
      try {
        await copyFile(artifactPath('bootstrap'), join(service.device.data, 'bootstrap.mender'));
        await giveOrders(service.device, row, 'kill-service');
        await service.start();
        expect(await service.property('CurrentArtifactName')).toBe('original');
        await service.install(artifactFor(row));
        for (const { kind } of row.faults) {
          if (kind !== 'kill') continue;
          expect(await service.exited()).toEqual({ code: null, signal: 'SIGKILL' });
          await service.start();
        }
        const end = await service.waitForEnd();
        expect(chainOf(await service.device.calls())).toBe(row.ourChain);
        expect(end['CurrentArtifactName']).toBe(OUTCOMES[row.outcome]);
        expect(RESULTS[row.outcome]).toContain(end['LastResult']);
      } finally {
        await service.dispose();
      }
    });
  }
});

/** Traces of the real client; they lie beside the project and are not part of it. */
const GOLDEN = resolve('../shared/golden');

describe('the traces of the real client', () => {
  const isThere = existsSync(GOLDEN);
  it('are there on the build machine', () => {
    if (process.env['CI'] === 'true') expect(isThere).toBe(true);
  });

  for (const golden of table.golden) {
    it.skipIf(!isThere)(`agree with what this service does: ${golden.name}`, async () => {
      const lines = (await readFile(join(GOLDEN, golden.trace), 'utf8')).split('\n').filter((line) => line !== '');
      const theirs = chainOf(lines.flatMap(callOf));
      const row = { ...golden, number: golden.name, ourChain: '', reports: '', outcome: '' };
      const { calls } = await runRow(row, 'same');
      expect(theirs.length).toBeGreaterThan(0);
      expect(chainOf(calls)).toBe(theirs);
    });
  }
});

/** The call a line of a trace tells of: a module action or a script, else none. */
function callOf(line: string): readonly string[] {
  const { src, what } = JSON.parse(line) as { readonly src?: string; readonly what?: string };
  if (what === undefined || (src !== 'module' && src !== 'script')) return [];
  return /^(stream|fail) /.test(what) ? [] : [what];
}
