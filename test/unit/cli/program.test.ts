import { CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram, type Actions } from '../../../src/cli/program.ts';
import type { ConfigOptions } from '../../../src/config/load.ts';

/** Parsing alone: which action a command line leads to, and what is said of wrong ones. */
interface Parsed {
  readonly calls: readonly unknown[][];
  readonly doing: string;
  readonly options: ConfigOptions;
  readonly out: string;
  readonly err: string;
  readonly exitCode: number | null;
}

function parse(...args: readonly string[]): Parsed {
  const calls: unknown[][] = [];
  const actions = new Proxy({} as Actions, {
    get:
      (_, name) =>
      (...given: unknown[]) => (calls.push([name, ...given]), Promise.resolve(0)),
  });
  const parsed = {
    calls,
    doing: '',
    options: {} as ConfigOptions,
    out: '',
    err: '',
    exitCode: null as number | null,
  };
  const program = createProgram({
    version: '1.2.3',
    writeOut: (text) => (parsed.out += text),
    writeErr: (text) => (parsed.err += text),
    run(doing, action, options) {
      Object.assign(parsed, { doing, options });
      void action(actions);
    },
  });
  try {
    program.parse([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    parsed.exitCode = error.exitCode;
  }
  return parsed;
}

const HOLD = {
  points: ['ArtifactReboot_Enter'],
  command: null,
  timeoutSeconds: null,
  onExpire: 'continue',
  priority: null,
  appId: null,
  isOnce: false,
};

describe('a right command line', () => {
  it.each([
    [['simulate', '--list'], ['listScenarios']],
    [
      ['simulate', 'kiosk'],
      ['simulate', 'kiosk', { speed: 1, seed: null, isOnce: false }, 'simulating kiosk'],
    ],
    [
      ['simulate', 'kiosk', '--speed', '0.5', '--seed', '7', '--once'],
      ['simulate', 'kiosk', { speed: 0.5, seed: 7, isOnce: true }, 'simulating kiosk'],
    ],
    [
      ['install', 'a.mender'],
      ['install', 'a.mender', { wait: true }],
    ],
    [
      ['install', '--no-wait', 'a.mender'],
      ['install', 'a.mender', { wait: false }],
    ],
    [
      [
        'install',
        '--standalone',
        '--reboot-exit-code',
        '--stop-before',
        'Cleanup',
        '--stop-before=ArtifactCommit_Enter',
        'a',
      ],
      ['installStandalone', 'a', { stops: ['Cleanup', 'ArtifactCommit_Enter'], isRebootTold: true }],
    ],
    [['commit'], ['standalone', 'commit', { stops: [], isRebootTold: false }]],
    [
      ['rollback', '--stop-before', 'Cleanup'],
      ['standalone', 'rollback', { stops: ['Cleanup'], isRebootTold: false }],
    ],
    [
      ['resume', '--reboot-exit-code'],
      ['standalone', 'resume', { stops: [], isRebootTold: true }],
    ],
    [['show-artifact'], ['showArtifact']],
    [['show-provides'], ['showProvides']],
    [
      ['inspect', '--key', 'a.pem', '--key', 'b.pem', 'f'],
      ['inspect', 'f', { json: false, keys: ['a.pem', 'b.pem'] }],
    ],
    [
      ['status', '--json'],
      ['status', { json: true }],
    ],
    [['monitor'], ['monitor', { json: false }]],
    [['wait'], ['wait', { kind: 'finished' }, null]],
    [
      ['wait', '--for=waiting', '--timeout', '2.5'],
      ['wait', { kind: 'waiting' }, 2.5],
    ],
    [
      ['wait', '--for', 'state=ArtifactCommit'],
      ['wait', { kind: 'state', state: 'ArtifactCommit' }, null],
    ],
    [
      ['wait', '--for=point=ArtifactReboot_Enter', '--timeout', '1h30m'],
      ['wait', { kind: 'point', point: 'ArtifactReboot_Enter' }, 5400],
    ],
    [
      ['wait', '--for=going-on'],
      ['wait', { kind: 'going-on' }, null],
    ],
    [['continue'], ['continueWait', undefined, {}]],
    [
      ['continue', 'abc'],
      ['continueWait', 'abc', {}],
    ],
    [
      ['continue', '--now', '--override', '--comment', 'why', '--reboot-mode', 'poweroff'],
      ['continueWait', undefined, { now: true, override: true, comment: 'why', rebootMode: 'poweroff' }],
    ],
    [
      ['snooze', '4h'],
      ['snooze', undefined, 14_400],
    ],
    [
      ['snooze', 'abc', '90'],
      ['snooze', 'abc', 90],
    ],
    [['ask-again'], ['askAgain']],
    [['retry'], ['retry', undefined]],
    [
      ['retry', 'b6f9'],
      ['retry', 'b6f9'],
    ],
    [
      ['hold', 'ArtifactReboot_Enter', '--timeout', '5m', '--why', 'brewing'],
      ['hold', { ...HOLD, timeoutSeconds: 300, why: 'brewing' }, 'holding ArtifactReboot_Enter'],
    ],
    [
      ['hold', 'ArtifactReboot_Enter', '--', 'surgery', '--patient', '7', '--help', '-v'],
      [
        'hold',
        {
          ...HOLD,
          command: ['surgery', '--patient', '7', '--help', '-v'],
          why: 'running surgery --patient 7 --help -v',
        },
        'holding ArtifactReboot_Enter',
      ],
    ],
    [
      [
        'hold',
        'ArtifactInstall_Enter,ArtifactReboot_Enter',
        '--timeout',
        '10',
        '--on-expire',
        'fail',
        '--app-id',
        'org.example.Brew',
        '--priority',
        '-3',
        '--once',
      ],
      [
        'hold',
        {
          ...HOLD,
          points: ['ArtifactInstall_Enter', 'ArtifactReboot_Enter'],
          timeoutSeconds: 10,
          why: 'held from the command line',
          onExpire: 'fail',
          appId: 'org.example.Brew',
          priority: -3,
          isOnce: true,
        },
        'holding ArtifactInstall_Enter,ArtifactReboot_Enter',
      ],
    ],
    [
      ['release', 'abc'],
      ['release', 'abc'],
    ],
    [
      ['refresh', 'abc'],
      ['refresh', 'abc'],
    ],
    [['holds'], ['holds', { json: false, only: 'all' }]],
    [
      ['map', 'list', '--json'],
      ['holds', { json: true, only: 'maps' }],
    ],
    [
      ['map', 'set', '-'],
      ['setMap', '-'],
    ],
    [
      ['health', 'app', 'failed', '--message', 'no picture'],
      ['health', 'app', 'failed', 'no picture'],
    ],
    [
      ['can', 'override'],
      ['can', 'override'],
    ],
    [
      ['decisions', '--json', '--from', '7'],
      ['decisions', { json: true, from: 7 }],
    ],
    [
      ['abort', '--reason', 'why not'],
      ['order', 'abort', 'why not'],
    ],
    [['rollback-deployment'], ['order', 'rollback', '']],
    [['pause'], ['order', 'pause', '']],
    [['unpause'], ['order', 'resume', '']],
    [['enable'], ['switchUpdates', true]],
    [['disable'], ['switchUpdates', false]],
    [
      ['history', '--json'],
      ['history', { json: true }],
    ],
    [['log'], ['log', undefined]],
    [['check-config'], ['checkConfig']],
  ])('%j', (args, call) => {
    const { calls, err, exitCode } = parse(...args);
    expect(calls).toEqual([call]);
    expect({ err, exitCode }).toEqual({ err: '', exitCode: null });
  });

  it('takes the options of the configuration before and behind the subcommand', () => {
    const expected = { config: 'c', fallbackConfig: 'f', data: 'd', skipVerify: true, logLevel: 'debug' };
    expect(
      parse('-c', 'c', '--fallback-config=f', '--data', 'd', '--skipverify', '-l', 'debug', 'commit').options,
    ).toEqual(expected);
    expect(
      parse('commit', '-c', 'c', '-b', 'f', '--datastore', 'd', '--skipverify', '-l', 'debug').options,
    ).toEqual(expected);
  });

  it('says what it is about to do', () => {
    expect(parse('install', 'a.mender').doing).toBe('installing a.mender');
  });

  it('--version and --help end with 0', () => {
    expect(parse('--version')).toMatchObject({ out: '1.2.3\n', exitCode: 0, calls: [] });
    const help = parse('--help');
    expect(help.exitCode).toBe(0);
    for (const name of ['install', 'rollback-deployment', 'check-config', 'hold', 'snooze', 'map', 'can'])
      expect(help.out).toContain(`  ${name} `);
    // Not there yet, so not shown.
    for (const name of ['export-mender-store', 'check-update']) expect(help.out).not.toContain(`  ${name} `);
    expect(parse('install', '--help').out).toContain('4 rolled back, 5 aborted');
    expect(parse('hold', '--help').out).toContain('125 not held, so not run');
    expect(parse('map', 'set', '--help').out).toContain('| holdpoint map set -');
  });
});

describe('a wrong command line', () => {
  it.each([
    [['simulate'], 'a scenario is missing'],
    [['simulate', 'kiosk', '--speed', '0'], 'Expected a number from 0.1 to 1000'],
    [['simulate', 'kiosk', '--seed', '4294967296'], 'Expected a whole number from 0 to 4294967295'],
    [['instal', 'x'], "unknown command 'instal' (Did you mean install?)"],
    [['hld', 'x'], "unknown command 'hld' (Did you mean hold?)"],
    [['hold', 'ArtifactReboot'], 'Did you mean ArtifactReboot_Enter?'],
    [['hold', 'ArtifactReboot_Enter'], 'needs --timeout'],
    [['hold', 'ArtifactReboot_Enter,ArtifactReboot_Enter', '--timeout', '1'], 'The same point twice.'],
    [['hold', 'ArtifactReboot_Enter', '--timeout', '5 m'], 'found "5 m", expected a length of time such as'],
    [['hold', 'ArtifactReboot_Enter', '--timeout', '0'], 'expected at least one second'],
    [['hold', 'ArtifactReboot_Enter', '--timeout', '5', '--on-expire', 'go'], 'Allowed choices are continue'],
    [['hold', 'ArtifactReboot_Enter', '--timeout', '5', '--priority', '11'], '-10 to 10'],
    [['snooze', '4x'], 'duration: found "4x", expected a length of time'],
    [['snooze', 'abc', '1e3'], 'duration: found "1e3"'],
    [['snooze'], "missing required argument 'ticket-or-duration'"],
    [['continue', '--reboot-mode', 'off'], 'Allowed choices are reboot, poweroff, none'],
    [['health', 'app', 'good'], 'Expected: ok, failed'],
    [['can', 'continu'], 'Did you mean continue?'],
    [['decisions', '--from', '0'], 'at least 1'],
    [['map', 'sett', 'x'], "unknown command 'sett' (Did you mean set?)"],
    [['wait', '--for', 'point=Reboot'], 'Known points: Download_Enter'],
    [['install'], "missing required argument 'file-or-url'"],
    [['install', 'a', 'b'], "too many arguments for 'install'"],
    [['status', '--jsn'], "unknown option '--jsn' (Did you mean --json?)"],
    [['install', 'a', '--stop-before', 'Cleanup'], '--stop-before and --reboot-exit-code need --standalone'],
    [['install', 'a', '--reboot-exit-code'], '--stop-before and --reboot-exit-code need --standalone'],
    [['install', 'a', '--standalone', '--no-wait'], '--no-wait and --standalone exclude each other'],
    [['commit', '--stop-before', 'ArtifactCommit_Entr'], 'Did you mean ArtifactCommit_Enter?'],
    [['wait', '--for', 'ready'], 'Expected waiting, going-on, finished, state=NAME or point=NAME.'],
    [['wait', '--for', 'state=Instal'], 'Known states: Idle,'],
    [['wait', '--timeout', '-1'], 'Expected seconds'],
    [['wait', '--timeout', '1e9'], 'Expected seconds'],
    [['wait', '--timeout', ''], 'Expected seconds'],
    [['in\u001b[2Jstall'], "unknown command 'in\\x1b[2Jstall'"],
  ])('%j ends with 1 and one line', (args, words) => {
    const { calls, err, exitCode } = parse(...args);
    expect(calls).toEqual([]);
    expect(exitCode).toBe(1);
    expect(err).toMatch(/^holdpoint: reading the command line: .*\n$/);
    expect(err).toContain(words);
  });

  it('is told where the help is that fits', () => {
    expect(parse('hold', 'ArtifactReboot_Enter', '--for', '1h').err).toContain(
      '(holdpoint hold --help tells',
    );
    expect(parse('map', 'sett', 'x').err).toContain('(holdpoint map --help tells');
    expect(parse('instal', 'x').err).toContain('(holdpoint --help tells');
  });
});
