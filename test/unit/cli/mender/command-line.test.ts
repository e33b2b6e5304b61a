import { describe, expect, it } from 'vitest';
import { readCommandLine, type CommandLine } from '../../../../src/cli/mender/command-line.ts';
import { commandHelp, programHelp, versionText } from '../../../../src/cli/mender/help.ts';
import { MENDER_PROGRAMS, menderProgramNamed, type MenderName } from '../../../../src/cli/mender/programs.ts';

const read = (name: MenderName, ...args: readonly string[]): CommandLine =>
  readCommandLine(MENDER_PROGRAMS[name], args);

function ran(line: CommandLine): Extract<CommandLine, { kind: 'run' }> {
  if (line.kind !== 'run') throw new Error(JSON.stringify(line));
  return line;
}

describe('the name the command is called by', () => {
  it.each([
    ['/usr/bin/mender', 'mender'],
    ['/usr/bin/mender-update', 'mender-update'],
    ['mender-auth', 'mender-auth'],
    ['/tmp/mender.js', 'mender'],
    ['/usr/bin/holdpoint', null],
    ['/usr/lib/holdpoint/holdpoint.js', null],
    ['/opt/mender/holdpoint', null],
    ['/usr/bin/constructor', null],
    ['', null],
  ])('%s → %s', (path, name) => {
    expect(menderProgramNamed(path)?.name ?? null).toBe(name);
  });
});

describe('a right command line', () => {
  it.each<[MenderName, readonly string[]]>([
    ['mender', ['--data', '/d', '--skipverify', 'install', '--reboot-exit-code', 'x.mender']],
    ['mender', ['-data=/d', '-skipverify=true', 'install', '-reboot-exit-code=1', 'x.mender']],
    ['mender', ['-d', '/d', '--skipverify', 'install', 'x.mender', '--reboot-exit-code']],
    ['mender-update', ['--datastore=/d', '--skipverify', 'install', 'x.mender', '--reboot-exit-code']],
    ['mender-update', ['-d', '/d', '--skipverify', 'install', '--reboot-exit-code', '--', 'x.mender']],
  ])('%s %j', (name, args) => {
    const { command, global, own, argument } = ran(read(name, ...args));
    expect([command.name, argument]).toEqual(['install', 'x.mender']);
    expect([global.text('data'), global.flag('skipverify'), own.flag('reboot-exit-code')]).toEqual([
      '/d',
      true,
      true,
    ]);
  });

  it('has options that are repeated, and others of which the last counts', () => {
    const { own, global } = ran(
      read(
        'mender-update',
        '-c',
        'a',
        '-c',
        'b',
        'resume',
        '--stop-before',
        'Cleanup',
        '--stop-before=ArtifactCommit_Enter',
      ),
    );
    expect(own.all('stop-before')).toEqual(['Cleanup', 'ArtifactCommit_Enter']);
    expect(global.text('config')).toBe('b');
  });

  it('takes what begins with a dash as a value in 3.x, and does not in 5.x', () => {
    expect(ran(read('mender', '--data', '-strange', 'commit')).global.text('data')).toBe('-strange');
    expect(read('mender-update', '--data', '-strange', 'commit').kind).toBe('mistake');
    expect(ran(read('mender-update', '--data=-strange', 'commit')).global.text('data')).toBe('-strange');
    expect(ran(read('mender', 'bootstrap')).own.flag('forcebootstrap')).toBeUndefined();
    expect(ran(read('mender', '-F', 'bootstrap')).global.flag('forcebootstrap')).toBe(true);
    expect(ran(read('mender-auth', 'daemon', '--passphrase-file', '-')).own.text('passphrase-file')).toBe(
      '-',
    );
  });
});

describe('help and version', () => {
  it.each<[MenderName, readonly string[], string]>([
    ['mender', [], 'help'],
    ['mender', ['help'], 'help'],
    ['mender', ['-h'], 'help'],
    ['mender', ['commit', '-help'], 'help'],
    ['mender', ['h', 'commit'], 'help'],
    ['mender', ['snapshot'], 'help'],
    ['mender', ['snapshot', '--help'], 'help'],
    ['mender', ['-v', 'commit'], 'version'],
    ['mender-update', ['--help', 'x'], 'help'],
    ['mender-update', ['install', '--help'], 'help'],
    ['mender-auth', ['--version'], 'version'],
    ['mender-auth', ['--version', '--skipverify'], 'mistake'],
    ['mender-update', ['help'], 'mistake'],
    ['mender-update', [], 'mistake'],
  ])('%s %j → %s', (name, args, kind) => {
    expect(read(name, ...args).kind).toBe(kind);
  });

  it.each(Object.values(MENDER_PROGRAMS))('$name names every command and option', (program) => {
    const text = programHelp(program, '1.2.3');
    for (const { long } of program.options) expect(text).toContain(`--${long}`);
    for (const command of program.commands) {
      expect(text).toContain(`  ${command.name} `);
      for (const { long } of command.options) expect(commandHelp(program, command)).toContain(`--${long}`);
    }
  });

  it('the version stands alone in 5.x and before a tab in 3.x', () => {
    expect(versionText(MENDER_PROGRAMS['mender-update'], '1.2.3')).toBe('1.2.3\n');
    expect(versionText(MENDER_PROGRAMS.mender, '1.2.3')).toMatch(/^1\.2\.3\truntime: \S+\n$/);
  });
});

describe('a mistake is one sentence that names it', () => {
  it.each<[MenderName, readonly string[], string, 1 | 3]>([
    ['mender', ['comit'], 'unknown command "comit" (did you mean commit?)', 3],
    ['mender-update', ['comit'], 'unknown command "comit" (did you mean commit?)', 1],
    ['mender', ['snapshot', 'dmp'], 'unknown command "snapshot dmp" (did you mean snapshot dump?)', 3],
    ['mender', ['--dta', 'x', 'commit'], 'unknown option "--dta" (did you mean --data?)', 1],
    ['mender', ['--data'], '--data: expected a value after it', 1],
    ['mender-update', ['--skipverify=true', 'commit'], '--skipverify takes no value', 1],
    [
      'mender-update',
      ['-skipverify', 'commit'],
      'unknown option "-skipverify" (did you mean --skipverify?)',
      1,
    ],
    ['mender', ['--skipverify=maybe', 'commit'], '--skipverify: found "maybe", expected true or false', 1],
    ['mender', ['commit', 'now'], 'found the argument "now" too many', 1],
    ['mender', ['install'], 'expected FILE|URL', 1],
    ['mender-update', ['install', 'a', 'b'], 'found the argument "b" too many', 1],
    [
      'mender-update',
      ['-l', 'panic', 'commit'],
      '-l: found "panic", expected one of trace, debug, info, warning, error, fatal',
      1,
    ],
  ])('%s %j', (name, args, sentence, exitCode) => {
    expect(read(name, ...args)).toEqual({ kind: 'mistake', sentence, exitCode });
  });
});
