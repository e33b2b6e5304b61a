import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RECORD_FLOW, STOP_POINTS, type InState } from '../../../src/core/standalone-table.ts';
import { actionOf } from '../../support/chain.ts';
import { readScenarios } from '../../support/scenario-rules.ts';
import { makeShelf, withBench, type ArtifactShelf, type Bench } from './support.ts';

/** The rows of spec/update-flow.md section 9 as data, each run with the real command, artifacts and module. */
interface Fault {
  readonly kind: string;
  readonly where: string;
}
interface Row {
  readonly number: string;
  readonly name: string;
  readonly commands: readonly ('install' | 'commit' | 'rollback')[];
  readonly device: { readonly supportsRollback: boolean; readonly needsReboot: 'No' };
  readonly faults: readonly Fault[];
  readonly ourChain: string;
  readonly exitCodes: readonly number[];
  readonly artifactName: 'old' | 'new' | 'inconsistent';
  readonly record: InState | null;
  readonly alsoFor?: readonly string[];
}
interface CRule {
  readonly rule: string;
  readonly command?: 'install' | 'commit' | 'rollback' | 'resume';
  readonly commands?: readonly string[];
  readonly device?: { readonly supportsRollback?: boolean; readonly needsReboot?: 'Yes' };
  readonly options?: readonly string[];
  readonly faults?: readonly Fault[];
  readonly record?: InState | null;
  readonly ourChain: string;
  readonly exitCode: number;
  readonly message?: string;
  readonly recordAfter?: InState | null;
}
interface Scenarios {
  readonly stopBefore: readonly string[];
  readonly records: readonly {
    readonly inState: InState;
    readonly mayCommit: boolean;
    readonly mayRollback: boolean;
  }[];
  readonly rows: readonly Row[];
  readonly cRules: readonly CRule[];
}

const scenarios = readScenarios<Scenarios>('standalone.json');
const NAMES = { old: 'release-1', new: 'release-2', inconsistent: 'release-2_INCONSISTENT' } as const;

let shelf: ArtifactShelf;
let before: string;
let artifact: string;
let misfit: string;

beforeAll(async () => {
  shelf = await makeShelf();
  before = await shelf.make({ name: 'release-1', isEmpty: true, scripts: [] });
  artifact = await shelf.make();
  misfit = await shelf.make({ name: 'release-3', more: ['--depends', 'board:other'] });
});
afterAll(() => shelf.dispose());

async function begin(bench: Bench): Promise<void> {
  const first = await bench.install(before);
  expect(first).toMatchObject({ status: 0, stdout: expect.stringContaining('Installed and committed.') });
  expect(await bench.chain()).toBe('');
}

async function spoil(bench: Bench, faults: readonly Fault[]): Promise<void> {
  for (const { kind, where } of faults) {
    await bench.device.order(actionOf(where), kind === 'hang' ? 'hang' : 'fail');
  }
}

async function runRow(bench: Bench, row: Row, faults: readonly Fault[]): Promise<void> {
  await begin(bench);
  await spoil(bench, faults);
  const exits: (number | null)[] = [];
  for (const command of row.commands) {
    const { status } = command === 'install' ? await bench.install(artifact) : await bench.run([command]);
    exits.push(status);
  }
  expect(await bench.chain()).toBe(row.ourChain);
  expect(exits).toEqual(row.exitCodes);
  expect(await bench.name()).toBe(NAMES[row.artifactName]);
  expect((await bench.record())?.inState ?? null).toBe(row.record);
}

describe('the rows S1 to S15', () => {
  for (const row of scenarios.rows) {
    it(`${row.number}: ${row.name}`, () => withBench(row.device, (bench) => runRow(bench, row, row.faults)));
    for (const where of row.alsoFor ?? []) {
      it(`${row.number}: ${row.name}, here ${where}`, () =>
        withBench(row.device, (bench) => runRow(bench, row, [{ kind: 'error', where }])));
    }
  }

  it('S6: a Download that hangs is ended by the time limit', () => {
    const row = scenarios.rows.find(({ number }) => number === 'S6') as Row;
    return withBench({ ...row.device, menderConf: { ModuleTimeoutSeconds: 1 } }, (bench) =>
      runRow(bench, row, [{ kind: 'hang', where: 'D' }]),
    );
  });
});

describe('what Mender 5.1 says beyond the rows', () => {
  for (const rule of scenarios.cRules) {
    for (const command of rule.commands ?? [rule.command ?? '']) {
      it(`${command}: ${rule.rule}`, () =>
        withBench({ needsReboot: rule.device?.needsReboot ?? 'No' }, async (bench) => {
          await begin(bench);
          if (rule.record != null) {
            const stop =
              rule.record === 'Before_ArtifactInstall_Enter'
                ? ['--stop-before', 'ArtifactInstall_Enter']
                : [];
            expect((await bench.install(artifact, ...stop)).status).toBe(0);
            expect((await bench.record())?.inState).toBe(rule.record);
            await bench.chain();
          }
          if (rule.device?.supportsRollback === false)
            await bench.device.order('SupportsRollback', 'answer', 'No');
          const isMisfit = rule.faults?.some(({ where }) => where === 'depends') === true;
          await spoil(bench, isMisfit ? [] : (rule.faults ?? []));
          const options = rule.options ?? [];
          const result =
            command === 'install'
              ? await bench.install(isMisfit ? misfit : artifact, ...options)
              : await bench.run([command, ...options]);
          expect(result.status).toBe(rule.exitCode);
          expect(await bench.chain()).toBe(rule.ourChain);
          expect((await bench.record())?.inState ?? null).toBe(rule.recordAfter ?? null);
          expect(result.stdout).toContain(rule.message ?? '');
        }));
    }
  }
});

describe('a commit of what asked for a reboot', () => {
  it.each([
    ['in the same boot', false, 4],
    ['after the reboot', true, 0],
  ])('%s', (_, hasRebooted, exitCode) =>
    withBench({ needsReboot: 'Yes' }, async (bench) => {
      expect((await bench.install(artifact)).status).toBe(0);
      const record = await bench.record();
      expect(record?.rebootAskedIn).toMatch(/^[0-9a-f-]{36}$/);
      if (hasRebooted) {
        await bench.putRecord({ ...record!, rebootAskedIn: '00000000-0000-4000-8000-000000000000' });
      }
      const { status, stdout } = await bench.run(['commit']);
      expect(status).toBe(exitCode);
      expect(stdout.includes('requested a reboot')).toBe(!hasRebooted);
      expect(await bench.name()).toBe('release-2');
    }),
  );
});

describe('the tables', () => {
  it('know the stop points and what each record allows as the specification has them', () => {
    expect([...STOP_POINTS]).toEqual(scenarios.stopBefore);
    const ours = Object.entries(RECORD_FLOW).map(([inState, { mayCommit, mayRollback }]) => ({
      inState,
      mayCommit,
      mayRollback,
    }));
    expect(ours).toEqual(
      scenarios.records.map(({ inState, mayCommit, mayRollback }) => ({ inState, mayCommit, mayRollback })),
    );
  });
});
