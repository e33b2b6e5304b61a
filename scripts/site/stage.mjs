/**
 * Puts the sources of the site together: every Markdown document at its own path, manual pages as HTML, the diagram as a
 * picture, folders that are linked to as lists of their files, and files that are linked to as text. So one set of links
 * serves the sources and the site.
 *
 *     node scripts/site/stage.mjs TARGET
 */
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';

const [, , target = 'dist/site-source'] = process.argv;
const root = resolve(import.meta.dirname, '../..');
rmSync(target, { recursive: true, force: true });

const documents = [
  'README.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'examples/README.md',
  'packaging/yocto/README.md',
  ...readdirSync(join(root, 'docs'), { recursive: true })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];
/** Files and folders of the project, by their path there, to where they are in the site. */
const placed = new Map(documents.map((path) => [path, path.replace(/README\.md$/, 'index.md')]));

function write(path, text) {
  mkdirSync(dirname(join(target, path)), { recursive: true });
  writeFileSync(join(target, path), text);
}

/** Where a linked file or folder stands in the site; brings it there when it is no document. */
function place(path) {
  const known = placed.get(path);
  if (known !== undefined) return known;
  const source = join(root, path);
  if (!existsSync(source)) throw new Error(`there is no ${path}`);
  if (statSync(source).isDirectory()) {
    const at = placed.get(`${path}/README.md`) ?? `${path}/index.md`;
    placed.set(path, at);
    if (!placed.has(`${path}/README.md`)) write(at, listOf(path, at));
    return at;
  }
  if (path.endsWith('.scd')) {
    const at = path.replace(/\.scd$/, '.md');
    placed.set(path, at);
    const page = execFileSync('scdoc', { input: readFileSync(source) });
    const html = execFileSync('mandoc', ['-T', 'html', '-O', 'fragment'], { input: page }).toString();
    // One element for the Markdown around it, which takes a blank line for its end.
    write(at, `# ${basename(path, '.scd')}\n\n<div>\n${html.replaceAll(/\n\s*\n/g, '\n')}</div>\n`);
    return at;
  }
  const isPicture = extname(path) === '.png';
  const at = isPicture ? path : `${path}.txt`;
  placed.set(path, at);
  mkdirSync(dirname(join(target, at)), { recursive: true });
  copyFileSync(source, join(target, at));
  return at;
}

function listOf(folder, at) {
  const rows = readdirSync(join(root, folder))
    .sort()
    .map(
      (name) =>
        `- [${titleOf(join(folder, name)) ?? name}](${relative(dirname(at), place(join(folder, name)))})`,
    );
  return `# ${basename(folder)}\n\n${rows.join('\n')}\n`;
}

function titleOf(path) {
  return path.endsWith('.md') ? /^# (.*)$/m.exec(readFileSync(join(root, path), 'utf8'))?.[1] : undefined;
}

/** A state diagram of Mermaid as a picture. Knows what generate-flow-docs.ts writes, and refuses anything else. */
function pictureOf(diagram) {
  const lines = diagram
    .split('\n')
    .slice(1)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  let clusters = 0;
  const dot = lines.map((line) => {
    const arrow = /^(\S+) --> (\S+?)(?:: ?| : )?(.*)$/.exec(line);
    if (arrow) {
      const [from, to] = [arrow[1], arrow[2]].map((name) => (name === '[*]' ? 'start' : name));
      return `"${from}" -> "${to}" [label="${arrow[3].replaceAll('<br/>', '\\n').replaceAll('"', "'")}"];`;
    }
    const state = /^state (\w+) \{$/.exec(line);
    if (state) return `subgraph cluster${clusters++} { label="${state[1]}";`;
    if (line === '}') return '}';
    if (/^\w+$/.test(line)) return `"${line}";`;
    throw new Error(`the diagram has a line that is not understood: ${line}`);
  });
  const style =
    'node [shape=box style=rounded fontname="sans-serif" fontsize=10]; edge [fontname="sans-serif" fontsize=8];';
  const text = `digraph { rankdir=LR; fontname="sans-serif"; ${style} start [shape=point label=""];\n${dot.join('\n')}\n}`;
  return execFileSync('dot', ['-Tsvg'], { input: text }).toString();
}

for (const path of documents) {
  const at = placed.get(path);
  let diagrams = 0;
  const parts = readFileSync(join(root, path), 'utf8').split(/^(```.*?^```$)/ms);
  const text = parts.map((part, index) => {
    if (index % 2 === 1) {
      const diagram = /^```mermaid\n(.*)^```$/ms.exec(part)?.[1];
      if (diagram === undefined) return part;
      const picture = `${at.replace(/\.md$/, '')}-${++diagrams}.svg`;
      write(picture, pictureOf(diagram));
      return `[![The states and how they follow each other](${basename(picture)})](${basename(picture)})`;
    }
    return part.replaceAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g, (whole, link, anchor = '') => {
      if (/^[a-z]+:/.test(link)) return whole;
      const to = place(relative(root, resolve(root, dirname(path), link)));
      return `](${relative(dirname(at), to)}${anchor})`;
    });
  });
  write(at, text.join(''));
}
