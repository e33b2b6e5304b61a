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

describe('a right command line', () => {
  it.each([
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
    [['continue'], ['continueWait', undefined]],
    [
      ['continue', 'abc'],
      ['continueWait', 'abc'],
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
    for (const name of ['install', 'rollback-deployment', 'check-config'])
      expect(help.out).toContain(`  ${name} `);
    // Not there yet, so not shown.
    for (const name of ['snooze', 'hold', 'simulate', 'export-mender-store'])
      expect(help.out).not.toContain(`  ${name} `);
    expect(parse('install', '--help').out).toContain('4 rolled back, 5 aborted');
  });
});

describe('a wrong command line', () => {
  it.each([
    [['instal', 'x'], "unknown command 'instal' (Did you mean install?)"],
    [['hold', 'x'], "unknown command 'hold'"],
    [['install'], "missing required argument 'file-or-url'"],
    [['install', 'a', 'b'], "too many arguments for 'install'"],
    [['status', '--jsn'], "unknown option '--jsn' (Did you mean --json?)"],
    [['install', 'a', '--stop-before', 'Cleanup'], '--stop-before and --reboot-exit-code need --standalone'],
    [['install', 'a', '--reboot-exit-code'], '--stop-before and --reboot-exit-code need --standalone'],
    [['install', 'a', '--standalone', '--no-wait'], '--no-wait and --standalone exclude each other'],
    [['commit', '--stop-before', 'ArtifactCommit_Entr'], 'Did you mean ArtifactCommit_Enter?'],
    [['wait', '--for', 'ready'], 'Expected waiting, finished or state=NAME.'],
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
});
