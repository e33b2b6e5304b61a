import { build } from 'esbuild';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_ACTIONS, MAIN_ACTIONS } from '../../../support/control-model/actions.ts';
import { REAL_CORE, Violation, type Core } from '../../../support/control-model/core.ts';
import { explore, wander } from '../../../support/control-model/explore.ts';
import { MODEL_GATES } from '../../../support/control-model/gates.ts';
import type { GateOptions } from '../../../support/control-model/world.ts';
import { randomFrom } from '../../../support/random.ts';

/**
 * A check that cannot fail is none. Each single test of the gate is taken out of a copy of the core in turn, and the
 * model, driving that copy, must find it out.
 */
const CORE = resolve(import.meta.dirname, '../../../../src/core');

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const gate = (name: string, from: string, to: string): Mutant => ({
  name,
  file: 'control/gate.ts',
  from,
  to,
});
const blockers = (name: string, from: string, to: string): Mutant => ({
  name,
  file: 'control/blockers.ts',
  from,
  to,
});

const MUTANTS: readonly Mutant[] = [
  gate('consent does not block', 'consent.blocking && !isOverridden ?', 'false && consent.blocking ?'),
  gate('holds and maps do not block', '...control.blocking,', ''),
  gate('a pause does not block', 'situation.pause ?', 'false && situation.pause ?'),
  gate('updates switched off do not block', '...updateSwitch(situation),', ''),
  gate(
    'conditions do not block',
    '...conditionsInForce(situation, isOverridden).map(conditionBlocking),',
    '...(situation.unmet.length < 0 ? conditionsInForce(situation, isOverridden).map(conditionBlocking) : []),',
  ),
  gate('health does not block', 'health.blocking ?', 'false && health.blocking ?'),
  gate('a snooze does not block', 'situation.snooze && !control.isForced', 'false && situation.snooze'),
  gate(
    'a map not refreshed does not block',
    'situation.failedRefreshes > 0',
    'situation.failedRefreshes > 99',
  ),
  gate(
    'a reboot by hand does not block',
    'situation.rebootByHandUid === null',
    'situation.rebootByHandUid !== -7',
  ),
  gate(
    'a refusal of maps and holds is passed over',
    'if (control.fail)',
    'if (control.fail && askedMaps.length > 99)',
  ),
  gate('an ill version passes', "health.failedChecker !== '' || health.isOverdue", 'health.isOverdue'),
  gate(
    'silent checkers are no refusal',
    "health.failedChecker !== '' || health.isOverdue",
    "health.failedChecker !== ''",
  ),
  gate(
    'silence is never a refusal',
    'if (isRefusedBySilence && !isOverridden)',
    'if (isRefusedBySilence && isOverridden)',
  ),
  gate('there is no ceiling', 'waitedMs < settings.ceilingSeconds * 1000', 'waitedMs < Infinity'),
  gate('the ceiling never refuses', "settings.onCeiling === 'continue'", "settings.onCeiling !== 'never'"),
  gate('a consent is good for every point', 'waiver.point === point', 'waiver.point !== undefined'),
  gate('a hold of another point counts', 'hold.points.includes(point) &&', ''),
  gate('an overdue hold does not refuse', "(hold.isExpired && hold.onExpire === 'fail')", 'false'),
  gate('a hold never refuses', "hold.action === 'fail' ||", ''),
  blockers(
    'a consent for another artifact counts',
    'consent.point === point && consent.digest === digest',
    'consent.point !== undefined',
  ),
  blockers('a consent is not needed', "settings.consent === 'none'", "settings.consent !== 'never'"),
  blockers('silence is a yes at once', 'runsOut && leftMs <= 0 && settings', 'runsOut && settings'),
  blockers(
    'one checker is enough',
    'missing.length === 0',
    'missing.length < settings.checkers.length || missing.length === 0',
  ),
];

/** Mutants that the model cannot tell from the original, and why. */
const EQUIVALENT: Readonly<Record<string, string>> = {
  'a consent for another artifact counts': 'the model has one artifact; gate.test.ts has another',
  'a consent is good for every point': 'the model asks at one point; gate.test.ts has others',
  'one checker is enough': 'the model has one checker; gate.test.ts and test/e2e/health.test.ts have two',
};

/** A ceiling that comes soon, so that the model gets there within a few events. */
const GATES: readonly GateOptions[] = [
  ...MODEL_GATES.map((one) => one.gate),
  {
    point: 'ArtifactReboot_Enter',
    settings: { consent: 'required', onExpire: 'keep-waiting', ceilingSeconds: 1800, onCeiling: 'fail' },
  },
];

const SEED = 20_311;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-mutants-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function mutated(mutant: Mutant, index: number): Promise<Core> {
  const path = join(CORE, mutant.file);
  const source = await readFile(path, 'utf8');
  const parts = source.split(mutant.from);
  if (parts.length !== 2) throw new Error(`${mutant.name}: found ${parts.length - 1} times: ${mutant.from}`);
  const { outputFiles } = await build({
    stdin: {
      contents: [
        `export { decide } from './command.ts';`,
        `export { needsSaving, transition } from './transition.ts';`,
      ].join('\n'),
      resolveDir: CORE,
      loader: 'ts',
    },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    plugins: [
      {
        name: 'mutant',
        setup: ({ onLoad }) => {
          onLoad({ filter: new RegExp(`${mutant.file.replaceAll('.', '\\.')}$`) }, () => ({
            contents: parts.join(mutant.to),
            loader: 'ts',
          }));
        },
      },
    ],
  });
  const file = join(folder, `mutant-${index}.mjs`);
  await writeFile(file, outputFiles[0]?.contents ?? '');
  return (await import(pathToFileURL(file).href)) as Core;
}

let lastViolation = '';

/** Whether the model objects; anything else that is thrown is no verdict. */
function isFoundOut(core: Core): boolean {
  // The same walk for each of them, so that what is found out is found out every time.
  const random = randomFrom(SEED);
  try {
    for (const options of GATES) {
      explore(core, { gate: options, actions: ALL_ACTIONS, depth: 2 });
    }
    for (const options of GATES) {
      explore(core, { gate: options, actions: MAIN_ACTIONS, depth: 4, maxTransitions: 4_000 });
    }
    for (const options of GATES) wander(core, { gate: options, actions: ALL_ACTIONS, runs: 60, random });
    return false;
  } catch (error) {
    if (error instanceof Violation) {
      lastViolation = error.message;
      return true;
    }
    throw error;
  }
}

describe('the model', () => {
  it('has nothing against the core as it is', () => {
    expect(isFoundOut(REAL_CORE) && lastViolation).toBe(false);
  });

  it.each(MUTANTS.map((mutant, index) => ({ ...mutant, index })))(
    'finds out that $name',
    async ({ index, ...mutant }) => {
      const isKilled = isFoundOut(await mutated(mutant, index));
      console.info(
        `${isKilled ? 'killed  ' : 'survived'}  ${mutant.name}${isKilled ? `: ${lastViolation.split('; after')[0]}` : ''}`,
      );
      expect(isKilled).toBe(!(mutant.name in EQUIVALENT));
    },
  );
});
