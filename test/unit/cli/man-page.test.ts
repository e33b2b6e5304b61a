import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { snapshotFrom } from '../../../src/adapters/dbus/remote-values.ts';
import { holdAsJson, mapAsJson } from '../../../src/cli/hold-view.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { ACCESS_ACTIONS } from '../../../src/core/access.ts';
import { DECISION_KINDS } from '../../../src/core/control/journal.ts';
import { HOLDPOINT_RULES } from '../../../src/config/schema.ts';

/** What the manual promises is there, and what is there is in the manual. */
const page = readFileSync(resolve('docs/man/holdpoint.1.scd'), 'utf8');
const settings = readFileSync(resolve('docs/man/holdpoint.json.5.scd'), 'utf8');
const program = createProgram({ version: '', writeOut: () => {}, writeErr: () => {}, run: () => {} });

function section(title: string): string {
  const [, text = ''] = new RegExp(`^# ${title}\n(.*?)(?=^# )`, 'ms').exec(page) ?? [];
  return text;
}

function leaves(
  command: Command,
  path = '',
): readonly { readonly name: string; readonly command: Command }[] {
  const name = path === '' ? command.name() : `${path} ${command.name()}`;
  return command.commands.length === 0
    ? [{ name, command }]
    : command.commands.flatMap((inner) => leaves(inner, name));
}

describe('holdpoint(1)', () => {
  it.each(program.commands.flatMap((command) => leaves(command)))(
    'has $name and its options',
    ({ name, command }) => {
      expect(section('COMMANDS')).toContain(`*${name}`);
      for (const { long } of command.options) {
        expect(section('COMMANDS')).toContain(String(long));
      }
    },
  );

  it('has every key of the JSON, every decision and every action', () => {
    const words = section('JSON').split(/[^\w-]+/);
    const hold = {
      id: '',
      lifetime: 'map',
      points: [],
      owner: '',
      why: '',
      uid: 0,
      action: '',
      onExpire: '',
      expiresUsec: 0,
      details: {},
    };
    expect(words).toEqual(expect.arrayContaining(Object.keys(snapshotFrom({}))));
    expect(words).toEqual(expect.arrayContaining(Object.keys(holdAsJson(hold))));
    expect(words).toEqual(expect.arrayContaining(Object.keys(mapAsJson(hold))));
    expect(words).toEqual(expect.arrayContaining([...DECISION_KINDS]));
    expect(section('COMMANDS').split(/[^\w-]+/)).toEqual(expect.arrayContaining([...ACCESS_ACTIONS]));
  });
});

describe('holdpoint.json(5)', () => {
  it.each(Object.keys(HOLDPOINT_RULES))('has %s', (key) => {
    const [first = '', ...rest] = key.split('.');
    expect(settings).toContain(`*${first}*`);
    const last = rest.at(-1);
    // In text as *word*, in tables without.
    if (last !== undefined) expect(settings).toMatch(new RegExp(`(?:\\*|[|:]-? +)${last}\\b`));
  });
});
