/**
 * The manual page io.holdpoint.Update1(5), from the documented XML of the interface.
 * Run: tsx scripts/generate-interface-man.ts [--check]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const XML = resolve('src/adapters/dbus/io.holdpoint.Update1.xml');
const PAGE = resolve('docs/man/io.holdpoint.Update1.5.scd');

/** Text that scdoc takes as it is. */
const plain = (text: string): string =>
  text.replaceAll(/[\\*_]/g, '\\$&').replaceAll(/^([.#|[\]-])/gm, '\\$1');

interface Part {
  readonly arguments: readonly { readonly name: string; readonly text: string }[];
  readonly text: readonly string[];
}

/** A comment: `Name:`, then `@argument: text` lines, then paragraphs. */
function partOf(comment: string): Part {
  const lines = comment
    .replace(/^\s*[\w.]+:/, '')
    .split('\n')
    .map((line) => line.trim());
  const blocks = lines
    .join('\n')
    .replaceAll(/\n@/g, '\n\n@')
    .split(/\n{2,}/)
    .map((block) => block.replaceAll('\n', ' ').trim())
    .filter((block) => block !== '');
  return {
    arguments: blocks.flatMap((block) => {
      const [, name, text] = /^@(\w+):\s*(.*)$/.exec(block) ?? [];
      return name === undefined || text === undefined ? [] : [{ name, text }];
    }),
    text: blocks.filter((block) => !block.startsWith('@')),
  };
}

/** `Continue (s ticket) → (s outcome)`, `State (s)`. */
function headOf(kind: string, name: string, attributes: string, body: string): string {
  if (kind === 'property') return `${name} (${/type="([^"]+)"/.exec(attributes)?.[1] ?? ''})`;
  const args = [...body.matchAll(/<arg\s([^>]*?)\/?>/g)].map(([, text = '']) => ({
    name: /name="([^"]+)"/.exec(text)?.[1] ?? '',
    type: /type="([^"]+)"/.exec(text)?.[1] ?? '',
    isOut: /direction="out"/.test(text),
  }));
  const list = (isOut: boolean): string =>
    args
      .filter((arg) => arg.isOut === isOut)
      .map(({ type, name: argument }) => `${type} ${argument}`)
      .join(', ');
  return kind === 'method' ? `${name} (${list(false)}) → (${list(true)})` : `${name} (${list(false)})`;
}

export function manPage(xml: string): string {
  const [, intro = ''] = /<!--\n([\s\S]*?)-->/.exec(xml.replace(/<!DOCTYPE[^>]*>/, '')) ?? [];
  const out = [
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
    intro
      .split('\n')
      .filter((line) => !line.includes('SPDX'))
      .map((line) => line.replace(/^ {2}/, ''))
      .join('\n')
      .trim(),
    '```',
    '',
  ];
  const pattern =
    /<!--((?:(?!-->)[\s\S])*?)-->\s*<(interface|method|property|signal)\s([^>]*?)(\/?)>((?:(?!<\/\2>)[\s\S])*)/g;
  // An interface is followed by its members, so only its opening tag is taken.
  for (let match = pattern.exec(xml); match !== null; match = pattern.exec(xml)) {
    const [whole, comment = '', kind = '', attributes = '', isEmpty = '', inner = ''] = match;
    const name = /name="([^"]+)"/.exec(attributes)?.[1] ?? '';
    const body = isEmpty === '/' ? '' : inner;
    if (kind === 'interface' || isEmpty === '/')
      pattern.lastIndex = match.index + whole.length - inner.length;
    const part = partOf(comment);
    if (kind === 'interface') out.push(`# ${name.toUpperCase()}`, '');
    else out.push(`*${plain(headOf(kind, name, attributes, body))}*`, '');
    const indent = kind === 'interface' ? '' : '\t';
    for (const argument of part.arguments.filter(({ name: word }) => word !== 'short_description')) {
      out.push(`${indent}_${plain(argument.name)}_: ${plain(argument.text)}`, '');
    }
    for (const paragraph of part.text) out.push(`${indent}${plain(paragraph)}`, '');
  }
  out.push('# SEE ALSO', '', '*holdpointd*(8), *holdpoint*(1), *busctl*(1)', '');
  return out.join('\n');
}

const made = manPage(readFileSync(XML, 'utf8'));
if (!process.argv.includes('--check')) writeFileSync(PAGE, made);
else if (readFileSync(PAGE, 'utf8') !== made) {
  console.error(`${PAGE} is not what its XML says; run: npx tsx scripts/generate-interface-man.ts`);
  process.exitCode = 1;
}
