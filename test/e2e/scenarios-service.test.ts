import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chainOf } from '../support/chain.ts';
import { ServiceHarness } from '../support/service.ts';
import {
  artifactFor,
  artifactPath,
  deviceFor,
  giveOrders,
  makeRowArtifacts,
  OUTCOMES,
  RESULTS,
  ROWS,
} from './scenario-rows.ts';

/** A choice of rows of the scenario table, with every kind of kill, in the program that is shipped. */
let removeArtifacts: () => Promise<void>;

beforeAll(async () => {
  removeArtifacts = await makeRowArtifacts();
});

afterAll(() => removeArtifacts());

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
