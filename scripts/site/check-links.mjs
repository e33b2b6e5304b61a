/**
 * Every link and picture of a built site leads to a file of it, and to an anchor that is there; and nothing is fetched from
 * elsewhere. Prints what is dead and exits with 1.
 *
 *     node scripts/site/check-links.mjs FOLDER
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

const [, , site = 'dist/site'] = process.argv;
const pages = readdirSync(site, { recursive: true }).filter(
  (name) => name.endsWith('.html') && name !== '404.html',
);
const anchors = new Map();
const dead = [];
let count = 0;

function anchorsOf(path) {
  if (!anchors.has(path))
    anchors.set(
      path,
      new Set([...readFileSync(path, 'utf8').matchAll(/\s(?:id|name)="([^"]*)"/g)].map(([, id]) => id)),
    );
  return anchors.get(path);
}

for (const page of pages) {
  const text = readFileSync(join(site, page), 'utf8');
  for (const [, tag, rest] of text.matchAll(/<(a|img|script|link)\s([^>]*)>/g)) {
    const url = /(?:href|src)="([^"]*)"/.exec(rest)?.[1]?.replaceAll('&amp;', '&');
    if (url === undefined || url === '' || url === '#') continue;
    count += 1;
    if (/^[a-z]+:/.test(url)) {
      if (tag !== 'a') dead.push(`${page}: fetches ${url}`);
      continue;
    }
    const [path = '', anchor = ''] = url.split('#');
    let file =
      path === ''
        ? join(site, page)
        : resolve(join(site, dirname(page)), decodeURIComponent(path.split('?')[0]));
    if (existsSync(file) && statSync(file).isDirectory()) file = join(file, 'index.html');
    if (!existsSync(file)) dead.push(`${page}: ${url} leads nowhere`);
    else if (anchor !== '' && file.endsWith('.html') && !anchorsOf(file).has(decodeURIComponent(anchor)))
      dead.push(`${page}: ${url}: there is no such place`);
  }
}
if (pages.length === 0 || count === 0) dead.push('there is no site');
for (const line of dead) console.error(line);
console.log(`${pages.length} pages, ${count} links, ${dead.length} dead`);
process.exit(dead.length === 0 ? 0 : 1);
