/**
 * The command line: subcommands, options and their checks. What they do is handed in, so that parsing can be tested
 * by itself. Source: design/entry-points.md, spec/configuration.md section 4.
 */
import { Command, Option } from 'commander';
import type { RemoteContinueOptions } from '../adapters/dbus/update-client.ts';
import type { ConfigOptions } from '../config/load.ts';
import { STOP_POINTS, type StopPoint } from '../core/standalone-table.ts';
import { addStop, collect, parseGoal, parseSeed, parseSpeed, parseWaitSeconds } from './arguments.ts';
import type { DeploymentOrder } from './control-commands.ts';
import { addControlCommands } from './control-program.ts';
import { teach } from './help.ts';
import type { SimulateOptions } from './simulate.ts';
import { oneLine } from './terminal.ts';
import type { WaitGoal } from './watch-commands.ts';

export interface StandaloneOptions {
  readonly stops: readonly StopPoint[];
  readonly isRebootTold: boolean;
}

export interface HoldRequest {
  readonly points: readonly string[];
  /** null = none: a timed hold by itself. */
  readonly command: readonly [string, ...string[]] | null;
  readonly why: string;
  /** null = as long as the command runs. */
  readonly timeoutSeconds: number | null;
  readonly onExpire: string;
  /** null = not said. */
  readonly priority: number | null;
  readonly appId: string | null;
  readonly isOnce: boolean;
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
  continueWait(ticket: string | undefined, options: RemoteContinueOptions): Promise<number>;
  snooze(ticket: string | undefined, seconds: number): Promise<number>;
  askAgain(): Promise<number>;
  /** undefined = the one that is set aside. */
  retry(deploymentId: string | undefined): Promise<number>;
  /** `doing`: for what is said on standard error. */
  hold(request: HoldRequest, doing: string): Promise<number>;
  release(id: string): Promise<number>;
  refresh(id: string): Promise<number>;
  holds(options: { readonly json: boolean; readonly only: 'all' | 'maps' }): Promise<number>;
  setMap(source: string): Promise<number>;
  health(checker: string, verdict: string, message: string): Promise<number>;
  can(action: string): Promise<number>;
  decisions(options: { readonly json: boolean; readonly from: number }): Promise<number>;
  order(order: DeploymentOrder, reason: string): Promise<number>;
  switchUpdates(isEnabled: boolean): Promise<number>;
  history(options: { readonly json: boolean }): Promise<number>;
  log(deploymentId: string | undefined): Promise<number>;
  checkForUpdate(): Promise<number>;
  sendInventory(): Promise<number>;
  exportMenderStore(): Promise<number>;
  checkConfig(): Promise<number>;
  listScenarios(): Promise<number>;
  simulate(scenario: string, options: SimulateOptions, doing: string): Promise<number>;
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
      outputError: (text, write) => write(`${mistakeText(text, 'holdpoint')}\n`),
    });

  function add(name: string, description: string): Command {
    return program
      .command(name)
      .description(description)
      .exitOverride()
      .allowExcessArguments(false)
      .configureOutput({
        outputError: (text, write) => write(`${mistakeText(text, `holdpoint ${name}`)}\n`),
      });
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

  add('status', 'say what the device is waiting for, who blocks, until when, and what then')
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
      new Option('--for <goal>', 'waiting (for an answer), going-on, finished, state=NAME, point=NAME')
        .argParser(parseGoal)
        .default({ kind: 'finished' }, 'finished'),
    )
    .option('--timeout <duration>', 'at most this long: seconds, 90s, 30m, 4h', parseWaitSeconds)
    .addHelpText('after', '\nExit status: 0 reached, 3 timed out, 1 error, 128 + signal interrupted.')
    .action((options: { for: WaitGoal; timeout?: number }) =>
      run('waiting', (actions) => actions.wait(options.for, options.timeout ?? null)),
    );
  addControlCommands({ add, run });
  add('history', 'list the updates there were, newest first')
    .option('--json', 'one JSON object in each line')
    .action(({ json }: JsonOptions) =>
      run('reading the history', (actions) => actions.history({ json: json === true }), true),
    );
  add('log', 'print the log of an update')
    .argument('[id]', 'of the deployment; default: the one under way, or the last one')
    .action((id: string | undefined) => run('reading the log', (actions) => actions.log(id), true));
  add('check-update', 'have the service ask the server for an update now').action(() =>
    run('asking for a check for updates', (actions) => actions.checkForUpdate()),
  );
  add('send-inventory', 'have the service send the inventory to the server now').action(() =>
    run('asking for the inventory to be sent', (actions) => actions.sendInventory()),
  );
  add('export-mender-store', 'write a store that the Mender client can start from, to go back to it').action(
    () => run('writing the Mender store', (actions) => actions.exportMenderStore()),
  );
  add('check-config', 'show the effective value of every configuration key and where it came from').action(
    () => run('checking the configuration', (actions) => actions.checkConfig(), true),
  );
  add(
    'simulate',
    'play an update on the session bus, without root and without a device, for whoever writes a frontend',
  )
    .argument('[scenario]', 'what is played; --list shows them')
    .option('--list', 'list the scenarios')
    .option('--speed <factor>', 'how many times as fast as real time, 0.1 to 1000', parseSpeed, 1)
    .option(
      '--seed <number>',
      'the same number gives the same tickets, ids and link; default: another one each time',
      parseSeed,
    )
    .option('--once', 'end when the update is over; exit status 1 if it did not end as the scenario says')
    .addHelpText(
      'after',
      '\nThe whole interface io.holdpoint.Update1 is there, and answers as on a device: continue, snooze, hold, abort.' +
        '\nCheckForUpdate brings another update. Runs until Ctrl-C. A desktop has a session bus; elsewhere:' +
        '\n  dbus-run-session -- holdpoint simulate kiosk --speed 10' +
        '\nA frontend that looks for the system bus is started with DBUS_SYSTEM_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS".',
    )
    .action((scenario: string | undefined, options: SimulateFlags, command: Command) => {
      if (options.list === true)
        return run('listing the scenarios', (actions) => actions.listScenarios(), true);
      if (scenario === undefined) return command.error('a scenario is missing; --list shows them');
      const doing = `simulating ${scenario}`;
      const { speed, seed = null, once = false } = options;
      return run(doing, (actions) => actions.simulate(scenario, { speed, seed, isOnce: once }, doing));
    });
  teach(program);
  program.addHelpText(
    'after',
    '\nStart with `holdpoint status`; `holdpoint COMMAND --help` has examples and what comes next.' +
      '\nWithout a device: `dbus-run-session -- holdpoint simulate kiosk --speed 10`.',
  );
  return program;
}

interface InstallOptions {
  readonly wait: boolean;
  readonly standalone?: boolean;
  readonly stopBefore: readonly StopPoint[];
  readonly rebootExitCode?: boolean;
}
interface SimulateFlags {
  readonly list?: boolean;
  readonly speed: number;
  readonly seed?: number;
  readonly once?: boolean;
}
interface JsonOptions {
  readonly json?: boolean;
}

/** Commander's words as our one line; `command` is the one whose help says more. */
function mistakeText(text: string, command: string): string {
  const words = text
    .trim()
    .replace(/^error: /, '')
    .replaceAll(/\s*\n\s*/g, ' ');
  return `holdpoint: reading the command line: ${oneLine(words)} (${command} --help tells what there is)`;
}
