/** The help of every subcommand teaches: examples that the command line takes, and what comes next. */
import { execFileSync } from 'node:child_process';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { LESSONS } from '../../../src/cli/help.ts';
import { createProgram, type Actions } from '../../../src/cli/program.ts';

function programThatNotes(calls: unknown[][], said: string[] = []): Command {
  const actions = new Proxy({} as Actions, {
    get:
      (_, name) =>
      (...given: unknown[]) => (calls.push([name, ...given]), Promise.resolve(0)),
  });
  return createProgram({
    version: '1',
    writeOut: (text) => void said.push(text),
    writeErr: (text) => void said.push(text),
    run: (_, action) => void action(actions),
  });
}

function pathsOf(command: Command, above = ''): readonly string[] {
  return command.commands.flatMap((child) => {
    const path = `${above}${child.name()}`;
    return [path, ...pathsOf(child, `${path} `)];
  });
}

const PATHS = pathsOf(programThatNotes([]));

/** What a shell makes of a line: the words behind each `holdpoint`. */
function wordsOf(line: string): readonly (readonly string[])[] {
  const shell = `holdpoint() { for word; do printf '%s\\n' "$word" >&3; done; echo >&3; }
    notify-send() { :; }
    ${line}`;
  const output = execFileSync('bash', ['-ec', `exec 3>&1 >/dev/null; ${shell}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', ID: '7', TICKET: 'abcdef' },
    encoding: 'utf8',
  });
  return output
    .split('\n\n')
    .map((words) => words.split('\n').filter((word) => word !== ''))
    .filter((words) => words.length > 0);
}

describe('the help', () => {
  it.each(PATHS)('of %s has examples, and says what comes next', (path) => {
    const said: string[] = [];
    expect(() =>
      programThatNotes([], said).parse([...path.split(' '), '--help'], { from: 'user' }),
    ).toThrow();
    const text = said.join('');
    expect(text).toMatch(new RegExp(`^Usage: holdpoint ${path}`));
    expect(text).toMatch(/\nExamples:\n {2}\S.*\n {6}\S/);
    expect(text).toMatch(/\nNext: \S.*\n$/);
  });

  it('has nothing for subcommands that are not there', () => {
    expect(Object.keys(LESSONS).filter((path) => !PATHS.includes(path))).toEqual([]);
  });

  const examples = Object.entries(LESSONS).flatMap(([path, lesson]) =>
    lesson.examples.map(([line]) => [path, line.replace(/ < map\.json$/, '')] as const),
  );
  it.each(examples)('of %s: %s is understood', (path, line) => {
    const commands = wordsOf(line);
    expect(commands.length).toBeGreaterThan(0);
    for (const words of commands) {
      const calls: unknown[][] = [];
      const said: string[] = [];
      try {
        programThatNotes(calls, said).parse([...words], { from: 'user' });
      } catch (error) {
        throw new Error(said.join(''), { cause: error });
      }
      expect(calls.length).toBe(1);
      expect(words.join(' ')).toMatch(new RegExp(`^${path}`));
    }
  });

  it.each(Object.entries(LESSONS).map(([path, { next }]) => [path, next] as const))(
    'of %s names only subcommands that there are',
    (_, next) => {
      for (const [, name = ''] of next.matchAll(/holdpoint ([a-z][a-z-]+)/g)) expect(PATHS).toContain(name);
    },
  );
});
