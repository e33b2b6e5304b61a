/**
 * What may come of a crash, by the rule that allows it, and the checked-in table of what does
 * (test/scenarios/crash-outcomes.txt). A cell of the table is the end of the deployment, and behind `>` what another
 * start with a working store makes of it, where that differs.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { FAULTS, type FaultKind, type SaveName, type Scenario, type Strike } from './plan.ts';
import { NEW_NAME } from './trial-artifact.ts';
import { ORIGINAL, Trial, type Ending, type TrialResult } from './trial.ts';

export const TABLE_PATH = resolve('test/scenarios/crash-outcomes.txt');

const LETTERS: Readonly<Record<string, string>> = {
  success: 'S',
  'rolled-back': 'R',
  failure: 'F',
  inconsistent: 'I',
  aborted: 'A',
  none: 'N',
  'held-back': 'H',
};
const CAUSES: Readonly<Record<string, string>> = {
  '': '',
  PowerLoss: 'p',
  Storage: 's',
  NoSpace: 's',
  HoldExpired: 'h',
  AbortedByServer: 'g',
  Reboot: 'b',
  RollbackFailed: 'r',
  Commit: 'c',
};

/** `S`, `Rp`, …; a `!` where what the service says is not what runs. */
export function codeOf(ending: Ending, own: Ending): string {
  const letter = LETTERS[ending.result] ?? '?';
  const isOwn = ending.failure === own.failure && ending.failure !== '';
  const cause = isOwn ? 'w' : (CAUSES[ending.failure] ?? `(${ending.failure})`);
  return `${letter}${cause}${isTrue(ending) ? '' : '!'}`;
}

/** A name without suffix is a promise of what runs. */
function isTrue({ result, installedName, running }: Ending): boolean {
  if (result === 'inconsistent') return installedName === `${NEW_NAME}_INCONSISTENT`;
  if (result === 'success' || result === 'held-back') return installedName === NEW_NAME && running === 'new';
  return installedName === ORIGINAL.artifactName && running === 'old';
}

function cellOf(result: TrialResult, own: Ending): string {
  const [first, final] = result.endings.map((ending) => codeOf(ending, own));
  return first === final ? String(first) : `${first}>${final}`;
}

interface Rule {
  readonly codes: readonly string[];
  readonly why: string;
  readonly holds: (scenario: Scenario, fault: FaultKind, isFinal: boolean) => boolean;
}

const ends = (fault: FaultKind): boolean => /^(kill|cut|torn)/.test(fault);

/** Everything that is allowed. What no rule has a code for, or whose rule does not hold, fails the matrix. */
export const RULES: readonly Rule[] = [
  {
    codes: ['S'],
    why: 'the update has succeeded: what was ended is safe to do again or to go on from (update-flow.md 6.3, reboot to cleanup)',
    holds: ({ way }) => way === 'good',
  },
  {
    codes: ['Fw', 'Rw', 'Iw'],
    why: "the way's own end, as without a fault",
    holds: ({ way }) => way !== 'good',
  },
  {
    codes: ['Fp'],
    why: 'ended in the download: clean-up, nothing has been installed (update-flow.md 6.3, update-store)',
    holds: (_scenario, fault, isFinal) => ends(fault) || isFinal,
  },
  {
    codes: ['Rp'],
    why: 'ended between install and commit: rolled back (update-flow.md 6.3, update-install, after-reboot, update-commit)',
    // What lives on is ended by the reboot of its own way back, if it comes to one.
    holds: ({ supportsRollback, needsReboot }, fault, isFinal) =>
      supportsRollback && (ends(fault) || isFinal || needsReboot !== 'No'),
  },
  {
    codes: ['Ip'],
    why: 'the same where there is no way back, or it fails (update-flow.md 6.5)',
    holds: ({ supportsRollback, needsReboot, way }, fault, isFinal) =>
      (!supportsRollback || way.startsWith('rollback')) && (ends(fault) || isFinal || needsReboot !== 'No'),
  },
  {
    codes: ['Rb', 'Ib'],
    why: 'ended before the reboot was made: the verification finds the old version (update-flow.md 6.3, reboot: VerifyReboot)',
    holds: ({ needsReboot }, fault) => needsReboot !== 'No' && fault !== 'fsync',
  },
  {
    codes: ['Fs', 'Rs'],
    why: 'could not be stored, so it was not gone on with (faults.md R5, R6; style.md 4 "a failed save")',
    holds: (_scenario, fault) => !ends(fault),
  },
  {
    codes: ['Is'],
    why: 'the same where there is no way back, or it fails (update-flow.md 6.5)',
    holds: ({ supportsRollback, way }, fault) =>
      !ends(fault) && (!supportsRollback || way.startsWith('rollback') || fault === 'stuck-read-only'),
  },
  {
    codes: ['Fh', 'Rh', 'Ih'],
    why: 'a yes that cannot be stored is refused, and the wait runs into its ceiling (compatibility.md "Consent", "Ends of waits")',
    holds: ({ gate }, fault) => gate !== null && !ends(fault),
  },
  {
    codes: ['Ag', 'Ig'],
    why: 'the end was told but not stored: the next start goes on from before, and the server says that it is over (compatibility.md 409)',
    holds: (_scenario, fault, isFinal) => isFinal && !ends(fault),
  },
  {
    codes: ['Ir'],
    why: 'a start that could not be stored reboots no more: this boot does not reach the old version (docs/decisions/0040)',
    holds: ({ supportsRollback, needsReboot }, fault, isFinal) =>
      supportsRollback && needsReboot !== 'No' && !ends(fault) && !isFinal,
  },
  {
    codes: ['H'],
    why: 'committed, which cannot be stored: the success is not told until it can (docs/decisions/0040)',
    holds: ({ way }, fault, isFinal) => way === 'good' && !ends(fault) && !isFinal,
  },
  {
    codes: ['N'],
    why: 'nothing of it was ever stored: not begun, or forgotten once the server knows the end (update-flow.md 6.3, none)',
    // What was ordered on the device and answered with yes is stored: Trial.
    holds: ({ source }, fault) => !ends(fault) || source === 'local',
  },
  {
    codes: ['Rc'],
    why: 'a way back that was not stored: the next start commits from before it, no server says that it is over, the module refuses',
    holds: ({ source, supportsRollback }, fault, isFinal) =>
      source === 'local' && supportsRollback && isFinal && !ends(fault),
  },
];

function isAllowed(code: string, scenario: Scenario, fault: FaultKind, isFinal: boolean): boolean {
  return RULES.some(({ codes, holds }) => codes.includes(code) && holds(scenario, fault, isFinal));
}

/** Cells of the table that no rule allows. */
export function forbiddenCells(table: Table, scenarios: ReadonlyMap<string, Scenario>): readonly string[] {
  return [...table].flatMap(([title, { rows }]) =>
    [...rows].flatMap(([save, row]) =>
      [...row].flatMap(([fault, cell]) => {
        const scenario = scenarios.get(title);
        const [first = '', final = first] = cell.split('>');
        const isGood =
          scenario !== undefined &&
          isAllowed(first, scenario, fault, false) &&
          isAllowed(final, scenario, fault, true);
        return isGood ? [] : [`${title}: ${save} ${fault}: ${cell}`];
      }),
    ),
  );
}

/** A trial that came to no end at all is told apart from one that did. */
export async function runCase(
  scenario: Scenario,
  strike: Strike,
  own: Ending,
  seed: number,
): Promise<{ readonly cell: string; readonly objections: readonly string[] }> {
  try {
    const result = await Trial.run(scenario, strike, seed);
    const story = ` (${JSON.stringify(result.endings)} ${result.calls.join(' ')})`;
    const objections = objectionsTo(scenario, strike.fault, result, own).map((why) => why + story);
    return { cell: cellOf(result, own), objections };
  } catch (error) {
    return { cell: 'X', objections: [error instanceof Error ? error.message : String(error)] };
  }
}

/** What is not as any rule allows; empty = all is well. */
function objectionsTo(
  scenario: Scenario,
  fault: FaultKind,
  result: TrialResult,
  own: Ending,
): readonly string[] {
  const objections = [...result.complaints];
  if (!result.isStruck) objections.push('the fault was never met');
  for (const [index, ending] of result.endings.entries()) {
    const code = codeOf(ending, own);
    if (!isAllowed(code, scenario, fault, index === 1))
      objections.push(`no rule allows ${code} ${index === 0 ? 'at the end' : 'after the next start'}`);
  }
  const [first, final] = result.endings;
  if (first.result === 'success' && final.result !== 'success')
    objections.push(`the device said success, and says ${final.result} after the next start`);
  if (result.told.length > 1) objections.push(`the server was told ${result.told.join(' and ')}`);
  if (result.told.includes('success') && final.result !== 'success')
    objections.push(`the server was told of a success, and the device says ${final.result}`);
  if (final.result === 'success' && scenario.source === 'server' && !result.told.includes('success'))
    objections.push('the server was not told of the success');
  if (result.historyLength > 1) objections.push(`the history has it ${result.historyLength} times`);
  return objections;
}

export type Row = ReadonlyMap<FaultKind, string>;
export interface TableBlock {
  readonly own: string;
  readonly rows: ReadonlyMap<SaveName, Row>;
}
export type Table = ReadonlyMap<string, TableBlock>;

const WIDTHS = FAULTS.map((fault) => Math.max(fault.length, 7) + 1);

export function textOf(table: Table): string {
  const legend = RULES.map(({ codes, why }) => `#   ${codes.join(' ')}: ${why}`);
  const head = [
    '# What comes of a fault in each save of each update. Generated: UPDATE_CRASH_OUTCOMES=1 npm run test:matrix -- crash-outcomes',
    '# A row is the save of a state in a step (n-th since the beginning), a column what struck it: test/support/crash/plan.ts.',
    '# A cell is the end of the deployment; behind > what another start, with a store that works, makes of it, where it differs.',
    '# Letters: S success, R rolled back, F failed with nothing changed, I inconsistent, A aborted, N not begun or not known, H held back.',
    '# Behind them why: p PowerLoss, s Storage or NoSpace, b Reboot, r RollbackFailed, c Commit, h HoldExpired, g ended by the server, w as without a fault.',
    '# Allowed, and by which rule:',
    ...legend,
  ];
  const blocks = [...table].map(([title, { own, rows }]) => {
    const lines = [...rows].map(([save, row]) =>
      line(
        save,
        FAULTS.map((fault) => row.get(fault) ?? '?'),
      ),
    );
    return [`${title}: ${own}`, line('save', FAULTS), ...lines].join('\n');
  });
  return `${[head.join('\n'), ...blocks].join('\n\n')}\n`;
}

function line(first: string, cells: readonly string[]): string {
  return `  ${first.padEnd(28)}${cells.map((cell, index) => cell.padEnd(WIDTHS[index] ?? 8)).join('')}`.trimEnd();
}

export function readTable(): Table {
  const blocks = readFileSync(TABLE_PATH, 'utf8')
    .split('\n\n')
    .filter((block) => !block.startsWith('#'));
  return new Map(
    blocks.map((block) => {
      const [title = '', , ...lines] = block.trimEnd().split('\n');
      const [name = '', own = ''] = title.split(': ');
      const rows = lines.map((text): [SaveName, Row] => {
        const [save, ...cells] = text.trim().split(/ +/);
        return [save as SaveName, new Map(FAULTS.map((fault, index) => [fault, cells[index] ?? '?']))];
      });
      return [name, { own, rows: new Map(rows) }];
    }),
  );
}
