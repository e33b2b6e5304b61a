/**
 * GRUB and our grub.cfg alone, on the disk of the boot tests whose two slots have no kernel: which partition a start takes, and
 * what GRUB has saved when the power is gone. What Linux makes of it is for the other tests.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest';
import { bootFileOf, replaceBootFile, run } from './support/lab.ts';
import { BootMachine } from './support/machine.ts';

const lab = inject('lab');
const AT_REST = { mender_boot_part: '2', upgrade_available: '0', bootcount: '0' };
const ON_TRIAL = { mender_boot_part: '3', upgrade_available: '1', bootcount: '0' };
type Variables = Readonly<Record<string, string>>;

let folder: string;
let disk: string;
let machine: BootMachine;
let made = 0;

beforeEach(async () => {
  folder = join(lab.work, `grub-${++made}`);
  const slot = join(folder, 'slot/slot');
  await mkdir(slot, { recursive: true });
  await mkdir(join(folder, 'data'));
  await writeFile(join(slot, 'vmlinuz'), Buffer.alloc(4096));
  const image = join(folder, 'slot.squashfs');
  await run('mksquashfs', [join(folder, 'slot'), image, '-quiet', '-no-progress']);
  disk = join(folder, 'disk.raw');
  await run('bash', ['test/boot/machine/make-disk.sh', lab.base, image, join(folder, 'data'), disk]);
  machine = new BootMachine({ disk, folder, accelerator: lab.accelerator });
});
afterEach(() => machine.dispose());

async function prepare(variables: Variables, guards: readonly [string, string] = ['1', '1']): Promise<void> {
  for (const copy of [1, 2] as const) {
    const end = guards[copy - 1] ?? '';
    const hex = { mender_boot_part_hex: variables['mender_boot_part'] ?? '' };
    const all = { mender_env_begin: '1', ...variables, ...hex, mender_env_end: end };
    const lines = Object.entries(all).map(([name, value]) => `${name}=${value}`);
    const text = ['# GRUB Environment Block', ...lines, ''].join('\n').padEnd(1024, '#');
    await replaceBootFile(disk, `grub/mender_grubenv${copy}/env`, text);
  }
}

/** As grub-editenv reads a copy on the disk of a machine that is off. */
async function saved(copy: 1 | 2): Promise<Variables> {
  const path = join(folder, `env-${copy}`);
  await writeFile(path, await bootFileOf(disk, `grub/mender_grubenv${copy}/env`));
  const { stdout } = await run('grub-editenv', [path, 'list']);
  return Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/).slice(0, 2)),
  );
}

/** One start, which ends by itself as no kernel can be started, or by a power cut at a line; what GRUB said of its own accord. */
async function start(cutAt?: string): Promise<readonly string[]> {
  const from = machine.lineCount;
  await machine.powerOn({ isOneStart: true });
  if (cutAt === undefined) await machine.waitForOff();
  else {
    await machine.waitForLine(cutAt, (line) => line.includes(cutAt), from);
    await machine.cutPower();
  }
  return machine.linesSince(from).flatMap((line) => /holdpoint: (.*\S)/.exec(line)?.[1] ?? []);
}
const booted = (partition: number): readonly string[] => [
  `booting partition ${partition}`,
  `partition ${partition} cannot be booted, starting again`,
];

describe('GRUB with our configuration', () => {
  it('boots what was committed, and shows that it can save', async () => {
    await prepare({ ...AT_REST, mender_boot_part: '3' });
    expect(await start()).toEqual(booted(3));
    for (const copy of [1, 2] as const) {
      expect(await saved(copy)).toMatchObject({ mender_boot_part: '3', mender_saveenv_canary: '1' });
    }
  });

  it('counts a trial before it tries, and goes back at the next start', async () => {
    await prepare(ON_TRIAL);
    expect(await start()).toEqual(['trial boot of partition 3', ...booted(3)]);
    for (const copy of [1, 2] as const)
      expect(await saved(copy)).toMatchObject({ ...ON_TRIAL, bootcount: '1' });
    expect(await start()).toEqual(['the trial was not committed, back to partition 2', ...booted(2)]);
    for (const copy of [1, 2] as const) expect(await saved(copy)).toMatchObject(AT_REST);
    expect(await start()).toEqual(booted(2));
  });

  it('has counted a trial when its power is cut in the first moment of it', async () => {
    await prepare(ON_TRIAL);
    await start('trial boot of partition 3');
    expect(await start()).toEqual(['the trial was not committed, back to partition 2', ...booted(2)]);
  });

  it('takes the second copy when the first was torn, and makes it whole', async () => {
    await prepare({ ...AT_REST, mender_boot_part: '3' }, ['torn', '1']);
    expect(await start()).toEqual(['environment 1 is not whole, taking 2', ...booted(3)]);
    expect(await saved(1)).toMatchObject({ mender_env_begin: '1', mender_env_end: '1' });
  });

  it('boots slot A when no copy is whole, and saves nothing', async () => {
    await prepare(ON_TRIAL, ['torn', 'torn']);
    expect(await start()).toEqual([
      'environment 1 is not whole, taking 2',
      'no environment is whole, booting slot A',
      ...booted(2),
    ]);
    expect(await saved(2)).toMatchObject({ ...ON_TRIAL, mender_env_end: 'torn' });
  });
});
