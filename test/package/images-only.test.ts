/**
 * The settings for devices that are updated by whole images alone (packaging/systemd/images-only.conf), put where the file
 * itself says, on a machine whose two slots are real block devices: an update goes through, reboot and commit included,
 * and a script is kept from what such an update does not need. The boot loader is played by a unit: it reads its
 * environment as GRUB does, and shows the kernel's command line of the slot it has chosen.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';

const run = promisify(execFile);
const DEB = resolve('dist/holdpoint_0.1.0-1_all.deb');
const SLOT_BYTES = 4 * 1024 * 1024;
const EXAMPLE = '/usr/share/doc/holdpoint/examples/images-only.conf';
const DROP_IN = '/etc/systemd/system/holdpointd.service.d/images-only.conf';

/** Chooses as grub.cfg does: the second start of a trial goes back. */
const BOOT_LOADER = `#!/bin/sh
set -e
get() { grub-mender-grubenv-print "$1" | cut -d= -f2; }
part=$(get mender_boot_part)
if [ "$(get upgrade_available)" = 1 ]; then
  if [ "$(get bootcount)" = 0 ]; then
    printf 'bootcount=1\\n' | grub-mender-grubenv-set -s -
  else
    for slot in $SLOTS; do [ "$slot" = "$part" ] || other=$slot; done
    part=$other
    printf 'mender_boot_part=%s\\nupgrade_available=0\\nbootcount=0\\n' "$part" | grub-mender-grubenv-set -s -
  fi
fi
echo "root=/dev/loop$part" >/run/cmdline
`;
/** A container's service with a file system view of its own gets a new /proc, which would hide a mount made outside. */
const CONTAINER = '[Service]\nBindReadOnlyPaths=/run/cmdline:/proc/cmdline\n';
const BOOT_LOADER_UNIT = (slots: string): string => `[Unit]
DefaultDependencies=no
Before=holdpointd.service sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
Environment="SLOTS=${slots}"
ExecStart=/usr/local/sbin/boot-loader
[Install]
WantedBy=sysinit.target
`;
/** Tries what a module of files would do, and what the update itself must be able to do. */
const SCRIPT = `#!/bin/sh
if echo intruder >/etc/intruder; then etc=written; else etc=refused; fi
if touch /root/intruder; then home=written; else home=refused; fi
if mount -t tmpfs none /mnt; then mount=done; else mount=refused; fi
echo "etc=$etc home=$home mount=$mount" >/var/lib/mender/tried
`;

let machine: Machine;
let folder: string;
let slots: readonly string[] = [];
let image: Buffer;

async function loopDevice(name: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, Buffer.alloc(SLOT_BYTES));
  return (await run('losetup', ['--find', '--show', file])).stdout.trim();
}

async function makeArtifact(): Promise<string> {
  image = randomBytes(SLOT_BYTES / 2);
  await writeFile(join(folder, 'image'), image);
  await writeFile(join(folder, 'ArtifactInstall_Leave_50_intruder'), SCRIPT, { mode: 0o755 });
  const path = join(machine.root, 'srv/release-2.mender');
  const facts = ['-n', 'release-2', '-t', 'test-device', '-f', join(folder, 'image')];
  const notes = ['-p', 'rootfs-image.release-notes:New pump firmware'];
  const script = ['-s', join(folder, 'ArtifactInstall_Leave_50_intruder')];
  await run('mender-artifact', ['write', 'rootfs-image', ...facts, ...notes, ...script, '-o', path]);
  return path;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-slots-'));
  slots = [await loopDevice('a'), await loopDevice('b')];
  const [a = '', b = ''] = slots.map((slot) => /\d+$/.exec(slot)?.[0] ?? '');
  machine = await Machine.create(slots);
  await makeArtifact();
  await machine.write(
    '/etc/mender/mender.conf',
    JSON.stringify({ RootfsPartA: slots[0], RootfsPartB: slots[1] }),
  );
  await machine.write('/var/lib/mender/device_type', 'device_type=test-device\n');
  const consent = { consent: 'required', 'on-expire': 'fail' };
  await machine.write(
    '/etc/holdpoint/conf.d/50-ask.json',
    JSON.stringify({ Points: { ArtifactCommit_Enter: consent } }),
  );
  const variables = `mender_env_begin=0\nmender_boot_part=${a}\nmender_boot_part_hex=${Number(a).toString(16)}\nupgrade_available=0\nbootcount=0\nmender_env_end=0\n`;
  const environment = `# GRUB Environment Block\n${variables}`.padEnd(1024, '#');
  await machine.write('/etc/mender_grubenv.config', 'ENV_DIR=/boot/grub\n');
  for (const copy of [1, 2]) await machine.write(`/boot/grub/mender_grubenv${copy}/env`, environment);
  await machine.write('/usr/local/sbin/boot-loader', BOOT_LOADER, 0o755);
  await machine.write('/etc/systemd/system/boot-loader.service', BOOT_LOADER_UNIT(`${a} ${b}`));
  const wants = '/etc/systemd/system/sysinit.target.wants';
  await mkdir(join(machine.root, wants), { recursive: true });
  await machine.boot();
  await machine.sh(`ln -s ../boot-loader.service ${wants}/`);
  await machine.install(machine.nodeDeb, DEB);
  await machine.sh(
    'ln -s /usr/lib/holdpoint/grub/grub-mender-grubenv-* /usr/sbin/ && systemctl start boot-loader',
  );
  await machine.sh(`install -D -m 644 ${EXAMPLE} ${DROP_IN}`);
  await machine.write(DROP_IN.replace('images-only', 'in-a-container'), CONTAINER);
  await machine.sh('systemctl daemon-reload && systemctl restart holdpointd');
  await machine.until('it is on the bus', 'busctl status io.holdpoint.Update1', /holdpointd/);
});

afterAll(async () => {
  await machine?.dispose();
  for (const slot of slots) await run('losetup', ['--detach', slot]);
  await rm(folder, { recursive: true, force: true });
});

const property = (name: string): Promise<string> =>
  machine.sh(
    `busctl get-property io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1 ${name} | cut -d' ' -f2-`,
  );

describe('with images-only.conf', () => {
  it('writes the other slot, boots it, and commits; a script writes nowhere else', async () => {
    const [passive = ''] = slots.slice(1);
    const boot = await machine.bootId();
    await machine.sh('holdpoint install --no-wait /srv/release-2.mender');
    await machine.until('it asks before the commit', 'holdpoint status', /commit/i, 180_000);
    await machine.booted();
    expect(await machine.bootId()).not.toBe(boot);
    expect(await machine.sh('cat /run/cmdline')).toBe(`root=${passive}`);
    expect((await readFile(passive)).subarray(0, image.length).equals(image)).toBe(true);
    expect(await property('Deployment')).toContain('"New pump firmware"');
    await machine.sh('holdpoint continue');
    await machine.until(
      'it is over',
      'busctl get-property io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1 Step LastResult',
      /^s "Idle"\ns "success"$/m,
    );
    expect(await property('CurrentArtifactName')).toBe('"release-2"');
    expect(await machine.sh('grub-mender-grubenv-print upgrade_available')).toBe('upgrade_available=0');
    expect(await machine.sh('cat /var/lib/mender/tried')).toBe('etc=refused home=refused mount=refused');
    expect(await machine.sh('ls /etc/intruder /root/intruder 2>/dev/null || true')).toBe('');
  });
});
