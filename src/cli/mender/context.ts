/** What every command of a Mender program works with. */
import { openLogFile } from '../../adapters/log/log-file.ts';
import { loadSettings, type ConfigOptions } from '../../config/load.ts';
import type { Settings } from '../../config/settings.ts';
import type { Log } from '../../ports/log.ts';
import { openCommandLog } from '../command-log.ts';
import type { Surroundings } from '../surroundings.ts';
import { complain } from '../terminal.ts';
import type { CommandLine } from './command-line.ts';
import type { ProgramSpec } from './programs.ts';

export interface MenderContext {
  readonly program: ProgramSpec;
  readonly around: Surroundings;
  readonly run: Extract<CommandLine, { kind: 'run' }>;
  readonly options: ConfigOptions;
  /** What is being done, for what is said on standard error. */
  readonly doing: string;
}

/** Warnings are told at once. */
export async function settingsOf({ around, options }: MenderContext): Promise<Settings> {
  const { settings, warnings } = await loadSettings(options, around.environment);
  for (const warning of warnings) complain(around.terminal, 'reading the configuration', warning);
  return settings;
}

export function logOf({ run, options }: MenderContext): Promise<Log> {
  return openLog(run, options.logLevel);
}

/** Into the file where one is named, as much as Mender would log; else to standard error what was asked for. */
export async function openLog(
  { global }: Pick<MenderContext['run'], 'global'>,
  level: string | undefined,
): Promise<Log> {
  const path = global.text('log-file');
  return path === undefined
    ? openCommandLog(level)
    : openCommandLog(level ?? 'info', await openLogFile(path));
}
