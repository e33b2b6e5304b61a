/**
 * The command line: subcommands, options and their checks. What they do is handed in, so that parsing can be tested
 * by itself. Source: design/entry-points.md, spec/configuration.md section 4.
 */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ConfigOptions } from '../config/load.ts';
import { nearest } from '../config/nearest.ts';
import { STOP_POINTS, type StopPoint } from '../core/standalone-table.ts';
import { PUBLIC_STATES } from '../core/state.ts';
import type { DeploymentOrder, WaitGoal } from './service-commands.ts';
import { oneLine } from './terminal.ts';

export interface StandaloneOptions {
  readonly stops: readonly StopPoint[];
  readonly isRebootTold: boolean;
}

/** Each resolves with the exit status. */
export interface Actions {
  install(source: string, options: { readonly wait: boolean }): Promise<number>;
  installStandalone(source: string, options: StandaloneOptions): Promise<number>;
  standalone(command: 'commit' | 'rollback' | 'resume', options: StandaloneOptions): Promise<number>;
  showArtifact(): Promise<number>;
  showProvides(): Promise<number>;
  inspect(
    file: string,
    options: { readonly json: boolean; readonly keys: readonly string[] },
  ): Promise<number>;
  status(options: { readonly json: boolean }): Promise<number>;
  monitor(options: { readonly json: boolean }): Promise<number>;
  wait(goal: WaitGoal, timeoutSeconds: number | null): Promise<number>;
  continueWait(ticket: string | undefined): Promise<number>;
  order(order: DeploymentOrder, reason: string): Promise<number>;
  switchUpdates(isEnabled: boolean): Promise<number>;
  history(options: { readonly json: boolean }): Promise<number>;
  log(deploymentId: string | undefined): Promise<number>;
  checkConfig(): Promise<number>;
}

export interface ProgramIo {
  readonly version: string;
  readonly writeOut: (text: string) => void;
  readonly writeErr: (text: string) => void;
  /** `isForShow`: what it prints is all it does, so output that is lost is a failure. */
  readonly run: (
    doing: string,
    action: (actions: Actions) => Promise<number>,
    options: ConfigOptions,
    isForShow: boolean,
  ) => void;
}

/** Throws CommanderError for help, version (exit code 0) and mistakes (1), after having said so. */
export function createProgram(io: ProgramIo): Command {
  const program = new Command('holdpoint');
  program
    .description('Updates this device and lets the people and programs on it decide when.')
    .version(io.version, '-v, --version')
    .option('-c, --config <file>', 'Mender configuration')
    .option('-b, --fallback-config <file>', 'Mender configuration that gives way to the other one')
    .option('--holdpoint-config <file>', "Holdpoint's own configuration")
    .option('-d, --data <folder>', 'datastore, which survives an update of the system')
    .addOption(new Option('--datastore <folder>').hideHelp())
    .option('-E, --trusted-certs <file>', 'additional trusted certificates')
    .option('--skipverify', 'do not verify the certificates of servers')
    .option('-l, --log-level <level>', 'show the log of standalone work: debug, info, warning, error')
    .exitOverride()
    .showSuggestionAfterError(true)
    .allowExcessArguments(false)
    .configureOutput({
      writeOut: io.writeOut,
      writeErr: io.writeErr,
      outputError: (text, write) => write(`${mistakeText(text)}\n`),
    });

  function add(name: string, description: string): Command {
    return program.command(name).description(description).exitOverride().allowExcessArguments(false);
  }
  function run(doing: string, action: (actions: Actions) => Promise<number>, isForShow = false): void {
    const { datastore, data, skipverify, ...rest } = program.opts<
      ConfigOptions & { datastore?: string; skipverify?: boolean }
    >();
    io.run(doing, action, { ...rest, data: data ?? datastore, skipVerify: skipverify }, isForShow);
  }
  const stopOption = (): Option =>
    new Option('--stop-before <state>', `stop before ${STOP_POINTS.join(', ')}; may be repeated`)
      .argParser(addStop)
      .default([], 'none');
  const rebootOption = (): Option => new Option('--reboot-exit-code', 'exit with 4 when a reboot is needed');

  add('install', 'install an artifact: a file or an http(s) URL')
    .argument('<file-or-url>')
    .option('--no-wait', 'print the deployment id and end, without waiting for the update')
    .option('--standalone', 'without the service, as `mender-update install` does')
    .addOption(stopOption())
    .addOption(rebootOption())
    .addHelpText(
      'after',
      '\nExit status: 0 success, 1 failed, 4 rolled back, 5 aborted.' +
        '\nWith --standalone: 0 done, 1 failed, 4 reboot needed (only with --reboot-exit-code).',
    )
    .action((source: string, options: InstallOptions, command: Command) => {
      const { stopBefore: stops, rebootExitCode } = options;
      if (options.standalone !== true && (stops.length > 0 || rebootExitCode === true)) {
        command.error('--stop-before and --reboot-exit-code need --standalone');
      }
      if (options.standalone === true && !options.wait)
        command.error('--no-wait and --standalone exclude each other');
      const isRebootTold = rebootExitCode === true;
      run(`installing ${source}`, (actions) =>
        options.standalone === true
          ? actions.installStandalone(source, { stops, isRebootTold })
          : actions.install(source, { wait: options.wait }),
      );
    });

  const standaloneHelp = '\nExit status: 0 done, 1 error, 2 nothing pending, 4 reboot needed.';
  add('commit', 'standalone: make the installed update permanent')
    .addOption(stopOption())
    .addHelpText('after', standaloneHelp)
    .action(({ stopBefore: stops }: InstallOptions) =>
      run('committing', (actions) => actions.standalone('commit', { stops, isRebootTold: false })),
    );
  add('rollback', 'standalone: go back to what was installed before')
    .addOption(stopOption())
    .addHelpText('after', standaloneHelp)
    .action(({ stopBefore: stops }: InstallOptions) =>
      run('rolling back', (actions) => actions.standalone('rollback', { stops, isRebootTold: false })),
    );
  add('resume', 'standalone: go on with an update that was stopped or interrupted')
    .addOption(stopOption())
    .addOption(rebootOption())
    .addHelpText('after', standaloneHelp)
    .action(({ stopBefore: stops, rebootExitCode }: InstallOptions) =>
      run('resuming', (actions) =>
        actions.standalone('resume', { stops, isRebootTold: rebootExitCode === true }),
      ),
    );

  add('show-artifact', 'print the name of the installed artifact').action(() =>
    run('showing the artifact', (actions) => actions.showArtifact(), true),
  );
  add('show-provides', 'print what the installed artifacts provide, KEY=VALUE in each line').action(() =>
    run('showing provides', (actions) => actions.showProvides(), true),
  );
  add('inspect', 'read and verify a whole artifact without installing it; exit status 0 valid, 1 invalid')
    .argument('<file>')
    .option('--json', 'as JSON')
    .option('--key <pem>', 'public key the signature must fit; may be repeated', collect, [])
    .action((file: string, { json, key }: { json?: boolean; key: readonly string[] }) =>
      run(`inspecting ${file}`, (actions) => actions.inspect(file, { json: json === true, keys: key }), true),
    );

  add('status', 'show the state of the update service')
    .option('--json', 'as JSON')
    .action(({ json }: JsonOptions) =>
      run('asking for the status', (actions) => actions.status({ json: json === true }), true),
    );
  add('monitor', 'show what the update service does, until Ctrl-C')
    .option('--json', 'one JSON object in each line, for each change')
    .action(({ json }: JsonOptions) =>
      run('monitoring', (actions) => actions.monitor({ json: json === true }), true),
    );
  add('wait', 'wait for the update service; exit status 0 reached, 3 timed out')
    .addOption(
      new Option('--for <goal>', 'waiting (at a hold point), finished, state=NAME')
        .argParser(parseGoal)
        .default({ kind: 'finished' }, 'finished'),
    )
    .option('--timeout <seconds>', 'at most this long', parseSeconds)
    .action((options: { for: WaitGoal; timeout?: number }) =>
      run('waiting', (actions) => actions.wait(options.for, options.timeout ?? null)),
    );
  add('continue', 'let the update go on from its hold point')
    .argument('[ticket]', 'of the wait; without it the current one is taken, and shown')
    .action((ticket: string | undefined) => run('continuing', (actions) => actions.continueWait(ticket)));
  add('abort', 'give up the update under way')
    .option('--reason <text>', 'for the log', '')
    .action(({ reason }: { reason: string }) => run('aborting', (actions) => actions.order('abort', reason)));
  add('rollback-deployment', 'roll the update under way back')
    .option('--reason <text>', 'for the log', '')
    .action(({ reason }: { reason: string }) =>
      run('rolling back', (actions) => actions.order('rollback', reason)),
    );
  add('pause', 'suspend the update under way').action(() =>
    run('pausing', (actions) => actions.order('pause', '')),
  );
  add('unpause', 'end the pause').action(() =>
    run('ending the pause', (actions) => actions.order('resume', '')),
  );
  add('enable', 'switch updates on').action(() =>
    run('enabling updates', (actions) => actions.switchUpdates(true)),
  );
  add('disable', 'switch updates off: offers are shown, nothing is fetched').action(() =>
    run('disabling updates', (actions) => actions.switchUpdates(false)),
  );
  add('history', 'list the updates there were, newest first')
    .option('--json', 'one JSON object in each line')
    .action(({ json }: JsonOptions) =>
      run('reading the history', (actions) => actions.history({ json: json === true }), true),
    );
  add('log', 'print the log of an update')
    .argument('[id]', 'of the deployment; default: the one under way, or the last one')
    .action((id: string | undefined) => run('reading the log', (actions) => actions.log(id), true));
  add('check-config', 'show the effective value of every configuration key and where it came from').action(
    () => run('checking the configuration', (actions) => actions.checkConfig(), true),
  );
  return program;
}

interface InstallOptions {
  readonly wait: boolean;
  readonly standalone?: boolean;
  readonly stopBefore: readonly StopPoint[];
  readonly rebootExitCode?: boolean;
}
interface JsonOptions {
  readonly json?: boolean;
}

function addStop(given: string, before: readonly StopPoint[]): readonly StopPoint[] {
  const found = STOP_POINTS.find((point) => point === given);
  if (found !== undefined) return [...before, found];
  throw new InvalidArgumentError(`${meant(given, STOP_POINTS)}Known: ${STOP_POINTS.join(', ')}.`);
}

function parseGoal(given: string): WaitGoal {
  if (given === 'waiting' || given === 'finished') return { kind: given };
  const state = given.startsWith('state=') ? given.slice('state='.length) : null;
  if (state === null) throw new InvalidArgumentError('Expected waiting, finished or state=NAME.');
  if ((PUBLIC_STATES as readonly string[]).includes(state)) return { kind: 'state', state };
  throw new InvalidArgumentError(`${meant(state, PUBLIC_STATES)}Known states: ${PUBLIC_STATES.join(', ')}.`);
}

const MAX_SECONDS = 2_147_483;

function parseSeconds(given: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(given) ? Number(given) : Number.NaN;
  if (seconds >= 0 && seconds <= MAX_SECONDS) return seconds;
  throw new InvalidArgumentError(`Expected seconds, 0 to ${MAX_SECONDS}.`);
}

function collect(given: string, before: readonly string[]): readonly string[] {
  return [...before, given];
}

function meant(given: string, known: readonly string[]): string {
  const candidate = nearest(given, known);
  return candidate === null ? '' : `Did you mean ${candidate}? `;
}

/** Commander's words as our one line. */
function mistakeText(text: string): string {
  const words = text
    .trim()
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ');
  return `holdpoint: reading the command line: ${oneLine(words)} (holdpoint --help tells what there is)`;
}
