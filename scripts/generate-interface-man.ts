/**
 * The manual page io.holdpoint.Update1(5), from the documented XML of the interface.
 * Run: tsx scripts/generate-interface-man.ts [--check]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseInterfaces, type Argument, type Member } from './reference/dbus-xml.ts';

const XML = resolve('src/adapters/dbus/io.holdpoint.Update1.xml');
const PAGE = resolve('docs/man/io.holdpoint.Update1.5.scd');

/** Text that scdoc takes as it is. */
const plain = (text: string): string =>
  text.replaceAll(/[\\*_]/g, '\\$&').replaceAll(/^([.#|[\]-])/gm, '\\$1');

/** `Continue (s ticket) → (s outcome)`, `State (s)`. */
function headOf({ kind, name, type, args }: Member): string {
  if (kind === 'property') return `${name} (${type})`;
  const list = (direction: Argument['direction']): string =>
    args
      .filter((arg) => arg.direction === direction)
      .map((arg) => `${arg.type} ${arg.name}`)
      .join(', ');
  // What a signal carries goes out.
  return kind === 'method' ? `${name} (${list('in')}) → (${list('out')})` : `${name} (${list('out')})`;
}

function entryOf(member: Member): readonly string[] {
  const facts = member.facts.map(({ label, text }) => `${label}: ${text}`).join(' ');
  return [
    `*${plain(headOf(member))}*`,
    '',
    ...member.args
      .filter(({ about }) => about !== '')
      .flatMap(({ name, about }) => [`\t_${plain(name)}_: ${plain(about)}`, '']),
    ...[...member.about, facts]
      .filter((paragraph) => paragraph !== '')
      .flatMap((paragraph) => [`\t${plain(paragraph)}`, '']),
  ];
}

function manPage(xml: string): string {
  const { preface, interfaces } = parseInterfaces(xml);
  return [
    'io.holdpoint.Update1(5)',
    '',
    '# NAME',
    '',
    'io.holdpoint.Update1 - the D-Bus interface of holdpointd',
    '',
    '# DESCRIPTION',
    '',
    'Made from the XML that is installed in _/usr/share/dbus-1/interfaces/_; the types are those of D-Bus.',
    '',
    '```',
    preface
      .split('\n')
      .filter((line) => !line.includes('SPDX'))
      .map((line) => line.replace(/^ {2}/, ''))
      .join('\n')
      .trim(),
    '```',
    '',
    ...interfaces.flatMap(({ name, about, members }) => [
      `# ${name.toUpperCase()}`,
      '',
      ...(about === '' ? [] : [plain(about), '']),
      ...members.flatMap(entryOf),
    ]),
    '# SEE ALSO',
    '',
    '*holdpointd*(8), *holdpoint*(1), *busctl*(1)',
    '',
  ].join('\n');
}

const made = manPage(readFileSync(XML, 'utf8'));
if (!process.argv.includes('--check')) writeFileSync(PAGE, made);
else if (readFileSync(PAGE, 'utf8') !== made) {
  console.error(`${PAGE} is not what its XML says; run: npx tsx scripts/generate-interface-man.ts`);
  process.exitCode = 1;
}
