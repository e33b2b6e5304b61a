/**
 * Two root partitions, each a loop device of its own (its number is the partition's), a boot loader's environment as the real tools keep it, and the part
 * of the boot loader: which partition a boot takes, with boot limit 1. `fw_setenv` and `fw_printenv` are libubootenv's on
 * environment files, kept twice; GRUB's environment is written by our scripts, and as GRUB does it by `grub-editenv`.
 */
import { execFile } from 'node:child_process';
import { chmod, cp, mkdir, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { builtCommand } from './command.ts';
import type { Device } from './device.ts';
import { DEVICE_TYPE } from './device.ts';

const run = promisify(execFile);
const SLOT_MIB = 8;
export const SLOT_BYTES = SLOT_MIB * 1024 * 1024;

export type Loader = 'U-Boot' | 'GRUB';
export type SlotName = 'A' | 'B';

export interface AbDisk {
  readonly partition: Readonly<Record<SlotName, string>>;
  /** For PATH: the tools of this boot loader, and holdpoint-flash. */
  readonly programs: string;
  /** The variables that name this slot to the boot loader. */
  bootVariables(slot: SlotName): Variables;
  variable(name: string): Promise<string>;
  setVariables(values: Variables): Promise<void>;
  /** What the boot loader does at a start: counts, perhaps goes back, and says which partition runs. */
  boot(): Promise<SlotName>;
  /** The version that the file system on a slot says it is; '' = none that can be read. */
  versionOn(slot: SlotName): Promise<string>;
  /** A real artifact with a root file system of that version. */
  makeArtifact(version: string, scripts?: Readonly<Record<string, string>>): Promise<string>;
  dispose(): Promise<void>;
}

/** Slot A holds `original`, slot B nothing, A is booted and nothing is on trial. Needs root. */
export async function makeAbDisk(device: Device, loader: Loader): Promise<AbDisk> {
  const folder = join(device.folder, 'disk');
  const programs = join(folder, 'programs');
  await mkdir(programs, { recursive: true });
  const slots = { A: await attach(join(folder, 'slot-a.img')), B: await attach(join(folder, 'slot-b.img')) };
  const start = { ...bootOf(slots.A), upgrade_available: '0', bootcount: '0' };
  const env =
    loader === 'GRUB'
      ? await grubEnvironment(folder, programs, start)
      : await uBootEnvironment(folder, programs, start);
  await program(
    join(programs, 'holdpoint-flash'),
    `exec '${process.execPath}' '${await builtCommand('holdpoint-flash')}' "$@"`,
  );
  await run('dd', [`if=${await rootImage(folder, 'original')}`, `of=${slots.A}`, 'bs=1M', 'conv=fsync']);
  await cp(resolve('packaging/modules/rootfs-image'), join(device.share, 'modules/v3/rootfs-image'));

  const variable = async (name: string): Promise<string> =>
    /^[^=]+=(.*)/.exec((await run(env.print, [name])).stdout)?.[1] ?? '';
  const next = async (): Promise<SlotName> => {
    const number = await variable('mender_boot_part');
    for (const slot of ['A', 'B'] as const) if (numberOf(slots[slot]) === number) return slot;
    throw new Error(`mender_boot_part is "${number}"`);
  };
  return {
    partition: slots,
    programs,
    bootVariables: (slot) => bootOf(slots[slot]),
    variable,
    setVariables: (values) => env.setAsBootLoader(values),
    boot: async () => {
      const slot = await next();
      if ((await variable('upgrade_available')) !== '1') return slot;
      if ((await variable('bootcount')) === '0') {
        await env.setAsBootLoader({ bootcount: '1' });
        return slot;
      }
      const other = slot === 'A' ? 'B' : 'A';
      await env.setAsBootLoader({ ...bootOf(slots[other]), upgrade_available: '0', bootcount: '0' });
      return other;
    },
    versionOn: async (slot) => (await run('debugfs', ['-R', 'cat /version', slots[slot]])).stdout.trim(),
    makeArtifact: (version, scripts = {}) => rootfsArtifact(folder, version, scripts),
    dispose: async () => {
      for (const device of Object.values(slots)) await run('losetup', ['--detach', device]);
    },
  };
}

async function attach(image: string): Promise<string> {
  await writeFile(image, '');
  await truncate(image, SLOT_BYTES);
  const { stdout } = await run('losetup', ['--find', '--show', image]);
  return stdout.trim();
}

function numberOf(device: string): string {
  return /\d+$/.exec(device)?.[0] ?? '';
}

function bootOf(device: string): Record<'mender_boot_part' | 'mender_boot_part_hex', string> {
  const number = numberOf(device);
  return { mender_boot_part: number, mender_boot_part_hex: Number(number).toString(16) };
}

/** What the service needs of a root file system here: a place to mount each folder of the host at. */
async function rootImage(folder: string, version: string): Promise<string> {
  const tree = join(folder, `tree-${version}`);
  const image = join(folder, `${version}.ext4`);
  for (const entry of await readdir('/', { withFileTypes: true })) {
    if (entry.isDirectory()) await mkdir(join(tree, entry.name), { recursive: true });
    // bin, lib, sbin are links into usr.
    if (entry.isSymbolicLink())
      await cp(join('/', entry.name), join(tree, entry.name), { verbatimSymlinks: true });
  }
  await writeFile(join(tree, 'version'), `${version}\n`);
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', tree, image, `${SLOT_MIB - 2}M`]);
  await rm(tree, { recursive: true });
  return image;
}

async function rootfsArtifact(
  folder: string,
  version: string,
  scripts: Readonly<Record<string, string>>,
): Promise<string> {
  const path = join(folder, `${version}.mender`);
  const options: string[] = [];
  for (const [name, text] of Object.entries(scripts)) {
    await program(join(folder, name), text);
    options.push('-s', join(folder, name));
  }
  const image = await rootImage(folder, version);
  const names = ['-n', version, '-t', DEVICE_TYPE, '-f', image, '-o', path];
  await run('mender-artifact', ['write', 'rootfs-image', ...names, ...options]);
  return path;
}

interface Environment {
  readonly print: string;
  setAsBootLoader(values: Variables): Promise<void>;
}

type Variables = Readonly<Record<string, string>>;

const asLines = (variables: Variables): readonly string[] =>
  Object.entries(variables).map(([name, value]) => `${name}=${value}`);

async function uBootEnvironment(folder: string, programs: string, start: Variables): Promise<Environment> {
  const config = join(folder, 'fw_env.config');
  const files = ['uboot1.env', 'uboot2.env'].map((name) => join(folder, name));
  for (const file of files) await writeFile(file, Buffer.alloc(0x2000));
  await writeFile(config, files.map((file) => `${file} 0x0 0x2000\n`).join(''));
  await writeFile(join(folder, 'default.env'), 'bootcount=0\n');
  for (const name of ['fw_printenv', 'fw_setenv']) {
    await program(join(programs, name), `exec /usr/bin/${name} -c '${config}' "$@"`);
  }
  await feed(
    '/usr/bin/fw_setenv',
    ['-c', config, '-f', join(folder, 'default.env'), '-s', '-'],
    asLines(start),
  );
  return {
    print: join(programs, 'fw_printenv'),
    setAsBootLoader: (values) => feed(join(programs, 'fw_setenv'), ['-s', '-'], asLines(values)),
  };
}

/** As the system is made with: both copies whole, each 1024 bytes, with room behind the text. */
async function grubEnvironment(folder: string, programs: string, start: Variables): Promise<Environment> {
  const copies = [1, 2].map((copy) => join(folder, `mender_grubenv${copy}`, 'env'));
  const lines = ['# GRUB Environment Block', 'mender_env_begin=0', ...asLines(start), 'mender_env_end=0', ''];
  for (const path of copies) {
    await mkdir(join(path, '..'));
    await writeFile(path, lines.join('\n').padEnd(1024, '#'));
  }
  const config = join(folder, 'mender_grubenv.config');
  await writeFile(config, `ENV_DIR='${folder}'\n`);
  for (const name of ['grub-mender-grubenv-print', 'grub-mender-grubenv-set']) {
    const script = resolve('packaging/grub', name);
    await program(join(programs, name), `MENDER_GRUBENV_CONFIG='${config}' exec '${script}' "$@"`);
  }
  return {
    print: join(programs, 'grub-mender-grubenv-print'),
    setAsBootLoader: async (values) => {
      for (const path of copies) await run('grub-editenv', [path, 'set', ...asLines(values)]);
    },
  };
}

async function program(path: string, text: string): Promise<void> {
  await writeFile(path, `#!/bin/sh\n${text}\n`);
  await chmod(path, 0o755);
}

async function feed(command: string, args: readonly string[], lines: readonly string[]): Promise<void> {
  const running = run(command, args);
  running.child.stdin?.end(`${lines.join('\n')}\n`);
  await running;
}
