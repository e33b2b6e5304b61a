/** Checks of single arguments and options. What is wrong is named, with what was probably meant. */
import { InvalidArgumentError } from 'commander';
import { nearest } from '../config/nearest.ts';
import { ACCESS_ACTIONS } from '../core/access.ts';
import { HEALTH_VERDICTS } from '../core/control/health.ts';
import { UpdateError } from '../core/errors.ts';
import { HOLD_POINTS } from '../core/hold-point.ts';
import { quoted } from '../core/printable.ts';
import { STOP_POINTS, type StopPoint } from '../core/standalone-table.ts';
import { PUBLIC_STATES } from '../core/state.ts';
import { parseDuration } from './duration.ts';
import type { WaitGoal } from './watch-commands.ts';

export function addStop(given: string, before: readonly StopPoint[]): readonly StopPoint[] {
  return [...before, oneOf(given, STOP_POINTS, 'Known')];
}

const GOALS = 'waiting, going-on, finished, state=NAME or point=NAME';

export function parseGoal(given: string): WaitGoal {
  if (given === 'waiting' || given === 'going-on' || given === 'finished') return { kind: given };
  const [, kind, name = ''] = /^(state|point)=(.*)$/s.exec(given) ?? [];
  if (kind === 'state') return { kind, state: oneOf(name, PUBLIC_STATES, 'Known states') };
  if (kind === 'point') return { kind, point: oneOf(name, HOLD_POINTS, 'Known points') };
  throw new InvalidArgumentError(`Expected ${GOALS}.`);
}

const MAX_WAIT_SECONDS = 2_147_483;

/** Seconds with a fraction, or a duration with units. */
export function parseWaitSeconds(given: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(given) ? Number(given) : unitSeconds(given);
  if (seconds >= 0 && seconds <= MAX_WAIT_SECONDS) return seconds;
  throw new InvalidArgumentError(`Expected seconds, 0 to ${MAX_WAIT_SECONDS}, or 90s, 30m, 4h and the like.`);
}

function unitSeconds(given: string): number {
  try {
    return parseDuration(given);
  } catch {
    return Number.NaN;
  }
}

export function parseDurationArgument(given: string): number {
  try {
    return parseDuration(given);
  } catch (error) {
    if (!(error instanceof UpdateError)) throw error;
    throw new InvalidArgumentError(`${error.message}.`);
  }
}

/** One hold point, or several with commas. */
export function parsePoints(given: string): readonly string[] {
  const points = given.split(',').map((point) => oneOf(point, HOLD_POINTS, 'Known points'));
  if (new Set(points).size !== points.length) throw new InvalidArgumentError('The same point twice.');
  return points;
}

export const ON_EXPIRE = ['continue', 'fail', 'keep-waiting'] as const;
export const REBOOT_MODES = ['reboot', 'poweroff', 'none'] as const;

export function parsePriority(given: string): number {
  const priority = /^-?\d{1,2}$/.test(given) ? Number(given) : Number.NaN;
  if (priority >= -10 && priority <= 10) return priority;
  throw new InvalidArgumentError('Expected a whole number from -10 to 10.');
}

export function parseSequence(given: string): number {
  const sequence = /^\d{1,15}$/.test(given) ? Number(given) : 0;
  if (sequence >= 1) return sequence;
  throw new InvalidArgumentError('Expected a whole number, at least 1.');
}

export function parseVerdict(given: string): string {
  return oneOf(given, HEALTH_VERDICTS, 'Expected');
}

export function parseAction(given: string): string {
  return oneOf(given, ACCESS_ACTIONS, 'Known actions');
}

export function collect(given: string, before: readonly string[]): readonly string[] {
  return [...before, given];
}

/** A reason for people that nobody gave: what is run. Bounded and printable, as the service demands. */
export function reasonOf(command: readonly string[] | null): string {
  if (command === null) return 'held from the command line';
  // eslint-disable-next-line no-control-regex
  const text = `running ${command.join(' ')}`.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ');
  return [...text].slice(0, 200).join('');
}

function oneOf<T extends string>(given: string, known: readonly T[], title: string): T {
  const found = known.find((one) => one === given);
  if (found !== undefined) return found;
  // A point without its ending is a part of its name, not a misspelling.
  const candidate =
    nearest(given, known) ?? known.find((one) => given !== '' && one.startsWith(given)) ?? null;
  const meant = candidate === null ? '' : `Did you mean ${candidate}? `;
  throw new InvalidArgumentError(`Found ${quoted(given)}. ${meant}${title}: ${known.join(', ')}.`);
}

const [MIN_SPEED, MAX_SPEED] = [0.1, 1000] as const;

export function parseSpeed(given: string): number {
  const speed = /^\d+(\.\d+)?$/.test(given) ? Number(given) : Number.NaN;
  if (speed >= MIN_SPEED && speed <= MAX_SPEED) return speed;
  throw new InvalidArgumentError(`Expected a number from ${MIN_SPEED} to ${MAX_SPEED}.`);
}

export function parseSeed(given: string): number {
  const seed = /^\d{1,10}$/.test(given) ? Number(given) : Number.NaN;
  if (seed < 2 ** 32) return seed;
  throw new InvalidArgumentError(`Expected a whole number from 0 to ${2 ** 32 - 1}.`);
}
