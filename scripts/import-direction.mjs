/**
 * Walks the import lines of src/ and fails when one points the wrong way: core <- ports <- app, and
 * core <- ports <- adapters <- main. Type imports count: a word borrowed from the wrong side is a dependency too.
 *
 *     node scripts/import-direction.mjs [ROOT]      ROOT: folder that holds src/, default the project's
 *
 * Exit 0 = right, 1 = wrong imports (one line each on stderr), 2 = it could not look.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * What adapters share: the process runner, for every one that starts programs; and connections over HTTP (trust,
 * proxies, why a link failed), for the API client and the download, which must not differ in whom they trust.
 */
const SHARED = 'adapters/system/process.ts';
const SHARED_HTTP = /^adapters\/http\//;
const HTTP_USERS = /^adapters\/(?:forwarder|server|source)\//;

/**
 * Who may import what inside src/, by the first match of the importing file's path. `own` = the folder the file is in
 * (for adapters: adapters/NAME). `packages`: npm packages; `node`: node:* modules; `typesOnly`: packages for types.
 */
const RULES = [
  { of: /^core\//, files: [/^core\//], node: false, packages: false },
  { of: /^ports\//, files: [/^core\//, /^ports\//], node: false, packages: false, typesOnly: ['rxjs'] },
  { of: /^app\//, files: [/^core\//, /^ports\//, /^app\//], node: true, packages: true },
  { of: HTTP_USERS, files: [/^core\//, /^ports\//, 'own', SHARED, SHARED_HTTP], node: true, packages: true },
  { of: /^adapters\/[^/]+\//, files: [/^core\//, /^ports\//, 'own', SHARED], node: true, packages: true },
  { of: /^config\//, files: [/^core\//, /^config\//], node: true, packages: true },
  // The command talks to the service over D-Bus; the flow itself is composed elsewhere.
  { of: /^cli\//, files: [/^(?!app\/|devserver\/|main\.ts$)/], node: true, packages: true },
  // A program of its own beside the service; it looks at artifacts, keeps its folder and logs as the service does.
  {
    of: /^devserver\//,
    files: [
      /^core\//,
      /^ports\//,
      /^devserver\//,
      /^adapters\/(?:artifact|store|log)\//,
      'adapters/system/lock.ts',
      'version.ts',
    ],
    node: true,
    packages: true,
  },
  // A program of its own, run by the rootfs-image module.
  { of: /^flash\//, files: [/^flash\//, 'version.ts'], node: true, packages: true },
  { of: /^[^/]+\.ts$/, files: [/^(?!devserver\/)/], node: true, packages: true },
];

/** Packages with a single home: everything else goes through it. */
const HOMES = { 'dbus-next': /^adapters\/dbus\// };

const STATEMENT = /^[ \t]*(import|export)\b([^;'"]*?)\bfrom\s*(['"])([^'"]+)\3/gm;
const BARE = /^[ \t]*import\s*(['"])([^'"]+)\1/gm;
const DYNAMIC = /\b(?:import|require)\(\s*(?:(['"])([^'"]*)\1\s*\)|([^)\s][^)]*))/g;

function filesIn(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesIn(path);
    return /\.[cm]?[jt]s$/.test(entry.name) ? [path] : [];
  });
}

/** Comments become blanks of the same number of lines, so that neither examples count nor line numbers move. */
function withoutComments(text) {
  // Strings are matched first and kept: one that holds a glob would otherwise begin a comment.
  return text.replace(
    /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[^]*?\*\/|\/\/[^\n]*/g,
    (part) => (part.startsWith('/') ? part.replace(/[^\n]/g, ' ') : part),
  );
}

function importsOf(text) {
  const code = withoutComments(text);
  const line = (index) => code.slice(0, index).split('\n').length;
  return [
    ...[...code.matchAll(STATEMENT)].map((match) => ({
      name: match[4],
      isType: /^\s*type\b/.test(match[2]),
      line: line(match.index),
    })),
    ...[...code.matchAll(BARE)].map((match) => ({ name: match[2], isType: false, line: line(match.index) })),
    ...[...code.matchAll(DYNAMIC)].map((match) => ({
      name: match[2],
      isType: false,
      line: line(match.index),
    })),
  ];
}

function packageOf(name) {
  const parts = name.split('/');
  return name.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
}

/** Why this import is wrong; null = it is right. `file` and results are paths below src/, with slashes. */
function objection(file, { name, isType }) {
  if (name === undefined) return 'an import whose name is computed cannot be checked';
  const rule = RULES.find(({ of }) => of.test(file));
  if (!rule) return 'the file lies in no known folder of src/: add a rule for it';
  if (name.startsWith('.')) {
    if (!/\.(ts|json|xml)$/.test(name)) return 'a relative import carries the extension .ts';
    const target = posix.normalize(posix.join(posix.dirname(file), name));
    if (target.startsWith('../')) return file.includes('/') ? 'it leaves src/' : null;
    const own = /^adapters\/[^/]+\//.exec(file)?.[0];
    const isAllowed = rule.files.some((one) => {
      if (one === 'own') return own !== undefined && target.startsWith(own);
      return typeof one === 'string' ? target === one : one.test(target);
    });
    return isAllowed ? null : `${file.split('/')[0]} must not import ${target}`;
  }
  if (name.startsWith('/') || name.startsWith('file:')) return 'an absolute path';
  if (name.startsWith('node:'))
    return rule.node ? null : `${file.split('/')[0]} must not import node modules`;
  if (builtinModules.includes(name)) return 'node modules are written with node:';
  const wanted = packageOf(name);
  const home = HOMES[wanted];
  if (home && !home.test(file)) return `${wanted} is used in one adapter only`;
  if (rule.packages || (isType && rule.typesOnly?.includes(wanted))) return null;
  return `${file.split('/')[0]} must not import packages`;
}

const root = resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), '..'));
const source = join(root, 'src');
let files;
try {
  files = filesIn(source);
} catch (error) {
  console.error(`import-direction: ${error.message}`);
  process.exit(2);
}
if (files.length === 0) {
  console.error(`import-direction: no files in ${source}`);
  process.exit(2);
}
let wrong = 0;
let count = 0;
for (const path of files.sort()) {
  const file = relative(source, path).split(sep).join('/');
  for (const one of importsOf(readFileSync(path, 'utf8'))) {
    count++;
    const why = objection(file, one);
    if (why === null) continue;
    wrong++;
    console.error(`src/${file}:${one.line}: ${one.name ?? 'import(…)'}: ${why}`);
  }
}
if (wrong > 0) process.exit(1);
console.log(`import-direction: ${count} imports in ${files.length} files, all in the right direction`);
