/** Synchronized control on the command line: its subcommands, their options, and help that teaches. */
import { Argument, Option, type Command } from 'commander';
import { HOLD_POINTS } from '../core/hold-point.ts';
import {
  ON_EXPIRE,
  parseAction,
  parseDurationArgument,
  parsePoints,
  parsePriority,
  parseSequence,
  parseVerdict,
  REBOOT_MODES,
  reasonOf,
} from './arguments.ts';
import type { Actions, HoldRequest } from './program.ts';

export interface ProgramTools {
  readonly add: (name: string, description: string) => Command;
  /** `isForShow`: what it prints is all it does, so output that is lost is a failure. */
  readonly run: (doing: string, action: (actions: Actions) => Promise<number>, isForShow?: boolean) => void;
}

const DURATIONS = 'DURATION: 90s, 30m, 4h, 1d, 1h30m, or a number of seconds.';
const POINTS = `Hold points: ${HOLD_POINTS.join(', ')}.`;

export function addControlCommands(tools: ProgramTools): void {
  addDecisions(tools);
  addHolds(tools);
  addMaps(tools);
  addQuestions(tools);
}

function addDecisions({ add, run }: ProgramTools): void {
  add('continue', 'let the update go on from its hold point')
    .argument('[ticket]', 'of the wait; without it the current one is taken, and shown')
    .option('--now', 'do not wait for a maintenance window or a metered link either')
    .option(
      '--override',
      'do not wait for others at all: drops their holds here, passes over maps that pause',
    )
    .option('--comment <text>', 'for the history, at most 200 characters')
    .addOption(
      new Option(
        '--reboot-mode <mode>',
        'at ArtifactReboot_Enter: how the device goes down; none = by hand',
      ).choices(REBOOT_MODES),
    )
    .addHelpText(
      'after',
      help(
        'Gives the consent, and releases the holds of this command alone. When others still hold, that is said.',
        'Exit status: 0 it goes on, or the consent is recorded and others are waited for; 1 error, among them a ticket whose wait is over.',
      ),
    )
    .action((ticket: string | undefined, given: ContinueGiven) => {
      const { now, override, comment, rebootMode } = given;
      const options = {
        ...(now === true && { now }),
        ...(override === true && { override }),
        ...(comment !== undefined && { comment }),
        ...(rebootMode !== undefined && { rebootMode }),
      };
      run('continuing', (actions) => actions.continueWait(ticket, options));
    });
  add('snooze', 'be asked again later')
    .usage('[ticket] <duration>')
    .argument('<ticket-or-duration>', 'ticket of the wait; without it the current one is taken, and shown')
    .argument('[duration]', 'for how long')
    .addHelpText(
      'after',
      help(
        DURATIONS,
        'How often and how long in all is limited by the configuration; the refusal says how much is left.',
        'Exit status: 0 put off; 1 error.',
      ),
    )
    .action((first: string, second: string | undefined, _options: unknown, command: Command) => {
      const seconds = checked(command, second ?? first);
      run('putting off', (actions) => actions.snooze(second === undefined ? undefined : first, seconds));
    });
  add('ask-again', 'end a snooze: be asked now').action(() =>
    run('asking again', (actions) => actions.askAgain()),
  );
  add('retry', 'try an update again that failed here before and is set aside')
    .argument('[deployment]', 'without it the one that is set aside is taken')
    .addHelpText('after', help('Exit status: 0 the server is asked for it now; 1 error.'))
    .action((id: string | undefined) => run('trying again', (actions) => actions.retry(id)));
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
  add('health', 'tell whether the new version is well, before it is made permanent')
    .addArgument(new Argument('<checker>', 'one of the names in Health.checkers'))
    .addArgument(new Argument('<verdict>', 'ok or failed').argParser(parseVerdict))
    .option('--message <text>', 'for the log, at most 200 characters', '')
    .addHelpText('after', help('Exit status: 0 reported; 1 error.'))
    .action((checker: string, verdict: string, { message }: { message: string }) =>
      run('reporting health', (actions) => actions.health(checker, verdict, message)),
    );
}

function addHolds({ add, run }: ProgramTools): void {
  add('hold', 'make updates wait at a hold point: for a time, or while a command runs')
    .usage('<point> [options] [-- command…]')
    .addArgument(new Argument('<point>', 'hold point; several with commas').argParser(parsePoints))
    .argument('[command...]', 'held while it runs')
    .option('--why <text>', 'the reason people see, at most 200 characters')
    .option('--timeout <duration>', 'for at most this long; needed without a command', parseDurationArgument)
    .addOption(
      new Option('--on-expire <what>', 'what happens to an update that waits when the time is over')
        .choices(ON_EXPIRE)
        .default('continue'),
    )
    .option('--app-id <id>', 'name of the program that holds; it may take the hold over when it comes back')
    .option('--priority <n>', '-10 to 10, as those of control maps', parsePriority)
    .option('--once', 'gone after the first update has passed it')
    .addHelpText(
      'after',
      help(
        'With a command signals are passed on, and when the update service restarts, the hold is taken again.',
        `${POINTS} ${DURATIONS}`,
        'Exit status with a command: its own; 128 + the signal that ended it; 125 not held, so not run; 126 not executable; 127 not found. Without: 0 held, the id is printed; 1 error.',
      ),
    )
    .action((points: readonly string[], words: readonly string[], given: HoldGiven, owner: Command) => {
      const [file, ...args] = words;
      const command = file === undefined ? null : ([file, ...args] as const);
      if (command === null && given.timeout === undefined) {
        owner.error('a hold without a command needs --timeout: otherwise it would end with this command');
      }
      const request: HoldRequest = {
        points,
        command,
        why: given.why ?? reasonOf(command),
        timeoutSeconds: given.timeout ?? null,
        onExpire: given.onExpire,
        priority: given.priority ?? null,
        appId: given.appId ?? null,
        isOnce: given.once === true,
      };
      const doing = `holding ${points.join(',')}`;
      run(doing, (actions) => actions.hold(request, doing));
    });
  add('release', 'end a hold')
    .argument('<id>', 'as hold and holds print it')
    .action((id: string) => run('releasing', (actions) => actions.release(id)));
  add('refresh', 'give a timed hold its time again')
    .argument('<id>', 'as hold and holds print it')
    .action((id: string) => run('refreshing', (actions) => actions.refresh(id)));
  add('holds', 'list all holds and control maps: who, why, since when, until when')
    .option('--json', 'one JSON object in each line')
    .action(({ json }: JsonGiven) =>
      run('listing holds', (actions) => actions.holds({ json: json === true, only: 'all' }), true),
    );
}

function addMaps({ add, run }: ProgramTools): void {
  const map = add('map', "control maps: Mender's own way to make an update wait");
  map.helpCommand(false);
  map
    .command('set')
    .description('set, replace or delete a control map')
    .argument('<file>', 'JSON, at most 64 KiB; - = standard input')
    .exitOverride()
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      help(
        'echo \'{"id":"…","priority":0,"states":{"ArtifactReboot_Enter":{"action":"pause"}}}\' | holdpoint map set -',
        '  A map lives for a limited time: it says within how many seconds to set it again. One without states is deleted.',
        'Exit status: 0 accepted; 1 error, with the place in the JSON.',
      ),
    )
    .action((file: string) => run('setting a control map', (actions) => actions.setMap(file)));
  map
    .command('list')
    .description('list the control maps with the time they have left')
    .exitOverride()
    .allowExcessArguments(false)
    .option('--json', 'one JSON object in each line')
    .action(({ json }: JsonGiven) =>
      run('listing control maps', (actions) => actions.holds({ json: json === true, only: 'maps' }), true),
    );
}

function addQuestions({ add, run }: ProgramTools): void {
  add('can', 'tell whether you may do something: yes, no, or challenge (a password would be asked for)')
    .addArgument(new Argument('<action>', 'for example continue, hold, override').argParser(parseAction))
    .addHelpText('after', help('Exit status: 0 yes, 2 no, 3 challenge, 1 error.'))
    .action((action: string) => run('asking for a right', (actions) => actions.can(action), true));
  add('decisions', 'export who consented, refused, put off or overrode what, and when')
    .option('--json', 'one JSON object in each line, as stored')
    .option('--from <n>', 'from this number on', parseSequence, 1)
    .action(({ json, from }: JsonGiven & { from: number }) =>
      run('reading the decisions', (actions) => actions.decisions({ json: json === true, from }), true),
    );
}

interface JsonGiven {
  readonly json?: boolean;
}
interface ContinueGiven {
  readonly now?: boolean;
  readonly override?: boolean;
  readonly comment?: string;
  readonly rebootMode?: string;
}
interface HoldGiven {
  readonly why?: string;
  readonly timeout?: number;
  readonly onExpire: string;
  readonly appId?: string;
  readonly priority?: number;
  readonly once?: boolean;
}

function checked(command: Command, duration: string): number {
  try {
    return parseDurationArgument(duration);
  } catch (error) {
    return command.error(`duration: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function help(...lines: readonly string[]): string {
  return `\n${lines.join('\n')}`;
}
