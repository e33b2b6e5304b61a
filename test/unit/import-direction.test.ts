import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const PROJECT = fileURLToPath(new URL('../../', import.meta.url));
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-imports-'));
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function check(where: string): { readonly status: number | null; readonly errors: string } {
  const { status, stderr } = spawnSync(process.execPath, [
    join(PROJECT, 'scripts/import-direction.mjs'),
    where,
  ]);
  return { status, errors: stderr.toString() };
}

async function plant(file: string, text: string): Promise<void> {
  const path = join(root, 'src', file);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

describe('the import direction', () => {
  it('is right in this project', () => {
    expect(check(PROJECT)).toEqual({ status: 0, errors: '' });
  });

  const wrong: Readonly<Record<string, readonly [string, string]>> = {
    'core importing a node module': ['core/planted.ts', "import { join } from 'node:path';"],
    'core importing a package, even for a type': [
      'core/planted.ts',
      "import type { Observable } from 'rxjs';",
    ],
    'core importing a port': ['core/planted.ts', "import type { Clock } from '../ports/clock.ts';"],
    'a port importing a package for its code': ['ports/planted.ts', "import { timer } from 'rxjs';"],
    'a port importing an adapter': ['ports/planted.ts', "import type { A } from '../adapters/a/b.ts';"],
    'app importing an adapter': [
      'app/planted.ts',
      "import {\n  FileStore,\n} from '../adapters/store/file-store.ts';",
    ],
    'an adapter importing another one': ['adapters/store/planted.ts', "export * from '../system/lock.ts';"],
    'an adapter importing app': [
      'adapters/store/planted.ts',
      "const later = await import('../../app/machine.ts');",
    ],
    'config importing a port': ['config/planted.ts', "import type { Clock } from '../ports/clock.ts';"],
    'the command importing app': ['cli/planted.ts', "import { run } from '../app/machine.ts';"],
    'somebody else using the D-Bus library': [
      'adapters/server/planted.ts',
      "import dbus from 'dbus-next/lib/message.js';",
    ],
    'a computed import': ['app/planted.ts', 'const name = "x"; await import(name);'],
    'an import without its extension': ['app/planted.ts', "import { a } from './machine';"],
    'a node module without its prefix': ['config/planted.ts', "import { join } from 'path';"],
    'a folder without a rule': ['utils/planted.ts', "import { a } from '../core/errors.ts';"],
    'an import after a string that looks like the start of a comment': [
      'app/planted.ts',
      "const any = '*/*'; export const later = import('../adapters/store/file-store.ts'); /* end */",
    ],
    'an import for its effect': ['core/planted.ts', "import '../adapters/store/file-store.ts';"],
  };
  for (const [name, [file, text]] of Object.entries(wrong)) {
    it(`is refused with ${name}`, async () => {
      await cp(join(PROJECT, 'src'), join(root, 'src'), { recursive: true });
      await plant(file, `// first line\n${text}\n`);
      const { status, errors } = check(root);
      expect(status).toBe(1);
      expect(errors.trim().split('\n')).toHaveLength(1);
      expect(errors).toContain(`src/${file}:2: `);
    });
  }

  it('may go where it should, and comments do not count', async () => {
    await plant(
      'core/a.ts',
      "/**\n * import { x } from 'node:fs';\n */\n// import 'rxjs';\nexport const a = 1; // from 'rxjs'\n",
    );
    await plant('ports/b.ts', "import type { Observable } from 'rxjs';\nimport { a } from '../core/a.ts';\n");
    await plant(
      'adapters/modules/c.ts',
      "import { run } from '../system/process.ts';\nimport { d } from './deep/d.ts';\n",
    );
    await plant('adapters/modules/deep/d.ts', "import { a } from '../../../core/a.ts';\nimport 'undici';\n");
    await plant('adapters/dbus/e.ts', "import dbus from 'dbus-next';\n");
    await plant('main.ts', "import './app/machine.ts';\nimport { c } from './adapters/modules/c.ts';\n");
    expect(check(root)).toEqual({ status: 0, errors: '' });
  });

  it('is not called right where there is nothing to look at', () => {
    expect(check(root).status).toBe(2);
  });
});
