/**
 * The life of the Debian package on a machine with a real systemd, in the order of its days: installed in the place of
 * Mender's client, used, killed, upgraded in the middle of an update, without a bus, removed, purged.
 */
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeArtifact } from '../support/device.ts';
import { buildPackage, Machine } from './machine.ts';

const DEB = resolve('dist/holdpoint_0.1.0-1_all.deb');
const NEWER = resolve('dist/holdpoint_0.1.0-2_all.deb');
const CONTROL = '/root/control';

/** Records its calls; waits while `<action>.wait` is there; fails where `<action>.fail` is; runs `<action>.do`. */
const MODULE = `#!/bin/sh
C=${CONTROL}; mkdir -p $C; echo "$1" >>$C/calls
[ ! -x "$C/$1.do" ] || "$C/$1.do" || exit 1
while [ -e "$C/$1.wait" ]; do sleep 0.05; done
[ ! -e "$C/$1.fail" ] || exit 1
case "$1" in
NeedsArtifactReboot) cat $C/reboot 2>/dev/null || echo No ;;
SupportsRollback) echo Yes ;;
esac
exit 0
`;

let machine: Machine;

const mainPid = (): Promise<string> => machine.sh('systemctl show -P MainPID holdpointd');
const property = (name: string): Promise<string> =>
  machine.sh(
    `busctl get-property io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1 ${name} | cut -d' ' -f2-`,
  );
const order = (name: string): Promise<unknown> => machine.sh(`touch ${CONTROL}/${name}`);
const cancel = (name: string): Promise<unknown> => machine.sh(`rm -f ${CONTROL}/${name}`);
const begun = (action: string, times = 1): Promise<void> =>
  machine.until(
    `${action} is called`,
    `grep -c '^${action}$' ${CONTROL}/calls`,
    new RegExp(`^${times}$`, 'm'),
  );
const idle = (): Promise<void> =>
  machine.until(
    'the service is idle',
    'busctl get-property io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1 Step DeploymentId',
    /^s "Idle"\ns ""$/m,
  );

/** The service that runs after it is another one, and idle. */
async function restarted(exchange: () => Promise<unknown>, before?: string): Promise<void> {
  const pid = before ?? (await mainPid());
  await exchange();
  await machine.until(
    'the new one runs',
    'systemctl show -P MainPID holdpointd',
    new RegExp(`^(?!${pid}$|0$)\\d+$`, 'm'),
  );
  await idle();
}

async function rebooted(boot: string): Promise<void> {
  await machine.until(
    'it has rebooted',
    'cat /proc/sys/kernel/random/boot_id',
    new RegExp(`^(?!${boot})[0-9a-f]`),
    240_000,
  );
  await machine.booted();
  await idle();
}

async function forget(): Promise<void> {
  await machine.sh(`rm -rf ${CONTROL} && mkdir ${CONTROL}`);
}

beforeAll(async () => {
  machine = await Machine.create();
  await machine.write('/usr/share/mender/modules/v3/probe', MODULE, 0o755);
  for (const number of [2, 3, 4, 5, 6, 7, 8, 9]) {
    const name = `release-${number}`;
    const artifact = await makeArtifact(machine, { name });
    await copyFile(artifact, join(machine.root, 'root', `${name}.mender`));
  }
  await machine.write(`${CONTROL}/calls`, '');
  await machine.boot();
});

afterAll(() => machine?.dispose());

describe('on a machine', () => {
  let before = '';
  const elsewhere = 'proc sys run tmp root var/log var/lib/dpkg var/cache var/lib/systemd var/tmp'
    .split(' ')
    .map((path) => `-path /${path}`)
    .join(' -o ');
  const files = (): Promise<string> =>
    machine.sh(`find / -xdev \\( ${elsewhere} \\) -prune -o -print | sort`);

  it('takes the place of a Mender client, and keeps its datastore and its add-ons', async () => {
    await machine.install(machine.nodeDeb);
    before = await files();
    await machine.sh('mkdir -p /data/mender && echo device_type=test-device >/data/mender/device_type');
    const client = join(machine.folder, 'mender-client');
    await mkdir(join(client, 'usr/bin'), { recursive: true });
    await mkdir(join(client, 'var/lib'), { recursive: true });
    await writeFile(join(client, 'usr/bin/mender'), '#!/bin/sh\n', { mode: 0o755 });
    await symlink('/data/mender', join(client, 'var/lib/mender'));
    const facts = { Version: '3.4.0', Architecture: 'all', Description: 'stand-in' };
    const clientDeb = await buildPackage(client, { Package: 'mender-client', ...facts });
    const addOn = join(machine.folder, 'mender-connect');
    await mkdir(addOn);
    // As the add-on's own packages have it.
    const Depends = 'mender-auth (>= 4.0) | mender-client (>= 2.5)';
    const addOnDeb = await buildPackage(addOn, { Package: 'mender-connect', ...facts, Depends });
    await machine.install(clientDeb, addOnDeb);
    expect(await machine.install(DEB)).toContain('mender-client');
    expect(
      await machine.sh(
        "dpkg-query -W -f='${Package} ${db:Status-Status}\\n' 'mender*' holdpoint | grep ' installed'",
      ),
    ).toBe('holdpoint installed\nmender-connect installed');
    expect(await machine.sh('readlink /var/lib/mender')).toBe('/data/mender');
    expect(await machine.sh('readlink -f /usr/bin/mender')).toBe('/usr/lib/holdpoint/holdpoint.js');
    await machine.sh('dpkg -r mender-connect');
  });

  it('runs, is enabled, and is seen on the bus', async () => {
    await machine.until('it is on the bus', 'busctl status io.holdpoint.Update1', /holdpointd/);
    expect(await machine.sh('systemctl is-active holdpointd && systemctl is-enabled holdpointd')).toBe(
      'active\nenabled',
    );
    expect(await property('Step')).toBe('"Idle"');
    expect(await machine.sh('getent group holdpoint')).toMatch(/^holdpoint:/);
    expect(await machine.sh('systemctl --failed --no-legend --plain')).toBe('');
    expect(
      await machine.sh(
        'for p in /usr/share/man/man*/*holdpoint*; do gzip -dc "$p" >/dev/null || exit 1; done; echo ok',
      ),
    ).toBe('ok');
  });

  it('is started by the bus when somebody calls', async () => {
    await machine.sh('systemctl stop holdpointd');
    expect(await property('Step')).toBe('"Idle"');
  });

  it('is waited for by the command after a restart, started by it when it is stopped, and told to be masked', async () => {
    for (let turn = 0; turn < 5; turn += 1) {
      const asked = 'holdpoint status --json | grep -o "\\"state\\":\\"Idle\\""';
      expect(await machine.sh(`systemctl restart holdpointd && ${asked}`)).toBe('"state":"Idle"');
    }
    await machine.sh('systemctl stop holdpointd && holdpoint holds');
    expect(await machine.sh('systemctl is-active holdpointd')).toBe('active');
    await machine.sh('systemctl mask --now holdpointd');
    const masked = await machine.try('holdpoint status');
    await machine.sh('systemctl unmask holdpointd');
    expect(masked.status).toBe(1);
    expect(masked.stderr).toMatch(/^holdpoint: asking for the status: no update service .*masked.*\n$/);
    await idle();
  });

  it('installs an artifact, without a right the unit took away', async () => {
    await machine.sh('holdpoint install /root/release-2.mender');
    expect(await property('CurrentArtifactName')).toBe('"release-2"');
  });

  it('lets the timer look for an update, as a user made up for it', async () => {
    // Without a server there is nothing to ask; that the call was allowed is what is seen.
    const { status } = await machine.try('systemctl start holdpoint-check.service');
    const said = await machine.sh('journalctl -u holdpoint-check --no-pager -o cat');
    expect(`${status} ${said}`).not.toContain('AccessDenied');
    expect(said).not.toMatch(/denied|not authorized|permission/i);
    await machine.sh('systemctl reset-failed');
  });

  it('is started again when its loop stands still, and goes on with the update (R42)', async () => {
    await forget();
    await machine.write(
      '/etc/systemd/system/holdpointd.service.d/soon.conf',
      '[Service]\nWatchdogSec=6\nRestartSec=1\n',
    );
    await machine.sh('systemctl daemon-reload && systemctl restart holdpointd');
    await idle();
    await order('ArtifactInstall.wait');
    await machine.sh('holdpoint install --no-wait /root/release-3.mender');
    await begun('ArtifactInstall');
    const pid = await mainPid();
    // Three signs of life and more: a module that takes its time is no reason.
    await machine.until(
      'it says where it is',
      'systemctl show -P StatusText holdpointd',
      /At ArtifactInstall/,
    );
    expect(await mainPid()).toBe(pid);
    await machine.sh(`kill -STOP ${pid}`);
    await machine.until('it is started again', 'systemctl show -P NRestarts holdpointd', /^[1-9]/);
    await cancel('ArtifactInstall.wait');
    await idle();
    expect(await property('LastResult')).toBe('"rolled-back"');
    expect(await machine.sh(`grep -c '^ArtifactRollback$' ${CONTROL}/calls`)).toBe('1');
    expect(await machine.sh('journalctl -u holdpointd --no-pager | grep -c "Watchdog timeout"')).not.toBe(
      '0',
    );
    await machine.sh('rm -r /etc/systemd/system/holdpointd.service.d && systemctl daemon-reload');
  });

  it('leaves no process of the update behind when systemd stops or kills it (R27)', async () => {
    await forget();
    await machine.write(
      `${CONTROL}/ArtifactInstall.do`,
      '#!/bin/sh\nsetsid sh -c \'trap "" TERM; sleep 7777\' &\nexit 0\n',
      0o755,
    );
    await order('ArtifactInstall.wait');
    await machine.sh('systemctl restart holdpointd');
    await idle();
    await machine.sh('holdpoint install --no-wait /root/release-3.mender');
    await begun('ArtifactInstall');
    await machine.until('a process has got away', 'pgrep -fc "sleep 7777"', /^[1-9]/m);
    await machine.sh('systemctl kill --kill-whom=main --signal=KILL holdpointd');
    await cancel('ArtifactInstall.wait');
    await machine.until('it is rolled back', `cat ${CONTROL}/calls`, /ArtifactRollback/);
    expect((await machine.try('pgrep -f "sleep 777[7]"')).stdout).toBe('');
    await idle();
  });

  /** Packages are exchanged in each of these, a wait for a point or a call of the module, before it may go on. */
  const FORWARD = [
    'Download',
    '@ArtifactInstall_Enter',
    'ArtifactInstall',
    'NeedsArtifactReboot',
    '@ArtifactReboot_Enter',
    'ArtifactReboot',
    'ArtifactVerifyReboot',
    '@ArtifactCommit_Enter',
    'ArtifactCommit',
    'Cleanup',
  ];
  const BACKWARD = [
    'SupportsRollback',
    'ArtifactRollback',
    'ArtifactRollbackReboot',
    'ArtifactVerifyRollbackReboot',
    'ArtifactFailure',
    'Cleanup',
  ];

  for (const [way, phases, name] of [
    ['forwards', FORWARD, ['release-4', 'release-5']],
    ['on the way back', BACKWARD, ['release-7', 'release-7']],
  ] as const) {
    for (const [turn, first] of ['upgraded', 'downgraded'].entries()) {
      it(`is ${first} and so on in every phase ${way}, and the update goes on undisturbed (R39)`, async () => {
        await forget();
        // What is exchanged for the other one, beginning with the right one.
        await restarted(() => machine.install(turn === 0 ? DEB : NEWER));
        await machine.write(`${CONTROL}/reboot`, 'Yes\n');
        if (way !== 'forwards') await order('ArtifactVerifyReboot.fail');
        const holds = new Map<string, string>();
        for (const phase of phases) {
          const point = phase.slice(1);
          if (!phase.startsWith('@')) await order(`${phase}.wait`);
          else holds.set(phase, await machine.sh(`holdpoint hold ${point} --why upgrade --timeout 1h`));
        }
        const pid = await mainPid();
        await machine.sh(`holdpoint install --no-wait /root/${name[turn]}.mender`);
        for (const [index, phase] of phases.entries()) {
          const hold = holds.get(phase);
          if (hold === undefined) await begun(phase);
          else
            await machine.until(
              `it waits at ${phase}`,
              'holdpoint status',
              new RegExp(`waiting at ${phase.slice(1)}`),
            );
          await machine.install((index + turn) % 2 === 0 ? NEWER : DEB);
          expect(await mainPid(), phase).toBe(pid);
          await (hold === undefined ? cancel(`${phase}.wait`) : machine.sh(`holdpoint release ${hold}`));
        }
        await restarted(async () => {}, pid);
        const isGood = way === 'forwards';
        expect(await property('LastResult')).toBe(isGood ? '"success"' : '"rolled-back"');
        expect(await property('CurrentArtifactName')).toBe(`"${isGood ? name[turn] : 'release-5'}"`);
        // Each of them once: nothing was begun anew by the new one.
        const calls = (await machine.sh(`cat ${CONTROL}/calls`)).split('\n');
        for (const phase of phases.filter((one) => !one.startsWith('@') && one !== 'NeedsArtifactReboot')) {
          expect(
            calls.filter((call) => call === phase),
            phase,
          ).toHaveLength(1);
        }
        expect(calls.includes('ArtifactRollback')).toBe(!isGood);
      }, 900_000);
    }
  }

  it('is upgraded at once when no update is under way', () => restarted(() => machine.install(NEWER)));

  it('rolls back a version in which the bus is masked, over two real boots (R23)', async () => {
    await forget();
    await machine.write(`${CONTROL}/reboot`, 'Automatic\n');
    const mask = 'systemctl mask dbus.socket dbus.service';
    await machine.write(`${CONTROL}/ArtifactInstall.do`, `#!/bin/sh\n${mask}\n`, 0o755);
    await machine.write(
      `${CONTROL}/ArtifactVerifyReboot.do`,
      '#!/bin/sh\n[ -S /run/dbus/system_bus_socket ]\n',
      0o755,
    );
    await machine.write(
      `${CONTROL}/ArtifactRollback.do`,
      `#!/bin/sh\n${mask.replace(' mask', ' unmask')}\n`,
      0o755,
    );
    const boot = await machine.bootId();
    await machine.sh('holdpoint install --no-wait /root/release-6.mender');
    await machine.until(
      'it was rolled back',
      `cat ${CONTROL}/calls`,
      /ArtifactVerifyRollbackReboot/,
      240_000,
    );
    await machine.booted();
    expect(await machine.bootId()).not.toBe(boot);
    await idle();
    expect(await property('LastResult')).toBe('"rolled-back"');
    expect(await property('CurrentArtifactName')).toBe('"release-5"');
  });

  it('leaves the reboot to whoever blocks it, and gives whoever asked for time that time (R40)', async () => {
    await forget();
    await machine.write(`${CONTROL}/reboot`, 'Automatic\n');
    await machine.write('/etc/systemd/logind.conf.d/soon.conf', '[Login]\nInhibitDelayMaxSec=30\n');
    await machine.sh('systemctl restart systemd-logind');
    // Told to end with everything else, it would not come to write anything.
    const app = [
      '#!/bin/sh',
      'rm -f /root/saved',
      'dbus-monitor --system "interface=org.freedesktop.login1.Manager,member=PrepareForShutdown" >/run/heard &',
      'until grep -q "boolean true" /run/heard; do sleep 0.1; done',
      'sleep 3',
      'cat /proc/sys/kernel/random/boot_id >/root/saved',
      'kill $!',
    ];
    await machine.write('/root/app', `${app.join('\n')}\n`, 0o755);
    const inhibit = (unit: string, mode: string, command: string): Promise<string> =>
      machine.sh(
        `systemd-run --quiet --unit=${unit} systemd-inhibit --what=shutdown --mode=${mode} --who=${unit} --why=testing ${command}`,
      );
    await inhibit('Recorder', 'delay', '/root/app');
    await inhibit('Surgery', 'block', 'sleep infinity');
    const listed = (who: string): Promise<void> =>
      machine.until('it is listed', 'systemd-inhibit --list --no-legend', new RegExp(who));
    await listed('Recorder');
    await listed('Surgery');
    const boot = await machine.bootId();
    await machine.sh('holdpoint install --no-wait /root/release-8.mender');
    await machine.until('it says who is in the way', 'holdpoint status', /Surgery/);
    expect(await machine.sh('holdpoint status')).not.toContain('Recorder');
    expect(await machine.bootId()).toBe(boot);
    await machine.sh('systemctl stop Surgery');
    await rebooted(boot);
    expect(await property('CurrentArtifactName')).toBe('"release-8"');
    expect(await machine.sh('cat /root/saved')).toBe(boot);
  }, 600_000);

  it('does not wait for ever for who asked for time (R40)', async () => {
    await forget();
    await machine.write(`${CONTROL}/reboot`, 'Automatic\n');
    await machine.write('/etc/systemd/logind.conf.d/soon.conf', '[Login]\nInhibitDelayMaxSec=4\n');
    await machine.sh('systemctl restart systemd-logind');
    await machine.sh(
      'systemd-run --quiet --unit=Endless systemd-inhibit --what=shutdown --mode=delay --who=Endless --why=testing sleep infinity',
    );
    await machine.until('it is listed', 'systemd-inhibit --list --no-legend', /Endless/);
    const boot = await machine.bootId();
    await machine.sh('holdpoint install --no-wait /root/release-9.mender');
    await rebooted(boot);
    expect(await property('CurrentArtifactName')).toBe('"release-9"');
    await machine.sh('rm -r /etc/systemd/logind.conf.d');
  }, 600_000);

  it('is removed and purged without a trace but the key and the type of the device', async () => {
    await machine.sh('dpkg -r holdpoint 2>&1');
    expect((await machine.try('systemctl is-active holdpointd')).stdout).toMatch(/inactive|unknown/);
    expect(
      await machine.sh('ls /var/lib/mender/holdpoint/state-a.json /etc/holdpoint/holdpoint.json'),
    ).not.toBe('');
    await machine.sh('dpkg -P holdpoint 2>&1');
    await machine.sh('systemctl daemon-reload');
    const left = new Set((await files()).split('\n'));
    for (const path of before.split('\n')) left.delete(path);
    expect(
      [...left].filter((path) => !/^\/data(\/mender)?$|device_type$|^\/var\/lib\/mender$/.test(path)),
    ).toEqual([]);
  });
});
