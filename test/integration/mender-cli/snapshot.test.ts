import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { PassThrough, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { copyDevice } from '../../../src/cli/mender/snapshot/copy.ts';
import { mountPointOf } from '../../../src/cli/mender/snapshot/source.ts';
import { eventually } from '../../support/eventually.ts';
import { menderLinks, Twin, whyNoTwins } from './twins.ts';

vi.setConfig({ testTimeout: 300_000 });

/** `snapshot dump` of a real file system on a loop device, beside Debian's `mender`. */
const run = promisify(execFile);
let folder: string;
let device = '';
let mountPoint: string;
let reason = await whyNoTwins();
if (reason === null) {
  reason = await run('losetup', ['-f']).then(
    () => null,
    (error: unknown) => `there are no loop devices: ${String(error)}`,
  );
}
if (reason !== null) console.warn(`snapshots cannot be taken here: ${reason}`);

beforeAll(async () => {
  if (reason !== null) return;
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-snapshot-'));
  mountPoint = join(folder, 'mounted');
  await mkdir(mountPoint);
  await run('truncate', ['-s', '8M', join(folder, 'image')]);
  await run('mkfs.ext4', ['-q', join(folder, 'image')]);
  device = (await run('losetup', ['-f', '--show', join(folder, 'image')])).stdout.trim();
  await run('mount', [device, mountPoint]);
  await writeFile(join(mountPoint, 'file'), 'in the image');
});
afterAll(async () => {
  if (reason !== null) return;
  await run('umount', [mountPoint]);
  await run('losetup', ['-d', device]);
  await rm(folder, { recursive: true, force: true });
});

/** The original finds devices below /dev/block, which udev makes: here in a /dev of its own. */
const withDevBlock = (twin: Twin): string => {
  const dev = twin.at('dev');
  const numbers = '$(stat -c %Hr:%Lr "$DEVICE" 2>/dev/null)';
  return [
    `DEVICE='${device}'`,
    `mkdir -p '${dev}/block' && cp -a /dev/null /dev/zero /dev/urandom "$DEVICE" '${dev}/'`,
    `ln -sf '../${basename(device)}' "${dev}/block/${numbers}"`,
    `mount --bind '${dev}' /dev || exit 99`,
  ].join('\n');
};

async function isWritable(): Promise<boolean> {
  return run('touch', [join(mountPoint, 'touched')], { timeout: 10_000 }).then(
    () => true,
    () => false,
  );
}

/** Sound, and with the file in it. */
async function judge(image: string): Promise<readonly unknown[]> {
  const { stdout } = await run('debugfs', ['-R', 'cat /file', image]);
  const checked = await run('e2fsck', ['-fn', image]).then(
    () => 'sound',
    (error: unknown) => String(error),
  );
  return [stdout, checked];
}

describe.skipIf(reason !== null)('mender snapshot dump', () => {
  it('makes the image that mender 3.4 makes, and compresses it', async () => {
    const [original, ours] = await Promise.all([Twin.original(), Twin.ours()]);
    try {
      const into = (name: string): string => `exec > '${join(folder, name)}'`;
      const args = ['snapshot', 'dump', '--source', mountPoint];
      const theirs = await original.run(args, {}, `${withDevBlock(original)}\n${into('theirs')}`);
      const mine = await ours.run(args, {}, into('ours'));
      expect([mine.status, mine.stdout]).toEqual([theirs.status, theirs.stdout]);
      expect(mine.status).toBe(0);
      expect(await judge(join(folder, 'ours'))).toEqual(await judge(join(folder, 'theirs')));
      expect(await judge(join(folder, 'ours'))).toEqual(['in the image', 'sound']);

      const packed = await ours.run(
        [...args.slice(0, 2), '-q', '-C', 'gzip', '--source', device],
        {},
        into('gz'),
      );
      expect(packed).toMatchObject({ status: 0, stderr: '' });
      await run('sh', ['-c', 'gunzip -c "$0" > "$1"', join(folder, 'gz'), join(folder, 'ours')]);
      expect(await judge(join(folder, 'ours'))).toEqual(['in the image', 'sound']);
      expect(await isWritable()).toBe(true);
    } finally {
      await Promise.all([original.remove(), ours.remove()]);
    }
  });

  it('refuses what has no image, as mender 3.4 does', async () => {
    const [original, ours] = await Promise.all([Twin.original(), Twin.ours()]);
    try {
      for (const more of [
        ['--source', '/proc'],
        ['--source', '/nonexistent'],
        ['--source', join(folder, 'image')],
        ['--source', device, '-C', 'lzma'],
        ['--source', '%D'],
      ]) {
        const args = ['snapshot', 'dump', ...more];
        const theirs = await original.run(args, {}, withDevBlock(original));
        const mine = await ours.run(args);
        expect([mine.status, mine.stdout], more.join(' ')).toEqual([theirs.status, theirs.stdout]);
        expect(mine.stderr).toMatch(/^mender: taking a snapshot: [^\n]+\n$/);
      }
      // Into the file system itself: the original would wait for it to be thawed.
      const self = await ours.run(
        ['snapshot', 'dump', '--source', mountPoint],
        {},
        `exec > '${join(mountPoint, 'self')}'`,
      );
      expect(self.status).toBe(1);
      expect(self.stderr).toMatch(/the output lies on the file system the snapshot is taken of\n$/);
    } finally {
      await Promise.all([original.remove(), ours.remove()]);
    }
  });

  it.each([
    ['killed', 'SIGKILL', null],
    ['interrupted', 'SIGINT', 130],
  ] as const)('leaves nothing frozen when it is %s while nobody reads', async (_, signal, status) => {
    const ours = await Twin.ours();
    try {
      const program = join(await menderLinks(), 'mender');
      const command = [program, '-d', ours.at('elsewhere'), 'snapshot', 'dump', '-q', '--source', mountPoint];
      // A datastore that is not on a device of the test, and a pipe that is never read.
      await mkdir(ours.at('elsewhere'));
      const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'pipe'] });
      // Copied is what stands still already. To ask before that would be to freeze it in the command's place.
      await once(child.stdout, 'readable');
      expect(await isFrozen()).toBe(true);
      child.kill(signal);
      // The pipe stays open, so `close` does not come.
      const [code] = (await once(child, 'exit')) as [number | null];
      expect(code).toBe(status);
      await eventually('it goes on', async () => !(await isFrozen()), 30_000);
      expect(await isWritable()).toBe(true);
      child.stdout.destroy();
    } finally {
      await ours.remove();
    }
  });
});

/** Asked with a try to freeze: it says "busy" where that has been done. */
async function isFrozen(): Promise<boolean> {
  const asked = await run('fsfreeze', ['--freeze', mountPoint], { timeout: 10_000 }).then(
    () => 'not',
    (error: { readonly stderr?: string }) => error.stderr ?? '',
  );
  if (asked === 'not') await run('fsfreeze', ['--unfreeze', mountPoint]);
  return /busy/i.test(asked);
}

describe('copying', () => {
  let copies: string;
  beforeAll(async () => {
    copies = await mkdtemp(join(tmpdir(), 'holdpoint-copy-'));
  });
  afterAll(() => rm(copies, { recursive: true, force: true }));

  it('gives up when nobody takes the output', async () => {
    const source = join(copies, 'zeros');
    await writeFile(source, Buffer.alloc(4 * 1024 * 1024));
    // Takes one piece and never says that it is done with it.
    const stalled = new Writable({ highWaterMark: 1, write() {} });
    const order = { device: source, compression: 'none', stallLimitMs: 200, onBytes: () => {} } as const;
    const failure: unknown = await copyDevice(
      { ...order, output: { stream: stalled, isOurs: true } },
      new AbortController().signal,
    ).catch((error: unknown) => error);
    expect(failure).toMatchObject({ kind: 'timeout' });
  });

  it('says how much has been copied, and copies all of it', async () => {
    const source = join(copies, 'source');
    const bytes = Buffer.alloc(3 * 1024 * 1024 + 7, 'x');
    await writeFile(source, bytes);
    const out = new PassThrough();
    const chunks: Buffer[] = [];
    out.on('data', (chunk: Buffer) => chunks.push(chunk));
    const seen: number[] = [];
    await copyDevice(
      {
        device: source,
        compression: 'none',
        stallLimitMs: 60_000,
        onBytes: (count) => seen.push(count),
        output: { stream: out, isOurs: true },
      },
      new AbortController().signal,
    );
    expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
    expect(seen.at(-1)).toBe(bytes.length);
  });

  it('finds where a device is mounted, whatever its folder is called', () => {
    const line = '36 35 7:0 / /mnt/a\\040b rw,noatime - ext4 /dev/loop0 rw';
    expect(mountPointOf(`22 1 0:21 / /proc rw - proc proc rw\n${line}\n`, '7:0')).toBe('/mnt/a b');
    expect(mountPointOf(line, '8:1')).toBeNull();
  });
});
