import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { filter, firstValueFrom, takeWhile, timeout } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerStatus } from '../../src/core/effect.ts';
import type { UpdateState } from '../../src/core/state.ts';
import table from '../scenarios/daemon.json' with { type: 'json' };
import { actionOf, chainOf, shortOf } from '../support/chain.ts';
import { compose, type Composition } from '../support/composition.ts';
import { makeDevice, type Device } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { FakeServer, type ServerFault } from '../support/fake-server.ts';
import { partOf } from '../support/part.ts';
import {
  artifactFor,
  deviceFor,
  giveOrders,
  makeRowArtifacts,
  OUTCOMES,
  RESULTS,
  ROWS,
  type Row,
} from './scenario-rows.ts';

/** Every row of the scenario table with everything real but the server, and the traces of the real client. */
const PATIENCE_MS = 30_000;
const DEPLOYMENT = 'deployment-1';

let removeArtifacts: () => Promise<void>;

beforeAll(async () => {
  removeArtifacts = await makeRowArtifacts();
});

afterAll(() => removeArtifacts());

function serverFaults(row: Row): readonly ServerFault[] {
  return row.faults.flatMap(({ kind, where, times = 1 }) => {
    const [what, status = '', attempt = ''] = where.split(':');
    if (what !== 'status') return [];
    return [
      { kind: kind as ServerFault['kind'], status: status as ServerStatus, attempt: Number(attempt), times },
    ];
  });
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
  const offer = { deploymentId: DEPLOYMENT, artifactName: 'release-2', location, controlMapText: null };
  const server = new FakeServer(offer, serverFaults(row));
  const authorize = row.faults.find(({ where }) => where === 'authorize');
  server.failingAuthorizations = authorize === undefined ? 0 : (authorize.times ?? 1);
  const hangs = row.faults.some(({ kind }) => kind === 'hang');
  let service: Composition | null = null;
  try {
    await giveOrders(device, row, 'wait');
    const start = (): Promise<Composition> =>
      compose({ device, server, ...(hangs && { moduleTimeoutSeconds: 400 }) });
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
  const rows = ROWS.filter(({ faults }) => faults.some(({ kind }) => kind === 'kill'));
  for (const row of partOf('rows with a kill, the next boot', rows, 3)) {
    it(`row ${row.number}: ${row.name}`, async () => expectOutcome(row, await runRow(row, 'next')));
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
      const lines = (await readFile(join(GOLDEN, golden.trace), 'utf8'))
        .split('\n')
        .filter((line) => line !== '');
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
