import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeRecord, encodeRecord } from '../../src/adapters/store/record.ts';
import { documentOf, parseStateDocument } from '../../src/adapters/store/state-document.ts';
import { UpdateError } from '../../src/core/errors.ts';
import { FLOW_STEPS, type FlowStep, type UpdateState } from '../../src/core/state.ts';
import { ASK, makeArtifact } from '../support/device.ts';
import { FlowSimulator } from '../support/flow-simulator.ts';
import { finish, reach } from '../support/flow-steps.ts';
import { ServiceHarness } from '../support/service.ts';
import { storedStates } from '../support/stored-state.ts';

/** Records that are whole JSON with a good checksum, and not what the service writes: design/faults.md R4. */
type Path = readonly (string | number)[];

/** Every member and element at any depth. */
function pathsIn(value: unknown, at: Path = []): readonly Path[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, below]) => {
    const path = [...at, name];
    return [path, ...pathsIn(below, path)];
  });
}

/** A copy in which that place is gone, or is `instead`. */
function changed(value: unknown, path: Path, instead?: unknown): unknown {
  const copy: unknown = structuredClone(value);
  let place = copy as Record<string | number, unknown>;
  for (const name of path.slice(0, -1)) place = place[name] as typeof place;
  const last = path.at(-1) ?? '';
  if (instead !== undefined) place[last] = instead;
  else if (Array.isArray(place)) place.splice(Number(last), 1);
  else delete place[last];
  return copy;
}

/** What a store would start with; null = it is set aside as damaged. Throws what would end the service. */
function loaded(document: unknown): UpdateState | null {
  try {
    return parseStateDocument(document).state;
  } catch (error) {
    if (error instanceof UpdateError && error.kind === 'store') return null;
    throw error;
  }
}

describe('R4: a record that is valid and incomplete', () => {
  it.each(FLOW_STEPS.map((step) => [step]))(
    'of %s is set aside, or a start goes on from it to an end',
    (step: FlowStep) => {
      const whole: unknown = JSON.parse(JSON.stringify(documentOf(reach(step).state)));
      expect(loaded(whole)?.step).toBe(step);
      let refused = 0;
      const wrong: string[] = [];
      for (const path of pathsIn(whole)) {
        for (const [what, instead] of Object.entries({
          missing: undefined,
          null: null,
          text: 'x',
          count: -7,
        })) {
          try {
            const state = loaded(changed(whole, path, instead));
            if (state === null) refused += 1;
            else expect(finish(new FlowSimulator({ store: state }).boot()).state.deployment).toBeNull();
          } catch (error) {
            wrong.push(`${path.join('.')} ${what}: ${String(error)}`);
          }
        }
      }
      expect(wrong).toEqual([]);
      expect(refused).toBeGreaterThan(100);
    },
  );
});

describe.concurrent('R4: the service that finds incomplete records', { timeout: 120_000 }, () => {
  let folder: string;
  let artifact: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdpoint-records-'));
    artifact = await makeArtifact({ folder });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** A service that was killed while it waited, and of whose generations, newest first, so many lack the member. */
  async function withIncomplete(
    member: string,
    count: number,
    use: (service: ServiceHarness) => Promise<void>,
  ): Promise<void> {
    const service = await ServiceHarness.create({ points: { ArtifactInstall_Enter: ASK } });
    try {
      await service.start();
      await service.install(artifact);
      await service.waitAt('ArtifactInstall_Enter');
      await service.kill9();
      const newest = await storedStates(service.device.stateDirectory);
      expect(newest).toHaveLength(2);
      for (const { path } of newest.slice(0, count)) {
        const { generation, value } = decodeRecord(await readFile(path));
        const body = Buffer.from(JSON.stringify(changed(value, ['state', 'deployment', member])));
        await writeFile(path, encodeRecord(generation, body));
      }
      await service.start();
      await use(service);
    } finally {
      await service.dispose();
    }
  }

  it('in the newest goes on from the one before', () =>
    withIncomplete('consents', 1, async (service) => {
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
      expect(await service.log()).toContain('deployment.consents');
    }));

  it('in both starts with nothing, stays up, and installs again', () =>
    withIncomplete('source', 2, async (service) => {
      await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
      expect(service.watch.present()).toMatchObject({ DeploymentId: '', LastResult: 'none' });
      await service.install(artifact);
      await service.release('ArtifactInstall_Enter');
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
    }));
});
