/** The Debian package as a file: it needs no machine. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const DEB = resolve('dist/holdpoint_0.1.0-1_all.deb');

describe('the package', () => {
  it('is made of the same bytes every time', async () => {
    const before = await readFile(DEB);
    await run('npm', ['run', '--silent', 'package'], { maxBuffer: 1 << 24 });
    expect((await readFile(DEB)).equals(before)).toBe(true);
  });

  it('has nothing that lintian complains of', async () => {
    const { stdout } = await run('lintian', ['--allow-root', '--display-info', '--fail-on', 'none', DEB]);
    expect(stdout.split('\n').filter((line) => /^[EW]:/.test(line))).toEqual([]);
  });
});
