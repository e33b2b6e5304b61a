import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import { parseDeviceType } from '../../../src/adapters/system/device-type.ts';
import { Host } from '../../../src/adapters/system/host.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

let root: string;
const realPath = process.env['PATH'];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdpoint-host-'));
});

afterEach(async () => {
  process.env['PATH'] = realPath;
  await rm(root, { recursive: true, force: true });
});

async function script(name: string, body: string): Promise<string> {
  const path = join(root, name);
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

function host(
  options: { command?: readonly string[] | null; clock?: Clock; patienceMs?: number } = {},
): Host {
  return new Host({
    clock: options.clock ?? new SystemClock(),
    deviceTypePath: join(root, 'device_type'),
    rebootCommand: options.command ?? null,
    bootIdPath: join(root, 'boot_id'),
    ...(options.patienceMs === undefined ? {} : { rebootPatienceMs: options.patienceMs }),
  });
}

async function rejection(promise: Promise<unknown>): Promise<UpdateError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UpdateError);
  return error as UpdateError;
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error('waited 10 seconds in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('the boot id', () => {
  it('is the kernel’s', () => {
    const real = new Host({ clock: new SystemClock(), deviceTypePath: '', rebootCommand: null });
    expect(real.bootId()).toBe(readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  });

  it('is refused when it is missing or not one', async () => {
    expect(() => host().bootId()).toThrow(/reading the boot id: ENOENT/);
    await writeFile(join(root, 'boot_id'), 'today\n');
    expect(() => host().bootId()).toThrow(/found boot id "today"/);
  });
});

describe('the device type file', () => {
  const accepted: Readonly<Record<string, string>> = {
    'device_type=kiosk-a': 'kiosk-a',
    'device_type=kiosk-a\n': 'kiosk-a',
    '  device_type = kiosk a \r\n': 'kiosk a',
    '# made by setup\ndevice_type=a=b\nother=1\n\n': 'a=b',
  };
  for (const [text, expected] of Object.entries(accepted)) {
    it(`reads ${JSON.stringify(text)} as ${expected}`, async () => {
      await writeFile(join(root, 'device_type'), text);
      expect(await host().deviceType()).toBe(expected);
    });
  }

  const refused: Readonly<Record<string, RegExp>> = {
    '': /found no device_type/,
    'device_type=\n': /found an empty device_type/,
    'device_type=a\ndevice_type=a\n': /:2: found a second device_type/,
    'device_type=a\nkiosk\n': /:2: found "kiosk", expected key=value/,
    'Device_Type=a\n': /found no device_type/,
  };
  for (const [text, message] of Object.entries(refused)) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseDeviceType(text, '/d')).toThrow(message);
    });
  }

  it('is refused, as incompatible, when it is missing or endless', async () => {
    expect(await rejection(host().deviceType())).toMatchObject({
      kind: 'config',
      failureName: 'Incompatible',
    });
    await writeFile(join(root, 'device_type'), `# ${'x'.repeat(70_000)}\ndevice_type=a\n`);
    expect((await rejection(host().deviceType())).message).toContain('longer than');
  });
});

describe('a reboot', () => {
  it('runs the configured program with its arguments, without a shell, and then waits ten minutes for the end', async () => {
    const clock = new VirtualClock();
    const marker = join(root, 'asked');
    const program = await script('restart', `printf '%s|' "$@" > ${marker}.new; mv ${marker}.new ${marker}`);
    const result = rejection(
      host({ command: [program, 'now', '$(id) ; x'], clock }).reboot(new AbortController().signal),
    );
    await until(() => existsSync(marker));
    expect(await readFile(marker, 'utf8')).toBe('now|$(id) ; x|');
    await clock.advanceAsync(10 * 60_000 - 1);
    expect(clock.pending).toBe(1);
    await clock.advanceAsync(1);
    expect(await result).toMatchObject({
      kind: 'reboot',
      failureName: 'Reboot',
      details: { 'waited-seconds': 600 },
    });
  });

  it('fails with the exit status and the last words of the program', async () => {
    const program = await script('restart', 'echo "inhibited by nurse" >&2; exit 7');
    const error = await rejection(host({ command: [program] }).reboot(new AbortController().signal));
    expect(error).toMatchObject({ kind: 'reboot', details: { program, 'exit-status': 7 } });
    expect(error.message).toContain('inhibited by nurse');
  });

  it('fails when there is no such program', async () => {
    const error = await rejection(
      host({ command: [join(root, 'none')] }).reboot(new AbortController().signal),
    );
    expect(error).toMatchObject({ kind: 'reboot', details: { 'exit-status': 'not started' } });
  });

  it('asks the init system first, and reboot when that refuses', async () => {
    await script('systemctl', `echo "systemctl $*" >> ${root}/log; exit 1`);
    await script('reboot', `echo "reboot $*" >> ${root}/log`);
    process.env['PATH'] = `${root}:/bin:/usr/bin`;
    const stop = new AbortController();
    const result = rejection(host({ clock: new VirtualClock() }).reboot(stop.signal));
    await until(
      () => existsSync(join(root, 'log')) && readFileSync(join(root, 'log'), 'utf8').includes('reboot \n'),
    );
    stop.abort();
    expect((await result).kind).toBe('cancelled');
    expect(await readFile(join(root, 'log'), 'utf8')).toBe('systemctl --no-ask-password reboot\nreboot \n');
  });

  it('does not take the death of the program by the shutdown it began for a refusal', async () => {
    const clock = new VirtualClock();
    const program = await script('restart', `touch ${root}/asked; kill -TERM $$`);
    const result = rejection(host({ command: [program], clock }).reboot(new AbortController().signal));
    await until(() => existsSync(join(root, 'asked')));
    await clock.advanceAsync(10 * 60_000);
    expect((await result).details).toEqual({ 'waited-seconds': 600 });
  });

  it('kills a program that hangs, with all it started, on abort and at the end of its patience', async () => {
    const program = await script(
      'restart',
      `sleep 300 & echo $! > ${root}/pid.new; mv ${root}/pid.new ${root}/pid; wait`,
    );
    for (const way of ['abort', 'patience'] as const) {
      await rm(join(root, 'pid'), { force: true });
      const clock = new VirtualClock();
      const stop = new AbortController();
      const result = rejection(host({ command: [program], clock }).reboot(stop.signal));
      await until(() => existsSync(join(root, 'pid')));
      const pid = (await readFile(join(root, 'pid'), 'utf8')).trim();
      if (way === 'abort') stop.abort();
      else clock.advance(10 * 60_000);
      expect((await result).kind).toBe(way === 'abort' ? 'cancelled' : 'reboot');
      // A killed process without a parent may stay a zombie for a moment; it does no harm any more.
      await until(
        () => !/^[RSDT]/.test(spawnSync('ps', ['-o', 'stat=', '-p', pid]).stdout.toString().trim()),
      );
    }
  });

  it('does nothing when it was cancelled before it began', async () => {
    const program = await script('restart', `touch ${root}/asked`);
    const error = await rejection(host({ command: [program] }).reboot(AbortSignal.abort()));
    expect(error.kind).toBe('cancelled');
    expect(existsSync(join(root, 'asked'))).toBe(false);
  });
});
