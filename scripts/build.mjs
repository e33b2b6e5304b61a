/**
 * `npm run build`: bundles the service, the command and the development server into one file each, run by plain node without node_modules.
 * CommonJS, because a bundle of the bus library needs `require` for Node's own modules.
 *
 *     node scripts/build.mjs [--outdir FOLDER] [--entry FILE] [NAME]…      default: dist, and all of them
 *
 * With --entry, the one NAME is built from FILE instead: a test's own start of it.
 */
import { build } from 'esbuild';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'));
const root = new URL('..', import.meta.url).pathname;

/** Files that the sources read from beside themselves become part of the bundle. */
const inlineFiles = {
  name: 'inline-files',
  setup({ onLoad }) {
    onLoad({ filter: /src\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      if (!source.includes('import.meta.url')) return undefined;
      const pattern = /readFileSync\(new URL\('([^']+)', import\.meta\.url\), 'utf8'\)/g;
      const texts = new Map();
      for (const [, name] of source.matchAll(pattern)) {
        texts.set(name, JSON.stringify(await readFile(resolve(dirname(path), name), 'utf8')));
      }
      const contents = source.replaceAll(pattern, (_, name) => texts.get(name));
      if (contents.includes('import.meta.url')) {
        return { errors: [{ text: 'import.meta.url is used in a way that cannot be bundled' }] };
      }
      return { contents, loader: 'ts' };
    });
  },
};

const ENTRIES = {
  holdpointd: 'src/main.ts',
  holdpoint: 'src/cli/main.ts',
  'holdpoint-server': 'src/devserver/main.ts',
  'holdpoint-flash': 'src/flash/main.ts',
};
const { values: options, positionals: wanted } = parseArgs({
  options: { outdir: { type: 'string', default: `${root}dist` }, entry: { type: 'string' } },
  allowPositionals: true,
});
const outdir = resolve(options.outdir);
for (const name of wanted) {
  if (!Object.hasOwn(ENTRIES, name))
    throw new Error(`${name}: expected one of ${Object.keys(ENTRIES).join(', ')}`);
}

if (options.entry !== undefined) {
  if (wanted.length !== 1) throw new Error('--entry: expected one name to build it as');
  ENTRIES[wanted[0]] = options.entry;
}

await mkdir(outdir, { recursive: true });
await writeFile(`${outdir}/package.json`, '{ "type": "commonjs" }\n');
for (const [name, entry] of Object.entries(ENTRIES)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  await build({
    absWorkingDir: root,
    entryPoints: [entry],
    outfile: `${outdir}/${name}.js`,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    // Not the names: errors are told apart by those of their classes.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    banner: { js: '#!/usr/bin/env node' },
    define: {
      HOLDPOINT_VERSION: JSON.stringify(version),
      HOLDPOINT_BUILT_MS: String(
        Number(process.env.SOURCE_DATE_EPOCH ?? Math.floor(Date.now() / 1000)) * 1000,
      ),
    },
    plugins: [inlineFiles],
    // As modules, of which only what is used gets in; for Node it would be the whole library as one block. Of undici: what we use.
    alias: {
      rxjs: `${root}node_modules/rxjs/dist/esm/index.js`,
      undici: `${root}scripts/bundled-undici.cjs`,
    },
    // Stubs that must never be loaded stay outside, so that loading one fails loudly.
    external: ['usocket', 'event-stream', 'x11'],
    logLevel: 'warning',
  });
  await chmod(`${outdir}/${name}.js`, 0o755);
}
