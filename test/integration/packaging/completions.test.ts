/** What the shells offer, asked of the shells themselves. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { placesOf, writeCompletions } from '../../../scripts/completions.ts';
import { createProgram } from '../../../src/cli/program.ts';

const run = promisify(execFile);
const program = createProgram({ version: '', writeOut: () => {}, writeErr: () => {}, run: () => {} });
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-completions-'));
  await writeCompletions(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const lines = (text: string): readonly string[] => text.split('\n').filter((line) => line !== '');

async function bash(words: readonly string[]): Promise<readonly string[]> {
  const script = `cd "$1"; . "$1/holdpoint"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdpoint; printf '%s\\n' "\${COMPREPLY[@]}"`;
  return lines((await run('bash', ['--norc', '-c', script, 'bash', folder, ...words])).stdout);
}

/** The completion is run by zsh; what it would hand to the line editor is printed. */
async function zsh(words: readonly string[]): Promise<readonly string[]> {
  const script = `
    _describe() { local name; for name in "\${(@P)3}"; do print -r -- "\${name%%:*}"; done }
    _files() { print -r -- FILES }
    _default() { }
    complete_it() { local -a words; words=("$@"); local CURRENT=$#; autoload -U _holdpoint; _holdpoint }
    fpath=("$1" $fpath); shift; complete_it "$@"`;
  const offered = lines((await run('zsh', ['-f', '-c', script, 'zsh', folder, ...words])).stdout);
  return offered.filter((word) => word === 'FILES' || word.startsWith(words.at(-1) ?? ''));
}

async function fish(words: readonly string[]): Promise<readonly string[]> {
  const script = `cd $argv[1]; source $argv[1]/holdpoint.fish; complete -C "$argv[2]"`;
  const { stdout } = await run('fish', ['--no-config', '-c', script, '--', folder, words.join(' ')], {
    env: { PATH: process.env['PATH'], HOME: folder },
  });
  return lines(stdout).map((line) => line.split('\t')[0] ?? '');
}

describe.each([
  ['bash', bash],
  ['zsh', zsh],
  ['fish', fish],
] as const)('the completion of %s', (_shell, ask) => {
  it('offers every command', async () => {
    const offered = await ask(['holdpoint', '']);
    const commands = program.commands.map((command) => command.name());
    expect(offered).toEqual(expect.arrayContaining(commands));
  });

  it('offers what begins as what was typed, and only that', async () => {
    const offered = await ask(['holdpoint', 'sh']);
    expect([...offered].sort()).toEqual(['show-artifact', 'show-provides']);
  });

  it('offers the options of a command, and not those of another', async () => {
    const offered = await ask(['holdpoint', 'wait', '--']);
    expect(offered).toEqual(expect.arrayContaining(['--for', '--timeout']));
    expect(offered).not.toContain('--standalone');
  });

  it('offers the commands inside a command', async () => {
    expect([...(await ask(['holdpoint', 'map', '']))]).toEqual(expect.arrayContaining(['set', 'list']));
  });

  it('offers files where a file is wanted', async () => {
    const offered = await ask(['holdpoint', 'inspect', '']);
    expect(offered.some((word) => word === 'FILES' || word.endsWith('holdpoint.fish'))).toBe(true);
  });
});

describe('what is completed', () => {
  it('are all places of the command line', () => {
    const count = (command: typeof program): number =>
      1 + command.commands.reduce((sum, inner) => sum + count(inner), 0);
    expect(placesOf(program)).toHaveLength(count(program));
  });
});
