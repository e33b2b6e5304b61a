/**
 * Debian's `mender-client` package, unchanged: its update modules and its client. Downloaded once from the configured Debian
 * mirror and kept in a cache folder; nothing is installed.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface MenderClient {
  /** `/usr/share/mender/modules/v3` of the package. */
  readonly modulesDir: string;
  /** `/usr/bin/mender` of the package; needs libglib2.0-0, libssl3 and liblzma5. */
  readonly program: string;
  readonly version: string;
}

/** Resolves with null and the reason when the package cannot be had (no mirror, another distribution). */
export async function menderClient(): Promise<MenderClient | { readonly unavailable: string }> {
  const cache = join(tmpdir(), 'holdpoint-test-cache');
  const target = join(cache, 'mender-client');
  try {
    await access(join(target, 'usr/share/mender/modules/v3/single-file')).catch(async () => {
      await mkdir(cache, { recursive: true });
      const work = await mkdtemp(join(cache, 'fetch-'));
      try {
        await run('apt-get', ['download', 'mender-client'], { cwd: work, timeout: 60_000 });
        const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
        if (!archive) throw new Error('apt-get downloaded nothing');
        const tree = join(work, 'tree');
        await run('dpkg-deb', ['-R', join(work, archive), tree]);
        await rm(target, { recursive: true, force: true });
        await rename(tree, target);
      } finally {
        await rm(work, { recursive: true, force: true });
      }
    });
    const { stdout } = await run('sed', ['-n', 's/^Version: //p', join(target, 'DEBIAN/control')]);
    return {
      modulesDir: join(target, 'usr/share/mender/modules/v3'),
      program: join(target, 'usr/bin/mender'),
      version: stdout.trim(),
    };
  } catch (error) {
    return { unavailable: error instanceof Error ? error.message : String(error) };
  }
}
