/** Defines the tests of one machine: its share of the cases, one after the other, and the table at the end. */
import { appendFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { randomFrom } from '../../support/random.ts';
import { cutCases, PLAIN_CASES, writingCuts, type BootCase } from './cases.ts';
import { FieldDevice } from './field-device.ts';
import { runCase } from './run-case.ts';

const WRITING_CUTS = 6;

/** `index` of `count` machines that run at the same time. */
export function describeMachine(index: number, count: number): void {
  const lab = inject('lab');
  const isSlice = inject('isSlice');
  const all = [...PLAIN_CASES, ...cutCases(), ...writingCuts(WRITING_CUTS, randomFrom(inject('seed')))];
  const chosen = all.filter(({ isInSlice }) => !isSlice || isInSlice === true);
  const mine = chosen.filter((_, at) => at % count === index);

  describe(`machine ${index + 1}`, () => {
    let device: FieldDevice;
    let number = 0;

    beforeAll(async () => {
      device = await FieldDevice.create(lab, `machine-${index + 1}`);
      await device.firstBoot();
    });
    afterAll(() => device?.dispose());

    test.each(mine.map((one): [string, BootCase] => [one.name, one]))(
      'comes to the right end: %s',
      async (name, one) => {
        const report = await runCase(device, one, `update-${index + 1}-${++number}`).catch(
          async (error: unknown) => {
            await appendFile(`${lab.work}/table.txt`, `FAIL ${name}: ${String(error).split('\n')[0]}\n`);
            throw error;
          },
        );
        const { ended, storedStep, complaints, serverStatus, from, to, seconds, why } = report;
        const state = `${ended.result}${ended.failure && ` (${ended.failure})`}`;
        const columns = [
          complaints.length === 0 ? 'ok  ' : 'FAIL',
          name.padEnd(52),
          (storedStep && `stored: ${storedStep}`).padEnd(32),
          state.padEnd(26),
          `server: ${serverStatus}`.padEnd(16),
          `${from.slice(-1)} -> ${to.slice(-1)}`,
          `${String(seconds).padStart(4)} s`,
          why,
        ];
        await appendFile(`${lab.work}/table.txt`, `${columns.join('  ')}\n`);
        expect(complaints, `console: ${device.machine.consoleLog}`).toEqual([]);
      },
    );
  });
}
