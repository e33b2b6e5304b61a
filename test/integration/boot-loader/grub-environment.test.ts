import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

/** Our scripts beside GRUB's own program, on the same files. */
const run = promisify(execFile);
const PRINT = resolve('packaging/grub/grub-mender-grubenv-print');
const SET = resolve('packaging/grub/grub-mender-grubenv-set');

let folder: string;
let copies: readonly [string, string];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-grubenv-'));
  copies = [join(folder, 'mender_grubenv1/env'), join(folder, 'mender_grubenv2/env')];
  const lines = [
    '# GRUB Environment Block',
    'mender_env_begin=0',
    'mender_boot_part=2',
    'mender_env_end=0',
    '',
  ];
  for (const path of copies) {
    await mkdir(join(path, '..'));
    await writeFile(path, lines.join('\n').padEnd(1024, '#'));
  }
  await writeFile(join(folder, 'config'), `ENV_DIR='${folder}'\n`);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function tool(program: string, args: readonly string[], input = '') {
  const env = { ...process.env, MENDER_GRUBENV_CONFIG: join(folder, 'config') };
  const running = run(program, [...args], { env });
  // Who does not read it may be gone already.
  running.child.stdin?.on('error', () => {});
  running.child.stdin?.end(input);
  return running;
}
const set = (input: string) => tool(SET, ['-s', '-'], input);
const print = async (...names: string[]): Promise<string> => (await tool(PRINT, names)).stdout;
const refusal = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => expect.fail('it should have been refused'),
    (error: unknown) => String((error as { stderr?: string }).stderr).trim(),
  );

describe('the environment of GRUB', () => {
  it('is read by grub-editenv as we wrote it, from both copies', async () => {
    await set('mender_boot_part=3\nupgrade_available=1\nbootcount=0\n');
    await tool(SET, ['extra', '/dev/vda3']);
    expect(await print()).toBe('mender_boot_part=3\nupgrade_available=1\nbootcount=0\nextra=/dev/vda3\n');
    for (const path of copies) {
      const { stdout } = await run('grub-editenv', [path, 'list']);
      expect(stdout.split('\n').filter((line) => !line.startsWith('mender_env_'))).toEqual(
        (await print()).split('\n'),
      );
      expect((await readFile(path)).length).toBe(1024);
    }
    await tool(SET, ['extra', '']);
    expect(await refusal(tool(PRINT, ['extra']))).toContain('extra is not defined');
  });

  it('is read by us as GRUB saved it', async () => {
    await set('mender_boot_part=3\nupgrade_available=1\nbootcount=0\n');
    for (const path of copies) await run('grub-editenv', [path, 'set', 'bootcount=1']);
    expect(await print('bootcount', 'mender_boot_part')).toBe('bootcount=1\nmender_boot_part=3\n');
  });

  it('is the old or the new one wherever the write of a copy was cut', async () => {
    await set('mender_boot_part=2\nupgrade_available=0\nbootcount=0\n');
    const before = await Promise.all(copies.map((path) => readFile(path)));
    const old = await print();
    await set('mender_boot_part=3\nupgrade_available=1\nbootcount=0\n');
    const after = await readFile(copies[0]);
    const now = await print();
    // Behind the text both are the same.
    const end = after.indexOf('\n#', 30) + 1;
    const seen = new Set<string>();
    for (let at = 0; at <= end; at += 11) {
      const torn = Buffer.concat([after.subarray(0, at), before[0]!.subarray(at)]);
      await writeFile(copies[0], torn);
      await writeFile(copies[1], before[1]!);
      seen.add(await print());
      await writeFile(copies[0], after);
      await writeFile(copies[1], torn);
      expect(await print(), `copy 2 torn at ${at}`).toBe(now);
    }
    expect(seen).toEqual(new Set([old, now]));
    await writeFile(copies[0], Buffer.alloc(1024, '#'));
    await writeFile(copies[1], '');
    expect(await refusal(tool(PRINT, []))).toContain('neither is whole');
  });

  it.each([
    ['a name that is none', 'b-c=1\n', "the name 'b-c'"],
    ['a value that GRUB would read as code', 'x=$(reboot)\n', "the value '$(reboot)'"],
    ['the loss of the boot partition', 'mender_boot_part=\n', 'mender_boot_part would be missing'],
    ['its guards', 'mender_env_end=1\n', "the name 'mender_env_end'"],
    ['more than a sector', `long=${'y'.repeat(480)}\n`, 'expected at most 512'],
  ])('refuses %s, and nothing of the order is written', async (_what, input, told) => {
    const before = await readFile(copies[0]);
    expect(await refusal(set(`bootcount=7\n${input}`))).toContain(told);
    expect(await readFile(copies[0])).toEqual(before);
  });

  it('has a configuration for GRUB that GRUB can parse', async () => {
    await run('grub-script-check', [resolve('packaging/grub/grub.cfg')]);
  });
});
