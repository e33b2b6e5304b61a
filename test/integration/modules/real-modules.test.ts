import { execFileSync } from 'node:child_process';
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { menderClient } from '../../support/mender-client.ts';
import { artifact, device, file, makeBench, never, payload, removeBenches, type Bench } from './support.ts';

const client = await menderClient();
if ('unavailable' in client) console.warn(`mender-client cannot be had: ${client.unavailable}`);
else console.info(`modules of mender-client ${client.version}`);

let bench: Bench;
beforeEach(async () => {
  if ('unavailable' in client) throw new Error(client.unavailable);
  bench = await makeBench({ modulesDir: client.modulesDir });
});
afterEach(removeBenches);

async function download(type: string, metaData: unknown, files: Record<string, Uint8Array | string>) {
  await bench.modules.requireModule(type);
  await bench.modules.prepareTree(
    artifact({ payloadType: type, metaDataJson: metaData === null ? null : JSON.stringify(metaData) }),
    device,
  );
  await bench.modules.download(
    type,
    payload(Object.entries(files).map(([name, content]) => file(name, [content]))),
    never,
  );
}

describe("Mender's own modules of the Debian package, unchanged", () => {
  async function singleFile(target: string): Promise<void> {
    await download('single-file', null, {
      dest_dir: `${target}\n`,
      filename: 'app.conf\n',
      permissions: '640\n',
      'app.conf': 'new',
    });
  }

  it('single-file installs, commits and cleans up', async () => {
    const target = join(bench.root, 'etc');
    await singleFile(target);
    expect((await readdir(join(bench.treeDir, 'files'))).sort()).toEqual([
      'app.conf',
      'dest_dir',
      'filename',
      'permissions',
    ]);
    await bench.modules.run('single-file', 'ArtifactInstall', never);
    expect(await bench.modules.needsReboot('single-file', never)).toBe('No');
    expect(await bench.modules.supportsRollback('single-file', never)).toBe(true);
    await bench.modules.run('single-file', 'ArtifactCommit', never);
    await bench.modules.run('single-file', 'Cleanup', never);
    await bench.modules.removeTree();
    expect(await readFile(join(target, 'app.conf'), 'utf8')).toBe('new');
    expect((await stat(join(target, 'app.conf'))).mode & 0o777).toBe(0o640);
  });

  it('single-file rolls back to the old file', async () => {
    const target = join(bench.root, 'etc');
    await mkdir(target);
    await writeFile(join(target, 'app.conf'), 'old');
    await singleFile(target);
    await bench.modules.run('single-file', 'ArtifactInstall', never);
    expect(await readFile(join(target, 'app.conf'), 'utf8')).toBe('new');
    await bench.modules.run('single-file', 'ArtifactRollback', never);
    await bench.modules.run('single-file', 'ArtifactFailure', never);
    expect(await readFile(join(target, 'app.conf'), 'utf8')).toBe('old');
  });

  it('directory replaces a folder and rolls it back', async () => {
    const target = join(bench.root, 'srv');
    const source = join(bench.root, 'source');
    await mkdir(target);
    await mkdir(source);
    await writeFile(join(target, 'old-file'), 'old');
    await writeFile(join(source, 'new-file'), 'new');
    execFileSync('tar', ['-cf', join(bench.root, 'update.tar'), '-C', source, '.']);
    await download('directory', null, {
      dest_dir: `${target}\n`,
      'update.tar': await readFile(join(bench.root, 'update.tar')),
    });
    await bench.modules.run('directory', 'ArtifactInstall', never);
    expect(await readdir(target)).toEqual(['new-file']);
    await bench.modules.run('directory', 'ArtifactRollback', never);
    expect(await readdir(target)).toEqual(['old-file']);
    await bench.modules.run('directory', 'Cleanup', never);
  });

  it('script runs its scripts, and a failing one fails ArtifactInstall', async () => {
    const trace = join(bench.root, 'trace');
    await download('script', null, { '01-first': `#!/bin/sh\necho ran >> ${trace}\n` });
    await bench.modules.run('script', 'ArtifactInstall', never);
    expect(await readFile(trace, 'utf8')).toBe('ran\n');
    expect(await bench.modules.supportsRollback('script', never)).toBe(false);
    await download('script', null, { bad: '#!/bin/sh\necho broken >&2\nexit 7\n' });
    await expect(bench.modules.run('script', 'ArtifactInstall', never)).rejects.toMatchObject({
      kind: 'module',
    });
    expect(bench.deploymentLog.messages).toContain('Update Module output (stderr): broken');
  });

  it('deb installs a package through dpkg', async () => {
    const name = `holdpoint-test-${process.pid}`;
    const installed = join('/opt', name);
    const build = join(bench.root, 'deb');
    await mkdir(join(build, 'DEBIAN'), { recursive: true });
    await mkdir(join(build, installed), { recursive: true });
    await chmod(join(build, 'DEBIAN'), 0o755);
    await writeFile(
      join(build, 'DEBIAN/control'),
      `Package: ${name}\nVersion: 1\nArchitecture: all\nMaintainer: tests <tests@example.org>\nDescription: holdpoint test\n`,
    );
    await writeFile(join(build, installed, 'file'), 'from the package');
    execFileSync('dpkg-deb', ['--root-owner-group', '-b', build, join(bench.root, 'p.deb')], {
      stdio: 'ignore',
    });
    try {
      await download('deb', null, { 'p.deb': await readFile(join(bench.root, 'p.deb')) });
      await bench.modules.run('deb', 'ArtifactInstall', never);
      expect(await readFile(join(installed, 'file'), 'utf8')).toBe('from the package');
    } finally {
      execFileSync('dpkg', ['--purge', name], { stdio: 'ignore' });
      await rm(installed, { recursive: true, force: true });
    }
  });
});
