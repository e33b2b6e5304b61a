import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InState, StopPoint } from '../../../src/core/standalone-table.ts';
import { actionOf } from '../../support/chain.ts';
import { startCommand } from '../../support/command.ts';
import { eventually } from '../../support/eventually.ts';
import { makeShelf, stopAt, withBench, type ArtifactShelf, type Bench } from './support.ts';

/** --stop-before in every place, and Ctrl-C. */
let shelf: ArtifactShelf;
let artifact: string;
beforeAll(async () => {
  shelf = await makeShelf();
  artifact = await shelf.make();
});
afterAll(() => shelf.dispose());

interface Stop {
  readonly at: StopPoint;
  readonly failing: readonly string[];
  readonly record: InState;
  readonly chain: string;
  readonly exitCode: number;
  readonly stdout: string;
  /** What `resume` to the end does then. */
  readonly rest: string;
  readonly name: 'unknown' | 'release-2';
}

const INSTALLED = 'D+ PS? D D- I+ I I- NR? SR?';
const STOPS: readonly Stop[] = [
  {
    at: 'ArtifactInstall_Enter',
    failing: [],
    record: 'Before_ArtifactInstall_Enter',
    chain: 'D+ PS? D D-',
    exitCode: 0,
    stdout: 'Streamed to storage, but not installed/enabled.\n',
    rest: 'I+ I I- NR? SR? C+ C C- CL',
    name: 'release-2',
  },
  {
    at: 'ArtifactCommit_Enter',
    failing: [],
    record: 'Before_ArtifactCommit_Enter',
    chain: INSTALLED,
    exitCode: 0,
    stdout:
      "Update Module doesn't support rollback. Committing immediately.\nInstalled, but not committed.\n" +
      "Use 'commit' to update, or 'rollback' to roll back the update.\n",
    rest: 'C+ C C- CL',
    name: 'release-2',
  },
  {
    at: 'ArtifactCommit_Leave',
    failing: [],
    record: 'Before_ArtifactCommit_Leave',
    chain: `${INSTALLED} C+ C`,
    exitCode: 0,
    stdout: "Update Module doesn't support rollback. Committing immediately.\nInstalled and committed.\n",
    rest: 'C- CL',
    name: 'release-2',
  },
  {
    at: 'Cleanup',
    failing: [],
    record: 'Cleanup',
    chain: `${INSTALLED} C+ C C-`,
    exitCode: 0,
    stdout: "Update Module doesn't support rollback. Committing immediately.\nInstalled and committed.\n",
    rest: 'CL',
    name: 'release-2',
  },
  {
    at: 'ArtifactRollback_Enter',
    failing: ['I'],
    record: 'ArtifactRollback_Enter',
    chain: 'D+ PS? D D- I+ I I! SR?',
    exitCode: 1,
    stdout: "Installation failed.\nUse 'resume' to finish the rollback.\n",
    rest: 'RB+ RB RB- F+ F F- CL',
    name: 'unknown',
  },
  {
    at: 'ArtifactFailure_Enter',
    failing: ['I'],
    record: 'ArtifactFailure_Enter',
    chain: 'D+ PS? D D- I+ I I! SR? RB+ RB RB-',
    exitCode: 1,
    stdout: "Installation failed.\nRolled back.\nUse 'resume' to finish the failed update.\n",
    rest: 'F+ F F- CL',
    name: 'unknown',
  },
];

/** Without the lines about progress. */
const told = (stdout: string): string =>
  stdout.replaceAll(/^(Installing artifact\.\.\.|.*Streaming.*)\n/gm, '');

describe('--stop-before', () => {
  for (const stop of STOPS) {
    it(`${stop.at}: stops there, stops there again, and resumes to the end`, () =>
      withBench({ supportsRollback: stop.failing.length > 0 }, async (bench) => {
        for (const failing of stop.failing) await bench.device.order(actionOf(failing), 'fail');
        const first = await bench.install(artifact, ...stopAt(stop.at));
        expect(first.status).toBe(stop.exitCode);
        expect(told(first.stdout)).toBe(stop.stdout);
        expect(await bench.chain()).toBe(stop.chain);
        const record = await bench.record();
        expect(record).toMatchObject({ inState: stop.record, hasFailed: false });
        expect(await bench.name()).toBe('unknown');

        const again = await bench.run(['resume', ...stopAt(stop.at)]);
        expect(again.status).toBe(0);
        expect(await bench.chain()).toBe('');
        expect(await bench.record()).toEqual(record);

        const rest = await bench.run(['resume']);
        expect(rest).toMatchObject({ status: 0, stderr: '' });
        expect(await bench.chain()).toBe(stop.rest);
        expect(await bench.name()).toBe(stop.name);
        expect(await bench.record()).toBeNull();
      }));
  }

  it('may be repeated: the first place on the way counts', () =>
    withBench({ supportsRollback: false }, async (bench) => {
      await bench.install(artifact, ...stopAt('Cleanup'), ...stopAt('ArtifactCommit_Leave'));
      expect((await bench.record())?.inState).toBe('Before_ArtifactCommit_Leave');
    }));

  it('works with commit and with rollback', () =>
    withBench({}, async (bench) => {
      await bench.install(artifact);
      expect((await bench.run(['commit', ...stopAt('ArtifactCommit_Leave')])).stdout).toBe('Committed.\n');
      expect((await bench.record())?.inState).toBe('Before_ArtifactCommit_Leave');
      const refused = await bench.run(['commit']);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(
        /^holdpoint: committing: not possible in state Before_ArtifactCommit_Leave\. .*\n$/,
      );
      const back = await bench.run(['rollback', ...stopAt('ArtifactFailure_Enter')]);
      expect(back).toMatchObject({
        status: 0,
        stdout: "Rolled back.\nUse 'resume' to finish the failed update.\n",
      });
      expect((await bench.run(['rollback'])).status).toBe(1);
      expect(await bench.run(['resume'])).toMatchObject({ status: 0, stdout: 'Rolled back.\n' });
      expect(await bench.name()).toBe('unknown');
    }));
});

describe('a record that does not allow a command', () => {
  it.each([
    ['Before_ArtifactInstall_Enter', 'commit'],
    ['ArtifactInstall_Enter', 'commit'],
    ['Before_ArtifactCommit_Leave', 'commit'],
    ['ArtifactCommit_Leave', 'commit'],
    ['ArtifactCommit_Leave', 'rollback'],
    ['ArtifactRollback_Enter', 'commit'],
    ['ArtifactFailure_Enter', 'commit'],
    ['ArtifactFailure_Enter', 'rollback'],
    ['Cleanup', 'commit'],
    ['Cleanup', 'rollback'],
  ] as const)('%s: %s ends with 1, calls nothing and changes nothing', (inState, command) =>
    withBench({}, async (bench) => {
      const record = {
        artifactName: 'release-2',
        artifactGroup: '',
        provides: null,
        clearsProvides: null,
        payloadType: 'probe',
        inState,
        hasFailed: false,
        isRolledBack: false,
        verdict: null,
        rebootAskedIn: '',
      };
      await bench.putRecord(record);
      const result = await bench.run([command]);
      expect(result.status).toBe(1);
      expect(result.stderr).toContain(`not possible in state ${inState}`);
      expect(await bench.chain()).toBe('');
      expect(await bench.record()).toEqual(record);
    }),
  );
});

async function interruptAt(bench: Bench, args: readonly string[], at: string, signal: NodeJS.Signals) {
  const action = actionOf(at);
  await bench.device.order(action, 'hang');
  const before = (await bench.device.calls()).length;
  const running = await startCommand(bench.device, args);
  await eventually(`${action} is called`, async () =>
    (await bench.device.calls())
      .slice(before)
      .some((call) => call === action || call.startsWith(`${action}_0`)),
  );
  running.child.kill(signal);
  const result = await running.ended;
  await bench.device.cancelOrder(action, 'hang');
  return result;
}

describe('Ctrl-C', () => {
  it('during the download clears up and leaves the system as it was', () =>
    withBench({}, async (bench) => {
      const result = await interruptAt(bench, ['install', '--standalone', artifact], 'D', 'SIGINT');
      expect(result.status).toBe(130);
      expect(told(result.stdout)).toBe('Interrupted. System not modified.\n');
      expect(result.stderr).toBe('');
      expect(await bench.chain()).toBe('D+ PS? D D! CL');
      expect(await bench.record()).toBeNull();
    }));

  it('a second time ends what clears up as well', () =>
    withBench({}, async (bench) => {
      await bench.device.order(actionOf('D'), 'hang');
      await bench.device.order(actionOf('D!'), 'hang');
      const running = await startCommand(bench.device, ['install', '--standalone', artifact]);
      const isCalled = (short: string) => async (): Promise<boolean> =>
        (await bench.device.calls()).some(
          (call) => call === actionOf(short) || call.startsWith(`${actionOf(short)}_0`),
        );
      await eventually('the download runs', isCalled('D'));
      running.child.kill('SIGINT');
      await eventually('the error script runs', isCalled('D!'));
      running.child.kill('SIGINT');
      const result = await running.ended;
      expect(result.status).toBe(130);
      expect(told(result.stdout)).toBe("Interrupted in Cleanup.\nUse 'resume' to clean up.\n");
      expect(await bench.run(['resume'])).toMatchObject({ status: 0, stdout: 'Cleaned up.\n' });
      expect(await bench.name()).toBe('unknown');
    }));

  it.each([
    ['I', 'ArtifactInstall_Enter', 'SR? RB+ RB RB- F+ F F- CL'],
    ['I-', 'ArtifactInstall_Enter', 'SR? RB+ RB RB- F+ F F- CL'],
    ['NR?', 'Before_ArtifactCommit_Enter', 'SR? RB+ RB RB- F+ F F- CL'],
  ] as const)('at %s leaves %s, says so, and rollback rolls back', (at, inState, chain) =>
    withBench({}, async (bench) => {
      const result = await interruptAt(bench, ['install', '--standalone', artifact], at, 'SIGINT');
      expect(result.status).toBe(130);
      expect(told(result.stdout)).toMatch(new RegExp(`^Interrupted in ${inState}\\.\n.*'rollback'.*\n$`));
      expect((await bench.record())?.inState).toBe(inState);
      await bench.chain();
      expect(await bench.run(['rollback'])).toMatchObject({ status: 0, stdout: 'Rolled back.\n' });
      expect(await bench.chain()).toBe(chain);
      expect(await bench.name()).toBe('unknown');
    }),
  );

  it('during the commit leaves ArtifactCommit_Enter, and resume rolls back', () =>
    withBench({}, async (bench) => {
      await bench.install(artifact);
      const result = await interruptAt(bench, ['commit'], 'C+', 'SIGTERM');
      expect(result.status).toBe(143);
      expect((await bench.record())?.inState).toBe('ArtifactCommit_Enter');
      expect(await bench.run(['resume'])).toMatchObject({
        status: 1,
        stdout: 'Committing failed.\nRolled back.\n',
      });
    }));

  it('during the clean-up leaves Cleanup, and resume cleans up', () =>
    withBench({ supportsRollback: false }, async (bench) => {
      const result = await interruptAt(bench, ['install', '--standalone', artifact], 'CL', 'SIGINT');
      expect(result.status).toBe(130);
      expect((await bench.record())?.inState).toBe('Cleanup');
      expect(await bench.name()).toBe('unknown');
      expect(await bench.run(['resume'])).toMatchObject({ status: 0, stdout: 'Cleaned up.\n' });
      expect(await bench.name()).toBe('release-2');
    }));
});

describe('a datastore that is full', () => {
  it('is met before the installation has begun: cleaned up, not modified', () =>
    withBench({ datastoreKiB: 512 }, async (bench) => {
      // The record cannot be written once the payload is there and the rest is taken by somebody else.
      await bench.device.order('Download_Leave', 'wait');
      const running = await startCommand(bench.device, ['install', '--standalone', artifact]);
      await eventually('the payload has been stored', async () =>
        (await bench.device.calls()).some((call) => call.startsWith('Download_Leave')),
      );
      await writeFile(join(bench.device.data, 'ballast'), Buffer.alloc(1024 * 1024)).catch(() => {});
      await bench.device.cancelOrder('Download_Leave', 'wait');
      const result = await running.ended;
      expect(result.status).toBe(1);
      expect(told(result.stdout)).toContain('Installation failed.\nSystem not modified.');
      expect(result.stderr).toContain('no space left on device');
      expect(await bench.chain()).toBe('D+ PS? D D- CL');
    }));
});
