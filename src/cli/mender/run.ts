/** Runs one command of a Mender program: reads the command line, makes what the command works with, ends the process. */
import { isatty } from 'node:tty';
import type { ConfigOptions } from '../../config/load.ts';
import { VERSION } from '../../version.ts';
import { openCommandProcess, type CommandProcess } from '../process.ts';
import { changeUpdate, installArtifact, printArtifact, printProvides } from './artifact-commands.ts';
import { bootstrapDevice, replaceKey } from './bootstrap.ts';
import { readCommandLine, type CommandLine } from './command-line.ts';
import { runService, serviceArguments } from './daemon.ts';
import { commandHelp, programHelp, versionText } from './help.ts';
import { openLog, type MenderContext } from './context.ts';
import { poke } from './poke.ts';
import type { ProgramSpec } from './programs.ts';
import { setUp } from './setup/setup.ts';
import { dumpSnapshot } from './snapshot/dump.ts';
import { serveTokens } from './token-daemon.ts';

type Run = Extract<CommandLine, { kind: 'run' }>;

/** `calledAs`: the path it was started as. */
export function runMenderProgram(program: ProgramSpec, calledAs: string, args: readonly string[]): void {
  const read = readCommandLine(program, args);
  if (read.kind === 'run' && read.command.name === 'daemon') {
    // A daemon deals with signals itself.
    startDaemon(program, calledAs, read);
    return;
  }
  const command = openCommandProcess(program.name);
  switch (read.kind) {
    case 'help': {
      const text = read.command === null ? programHelp(program, VERSION) : commandHelp(program, read.command);
      say(command, text);
      return;
    }
    case 'version':
      say(command, versionText(program, VERSION));
      return;
    case 'mistake':
      process.exitCode = mistake(command, program, read.sentence, read.exitCode);
      return;
    case 'run': {
      const isForShow = read.command.name.startsWith('show-');
      command.run(doingOf(read), (around) => perform(contextOf(program, read, around)), isForShow);
    }
  }
}

function say(command: CommandProcess, text: string): void {
  command.run(
    'printing',
    () => {
      command.terminal.out.write(text);
      return Promise.resolve(0);
    },
    true,
  );
}

function mistake(command: CommandProcess, { name }: ProgramSpec, sentence: string, exitCode: 1 | 3): 1 | 3 {
  command.fail('reading the command line', new Error(`${sentence} (${name} --help tells what there is)`));
  return exitCode;
}

function contextOf(program: ProgramSpec, run: Run, around: MenderContext['around']): MenderContext {
  return { program, around, run, options: configOptions(program, run), doing: doingOf(run) };
}

function doingOf({ command, argument }: Run): string {
  switch (command.name) {
    case 'install':
      return `installing ${argument}`;
    case 'commit':
      return 'committing';
    case 'rollback':
      return 'rolling back';
    case 'resume':
      return 'resuming';
    case 'show-artifact':
      return 'showing the artifact';
    case 'show-provides':
      return 'showing provides';
    case 'check-update':
      return 'asking for a check for updates';
    case 'send-inventory':
      return 'asking for the inventory to be sent';
    case 'bootstrap':
      return 'bootstrapping';
    case 'setup':
      return 'setting up';
    case 'snapshot dump':
      return 'taking a snapshot';
    default:
      return command.name;
  }
}

function configOptions({ generation }: ProgramSpec, { global, own }: Run): ConfigOptions {
  return {
    config: global.text('config'),
    fallbackConfig: global.text('fallback-config'),
    data: global.text('data'),
    trustedCerts: global.text('trusted-certs'),
    skipVerify: global.flag('skipverify'),
    logLevel: global.text('log-level'),
    passphraseFile: own.text('passphrase-file') ?? global.text('passphrase-file'),
    generation,
  };
}

async function perform(context: MenderContext): Promise<number> {
  const { run } = context;
  switch (run.command.name) {
    case 'install':
      return installArtifact(context);
    case 'commit':
    case 'rollback':
    case 'resume':
      return changeUpdate(context, run.command.name);
    case 'show-artifact':
      return printArtifact(context);
    case 'show-provides':
      return printProvides(context);
    case 'check-update':
      return poke(context, 'CheckForUpdate');
    case 'send-inventory':
      return poke(context, 'SendInventory');
    case 'bootstrap':
      return bootstrapDevice(context);
    case 'setup':
      return setUp(context);
    case 'snapshot dump':
      return dumpSnapshot(context, { isTerminal: isatty(1) });
    default:
      throw new Error(`the command ${run.command.name} is in no list`);
  }
}

/** Never returns to a shell before the daemon has ended. */
function startDaemon(program: ProgramSpec, calledAs: string, run: Run): void {
  const doing = program.name === 'mender-auth' ? 'starting to give out tokens' : 'starting the service';
  const options = configOptions(program, run);
  const isForced = (run.own.flag('forcebootstrap') ?? run.global.flag('forcebootstrap')) === true;
  const start = async (): Promise<void> => {
    const logFile = run.global.text('log-file');
    if (isForced) await replaceKey(options, program.generation, await openLog(run, options.logLevel));
    if (program.name === 'mender-auth') process.exitCode = await serveTokens(options, logFile);
    else runService(calledAs, serviceArguments(options, logFile));
  };
  start().catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${program.name}: ${doing}: ${message.replaceAll(/\s*\n\s*/g, ' ')}\n`);
    process.exit(1);
  });
}
