import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InState } from '../../../src/core/standalone-table.ts';
import { actionOf } from '../../support/chain.ts';
import { partOf } from '../../support/part.ts';
import { makeShelf, withBench, type ArtifactShelf, type Bench } from './support.ts';

/** kill -9 while each call of each flow runs, that is behind every save; then the next command finds its way. */
interface Flow {
  readonly name: string;
  readonly supportsRollback: boolean;
  /** Calls that fail. */
  readonly failing: readonly string[];
  /** Commands that go well before the one that is killed. */
  readonly before: readonly string[];
  readonly killed: 'install' | 'rollback';
  readonly kills: readonly Kill[];
}
interface Kill {
  readonly at: readonly string[];
  readonly record: InState | null;
  /** What `resume` does and comes to. */
  readonly chain: string;
  readonly exitCode: number;
  readonly name: 'unknown' | 'release-2' | 'release-2_INCONSISTENT';
}

const WAY_BACK = 'RB+ RB RB- F+ F F- CL';

const FLOWS: readonly Flow[] = [
  {
    name: 'install without rollback support',
    supportsRollback: false,
    failing: [],
    before: [],
    killed: 'install',
    kills: [
      { at: ['D+', 'PS?', 'D', 'D-'], record: null, chain: '', exitCode: 2, name: 'unknown' },
      {
        at: ['I+', 'I', 'I-'],
        record: 'ArtifactInstall_Enter',
        chain: 'SR? F+ F F- CL',
        exitCode: 1,
        name: 'release-2_INCONSISTENT',
      },
      {
        at: ['NR?', 'SR?'],
        record: 'Before_ArtifactCommit_Enter',
        chain: 'C+ C C- CL',
        exitCode: 0,
        name: 'release-2',
      },
      {
        at: ['C+', 'C'],
        record: 'ArtifactCommit_Enter',
        chain: 'SR? F+ F F- CL',
        exitCode: 1,
        name: 'release-2_INCONSISTENT',
      },
      { at: ['C-'], record: 'ArtifactCommit_Leave', chain: 'C- CL', exitCode: 0, name: 'release-2' },
      { at: ['CL'], record: 'Cleanup', chain: 'CL', exitCode: 0, name: 'release-2' },
    ],
  },
  {
    name: 'install that fails and is rolled back',
    supportsRollback: true,
    failing: ['I'],
    before: [],
    killed: 'install',
    kills: [
      {
        at: ['I!', 'SR?'],
        record: 'ArtifactInstall_Enter',
        chain: `SR? ${WAY_BACK}`,
        exitCode: 1,
        name: 'unknown',
      },
      {
        at: ['RB+', 'RB', 'RB-'],
        record: 'ArtifactRollback_Enter',
        chain: WAY_BACK,
        exitCode: 1,
        name: 'unknown',
      },
      {
        at: ['F+', 'F', 'F-'],
        record: 'ArtifactFailure_Enter',
        chain: 'F+ F F- CL',
        exitCode: 1,
        name: 'unknown',
      },
      { at: ['CL'], record: 'Cleanup', chain: 'CL', exitCode: 1, name: 'unknown' },
    ],
  },
  {
    name: 'install that fails and cannot be rolled back',
    supportsRollback: false,
    failing: ['I'],
    before: [],
    killed: 'install',
    kills: [
      {
        at: ['F', 'F-'],
        record: 'ArtifactFailure_Enter',
        chain: 'F+ F F- CL',
        exitCode: 1,
        name: 'release-2_INCONSISTENT',
      },
      { at: ['CL'], record: 'Cleanup', chain: 'CL', exitCode: 1, name: 'release-2_INCONSISTENT' },
    ],
  },
  {
    name: 'rollback by the user',
    supportsRollback: true,
    failing: [],
    before: ['install'],
    killed: 'rollback',
    kills: [
      {
        at: ['SR?'],
        record: 'Before_ArtifactCommit_Enter',
        chain: 'C+ C C- CL',
        exitCode: 0,
        name: 'release-2',
      },
      { at: ['RB+', 'RB'], record: 'ArtifactRollback_Enter', chain: WAY_BACK, exitCode: 0, name: 'unknown' },
      { at: ['F'], record: 'ArtifactFailure_Enter', chain: 'F+ F F- CL', exitCode: 0, name: 'unknown' },
    ],
  },
];

let shelf: ArtifactShelf;
let artifact: string;
beforeAll(async () => {
  shelf = await makeShelf();
  artifact = await shelf.make();
});
afterAll(() => shelf.dispose());

async function killAt(
  bench: Bench,
  command: 'install' | 'commit' | 'rollback' | 'resume',
  at: string,
): Promise<void> {
  await bench.device.orderKill(actionOf(at));
  const { signal } = command === 'install' ? await bench.install(artifact) : await bench.run([command]);
  expect(signal).toBe('SIGKILL');
}

const CASES = FLOWS.flatMap((flow) =>
  flow.kills.flatMap((kill) => kill.at.map((at) => ({ flow, kill, at }))),
);

describe('a command that is killed', () => {
  for (const { flow, kill, at } of partOf('kills of the command', CASES, 3)) {
    it(`${flow.name}, at ${at}: leaves ${kill.record ?? 'nothing'}, and resume finds its way`, () =>
      withBench({ supportsRollback: flow.supportsRollback }, async (bench) => {
        for (const _ of flow.before) expect((await bench.install(artifact)).status).toBe(0);
        for (const failing of flow.failing) await bench.device.order(actionOf(failing), 'fail');
        await killAt(bench, flow.killed, at);
        expect((await bench.record())?.inState ?? null).toBe(kill.record);
        await bench.chain();

        const resumed = await bench.run(['resume']);
        expect(await bench.chain()).toBe(kill.chain);
        expect(resumed.status).toBe(kill.exitCode);
        expect(await bench.name()).toBe(kill.name);
        expect(await bench.record()).toBeNull();
      }));
  }

  it('can be killed in every step of resume as well', () =>
    withBench({ supportsRollback: true }, async (bench) => {
      await bench.device.order(actionOf('I'), 'fail');
      await killAt(bench, 'install', 'I!');
      for (const at of ['SR?', 'RB+', 'RB', 'RB-', 'F+', 'F', 'F-', 'CL']) await killAt(bench, 'resume', at);
      await bench.chain();
      const resumed = await bench.run(['resume']);
      expect(await bench.chain()).toBe('CL');
      expect(resumed.status).toBe(1);
      expect(await bench.name()).toBe('unknown');
    }));

  it('during the installation: rollback rolls back, and that is a success', () =>
    withBench({}, async (bench) => {
      await killAt(bench, 'install', 'I');
      await bench.chain();
      const result = await bench.run(['rollback']);
      expect(result).toMatchObject({ status: 0, stdout: 'Rolled back.\n', stderr: '' });
      expect(await bench.chain()).toBe(`SR? ${WAY_BACK}`);
    }));

  it('during the commit: commit is allowed, but rolls back, and says so', () =>
    withBench({}, async (bench) => {
      expect((await bench.install(artifact)).status).toBe(0);
      await killAt(bench, 'commit', 'C');
      await bench.chain();
      const result = await bench.run(['commit']);
      expect(result).toMatchObject({ status: 1, stdout: 'Committing failed.\nRolled back.\n' });
      expect(result.stderr).toBe(
        'holdpoint: committing: the update was interrupted in ArtifactCommit_Enter\n',
      );
      expect(await bench.chain()).toBe(`SR? ${WAY_BACK}`);
      expect(await bench.name()).toBe('unknown');
    }));

  it('during the download: the next install begins afresh', () =>
    withBench({}, async (bench) => {
      await killAt(bench, 'install', 'D');
      await bench.chain();
      expect((await bench.install(artifact)).status).toBe(0);
      expect(await bench.chain()).toBe('D+ PS? D D- I+ I I- NR? SR?');
    }));
});
