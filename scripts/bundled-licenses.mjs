/**
 * The copyright file of the Debian package: the text given as argument, with name and licence of each library that is in
 * the bundles, and the text of the licence. Run: node scripts/bundled-licenses.mjs packaging/debian/copyright
 */
import { readdir, readFile } from 'node:fs/promises';
import process from 'node:process';

const LOCK = JSON.parse(await readFile('package-lock.json', 'utf8'));
/** What is needed at run time, and everything below it; links are our own stubs. */
const paths = Object.entries(LOCK.packages)
  .filter(([path, { dev, link }]) => path.startsWith('node_modules/') && !dev && !link)
  .map(([path]) => path)
  .sort();

/** Text of a licence to the libraries that are under it: most of them share a few texts. */
const librariesUnder = new Map();
for (const path of paths) {
  const facts = JSON.parse(await readFile(`${path}/package.json`, 'utf8').catch(() => 'null'));
  if (facts === null) continue;
  const license = (typeof facts.license === 'string' ? facts.license : facts.license?.type) ?? 'see below';
  const file = (await readdir(path)).find((name) => /^(licen[cs]e|copying)/i.test(name));
  const text =
    file === undefined
      ? `(its package holds no text of the licence ${license})`
      : await readFile(`${path}/${file}`, 'utf8');
  // The one that every Debian system has is named only.
  const isCommon = /Apache License\s+Version 2\.0/.test(text);
  const key = isCommon ? 'See /usr/share/common-licenses/Apache-2.0.' : text.replaceAll('\r\n', '\n').trim();
  librariesUnder.set(key, [
    ...(librariesUnder.get(key) ?? []),
    `${facts.name} ${facts.version} (${license})`,
  ]);
}
const bundled = [...librariesUnder].map(
  ([text, names]) => `${names.join('\n')}\n\n${text.replaceAll(/^/gm, '    ')}`,
);
process.stdout.write(
  (await readFile(process.argv[2], 'utf8')).replace('@BUNDLED@', () => bundled.join('\n\n')),
);
