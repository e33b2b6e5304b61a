/** The documents: links lead somewhere, reference and sources agree, and what is shown can be typed. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { examplesOf, parseInterfaces } from '../../../scripts/reference/dbus-xml.ts';
import { createProgram } from '../../../src/cli/program.ts';

const xml = readFileSync('src/adapters/dbus/io.holdpoint.Update1.xml', 'utf8');
const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'examples/README.md',
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
];

describe('documents', () => {
  it.each(documents)('%s links to what is there', (path) => {
    const text = readFileSync(path, 'utf8').replaceAll(/^```.*?^```/gms, '');
    const links = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)].map(([, link]) => link as string);
    const dead = links.filter((link) => !/^https?:/.test(link) && !existsSync(resolve(dirname(path), link)));
    expect(dead).toEqual([]);
  });

  it.each(documents)('%s shows no subcommand of holdpoint that is not there', (path) => {
    const program = createProgram({ version: '', writeOut: () => {}, writeErr: () => {}, run: () => {} });
    const known = program.commands.map((command) => command.name());
    const blocks = [...readFileSync(path, 'utf8').matchAll(/^```sh\n(.*?)^```/gms)].map(
      ([, body]) => body as string,
    );
    const used = blocks.flatMap((body) =>
      [...body.matchAll(/(?:^|[\s/(])holdpoint(?:\.js)? ([a-z][a-z-]+)/gm)].map(([, name]) => name as string),
    );
    expect(used.filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe('the D-Bus reference', () => {
  const { interfaces } = parseInterfaces(xml);
  const members = interfaces.flatMap((one) => one.members);

  it('has every member of the XML', () => {
    expect(members.length).toBe(xml.match(/<(?:method|signal|property) name=/g)?.length);
  });

  it.each(
    members
      .filter(({ kind }) => kind === 'method')
      .map((member) => [`${member.interfaceName}.${member.name}`, member] as const),
  )('%s says when it may be called and shows how, in four languages', (_, member) => {
    const labels = member.facts.map(({ label }) => label.toLowerCase()).join(' ');
    expect(labels).toContain('callable');
    expect(examplesOf(member.interfaceName, member).map(({ language }) => language)).toEqual([
      'sh',
      'sh',
      'python',
      'cpp',
    ]);
  });
});
