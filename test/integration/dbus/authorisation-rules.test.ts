import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { describeCaller } from '../../../src/adapters/dbus/caller.ts';
import { PROPERTIES } from '../../../src/adapters/dbus/standard-interfaces.ts';
import { ACCESS_ACTIONS, DEFAULT_ACCESS, type AccessAction } from '../../../src/core/access.ts';
import { connected, MAIN } from '../../support/bus-client.ts';
import { BusCaller, type CallText, type Outcome } from '../../support/bus-caller.ts';
import { busctl } from '../../support/bus-tools.ts';
import { eventually } from '../../support/eventually.ts';
import {
  ANY_IS_CHALLENGE,
  CHALLENGE,
  DENIED,
  GROUP_ACTIONS,
  HOLD_ID,
  MEMBER,
  OTHER,
  ownHold,
  ROOT,
  STANDARD,
  useGuardedBench,
} from '../../support/guarded-bench.ts';
import { CALM_CONTEXT, GuardedService } from '../../support/guarded-service.ts';
import { ALLOW_ALL, POLKIT_NAME, POLKIT_POLICY, PolkitDaemon } from '../../support/polkit.ts';
import { POLICY_PATH, startPrivateBus } from '../../support/private-bus.ts';

/** What rights depend on beside the method: details, options, configuration, how polkit is there; and what we ship. */
const bench = useGuardedBench();

describe('rules see the details:', () => {
  const proceed: CallText = { interface: MAIN, member: 'Continue', args: "('ticket',)" };

  async function example(name: string, ...changes: readonly [string, string][]): Promise<string> {
    const text = await readFile(`packaging/polkit/examples/${name}`, 'utf8');
    return changes.reduce((changed, [from, to]) => {
      expect(changed).toContain(from);
      return changed.replaceAll(from, to);
    }, text);
  }

  test('by the example for kiosks, a user may continue at ArtifactReboot_Enter only', async () => {
    await bench().polkit.run(await example('50-holdpoint-kiosk.rules', ['"kiosk"', '"nobody"']));
    const service = await bench().serve();
    const [kiosk, other] = [await bench().client(OTHER), await bench().client({ uid: 1, gids: [1] })];
    expect((await kiosk.call(proceed)).error).toBe('');
    expect((await other.call(proceed)).error).toBe(DENIED);
    for (const point of ['ArtifactInstall_Enter', 'ArtifactCommit_Enter', '']) {
      service.context = { ...CALM_CONTEXT, point };
      expect((await kiosk.call(proceed)).error).toBe(DENIED);
    }
    service.context = CALM_CONTEXT;
    const override = "('ticket', {'override': <true>})";
    expect((await kiosk.call({ ...proceed, member: 'ContinueFull', args: override })).error).toBe(CHALLENGE);
    expect(service.effects).toHaveLength(1);
  });

  test('by the example for technicians, a group may do what can be undone', async () => {
    await bench().polkit.run(
      await example('50-holdpoint-service-technicians.rules', [
        'isInGroup("technicians")',
        'isInGroup("daemon")',
      ]),
    );
    await bench().serve();
    const technician = await bench().client({ uid: 1, gids: [1] });
    expect((await technician.call(proceed)).error).toBe('');
    const rollback: CallText = { interface: MAIN, member: 'Rollback', args: "('d', '')" };
    expect((await technician.call(rollback)).error).toBe(CHALLENGE);
    const map: CallText = { interface: `${MAIN}.Holds`, member: 'SetControlMap', args: "('{}',)" };
    expect((await technician.call(map)).error).toBe(CHALLENGE);
  });

  test('hold-id and points of a hold, where several points are none of them', async () => {
    await bench().polkit.run(`polkit.addRule(function (action) {
      if (action.lookup("hold-id") === "${HOLD_ID}") return polkit.Result.YES;
      return action.lookup("point") === "ArtifactReboot_Enter" ? polkit.Result.YES : polkit.Result.NO;
    });`);
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, point: '', hold: ownHold(OTHER.uid) };
    const caller = await bench().client(OTHER);
    const hold = async (points: string): Promise<string> => {
      const args = `(@as ${points}, 'why', @u 60, 'fail', @a{sv} {})`;
      return (await caller.call({ interface: `${MAIN}.Holds`, member: 'AddHold', args })).error;
    };
    expect(await hold("['ArtifactReboot_Enter', 'ArtifactReboot_Enter']")).toBe('');
    expect(await hold("['ArtifactReboot_Enter', 'ArtifactCommit_Enter']")).toBe(DENIED);
    expect(await hold("['ArtifactReboot_Enter', 'bogus']")).toBe(DENIED);
    expect(await hold('[]')).toBe(DENIED);
    const release = (id: string): Promise<Outcome> =>
      caller.call({ interface: `${MAIN}.Holds`, member: 'ReleaseHold', args: `('${id}',)` });
    expect((await release(HOLD_ID)).error).toBe('');
    expect((await release('ffffffffffff')).error).toBe(DENIED);
  });
});

describe('what needs a stronger right than it looks:', () => {
  test('override in the options, somebody else’s hold, an artifact nobody verifies', async () => {
    const service = await bench().serve();
    const member = await bench().client(MEMBER);
    const full = (options: string): Promise<Outcome> =>
      member.call({ interface: MAIN, member: 'ContinueFull', args: `('ticket', @a{sv} ${options})` });
    expect((await full("{'comment': <'fine'>}")).error).toBe('');
    expect((await full("{'override': <false>}")).error).toBe('');
    for (const override of ['<true>', "<'true'>", '<1>', '<<true>>', "<'false'>"]) {
      const { error, message } = await full(`{'override': ${override}}`);
      expect(error).toBe(DENIED);
      expect(message).toContain('io.holdpoint.update1.override');
    }
    const release: CallText = { interface: `${MAIN}.Holds`, member: 'ReleaseHold', args: `('${HOLD_ID}',)` };
    service.context = { ...CALM_CONTEXT, hold: ownHold(OTHER.uid) };
    expect((await member.call(release)).message).toContain('io.holdpoint.update1.override');
    service.context = { ...CALM_CONTEXT, hold: ownHold(MEMBER.uid) };
    expect((await member.call(release)).error).toBe('');
    const install: CallText = { interface: `${MAIN}.Install`, member: 'InstallPath', args: "('/x', '')" };
    service.context = { ...CALM_CONTEXT, isSignatureRequired: false };
    expect((await member.call(install)).message).toContain('io.holdpoint.update1.install-untrusted');
    expect((await (await bench().client(ROOT)).call(install)).error).toBe('');
    const granted = service.effects.map(({ action }) => action);
    expect(granted).toEqual(['continue', 'continue', 'hold', 'install-untrusted']);
  });

  test('writing a property is for nobody: the bus refuses others, the service tells root', async () => {
    await bench().polkit.run(ALLOW_ALL);
    await bench().serve();
    const set: CallText = { interface: PROPERTIES, member: 'Set', args: `('${MAIN}', 'State', <'Idle'>)` };
    expect((await (await bench().client(OTHER)).call(set)).message).toMatch(/Rejected send message/);
    expect((await (await bench().client(ROOT)).call(set)).error).toBe(`${STANDARD}PropertyReadOnly`);
  });
});

describe('CanDo', () => {
  const ask = async (caller: BusCaller, action: string): Promise<string> => {
    const call: CallText = { interface: MAIN, member: 'CanDo', args: `('${action}',)` };
    const { error, reply } = await caller.call(call);
    return error === '' ? String(reply) : error;
  };

  test('answers for each caller and action: yes, no, challenge', async () => {
    await bench().polkit.run();
    await bench().serve();
    const [root, member, other] = [
      await bench().client(ROOT),
      await bench().client(MEMBER),
      await bench().client(OTHER),
    ];
    for (const action of ACCESS_ACTIONS) {
      expect(await ask(root, action)).toBe("('yes',)");
      const forOther = ANY_IS_CHALLENGE.includes(action) ? "('challenge',)" : "('no',)";
      expect(`${action} ${await ask(other, action)}`).toBe(`${action} ${forOther}`);
      const forMember = GROUP_ACTIONS.includes(action) ? "('yes',)" : forOther;
      expect(`${action} ${await ask(member, action)}`).toBe(`${action} ${forMember}`);
    }
  });

  test('answers without polkit, and names the actions there are for one that is none', async () => {
    await bench().serve();
    const [member, other] = [await bench().client(MEMBER), await bench().client(OTHER)];
    expect([await ask(member, 'continue'), await ask(member, 'enable')]).toEqual(["('yes',)", "('no',)"]);
    expect(await ask(other, 'continue')).toBe("('no',)");
    const { error, message } = await other.call({ interface: MAIN, member: 'CanDo', args: "('fly',)" });
    expect(error).toBe(`${STANDARD}InvalidArgs`);
    expect(message).toContain('"fly", expected one of check, enable, continue');
    expect(await ask(other, '__proto__')).toBe(`${STANDARD}InvalidArgs`);
  });
});

describe('polkit is asked', () => {
  const proceed: CallText = { interface: MAIN, member: 'Continue', args: "('ticket',)" };

  test('not at all when it is off', async () => {
    await bench().polkit.run(ALLOW_ALL);
    await bench().serve({ access: { ...DEFAULT_ACCESS, polkit: 'off' } });
    expect((await (await bench().client(OTHER)).call(proceed)).error).toBe(DENIED);
    expect((await (await bench().client(MEMBER)).call(proceed)).error).toBe('');
  });

  test('after the table also when it is required', async () => {
    await bench().polkit.run(ALLOW_ALL);
    const service = await bench().serve({ access: { ...DEFAULT_ACCESS, polkit: 'required' } });
    expect((await (await bench().client(OTHER)).call(proceed)).error).toBe('');
    expect((await (await bench().client(MEMBER)).call(proceed)).error).toBe('');
    bench().polkit.freeze();
    // Present is enough for what the table allows.
    expect((await (await bench().client(MEMBER)).call(proceed)).error).toBe('');
    bench().polkit.thaw();
    await bench().polkit.stop();
    expect((await (await bench().client(MEMBER)).call(proceed)).error).toBe(DENIED);
    expect(service.effects).toHaveLength(3);
  });

  test('when the bus can start it; one that fails to start denies and is not taken for absent', async () => {
    const services = await mkdtemp(join(tmpdir(), 'holdpoint-services-'));
    await chmod(services, 0o755);
    const other = await startPrivateBus({
      policyPaths: [POLICY_PATH, POLKIT_POLICY],
      extraConfig: `<servicedir>${services}</servicedir>`,
    });
    const daemon = await PolkitDaemon.create(other);
    const start = join(services, 'start');
    const file = `[D-BUS Service]\nName=org.freedesktop.PolicyKit1\nExec=${start}\nUser=root\n`;
    await writeFile(join(services, 'org.freedesktop.PolicyKit1.service'), file);
    await writeFile(start, '#!/bin/sh\nexit 3\n', { mode: 0o755 });
    await daemon.writeRules(ALLOW_ALL);
    await other.restart();
    const service = new GuardedService({ address: other.address });
    const caller = await (async () => {
      await connected(service.start());
      return BusCaller.start(other.address, OTHER);
    })();
    try {
      expect((await caller.call(proceed)).error).toBe(DENIED);
      expect(service.log.records.filter(({ level }) => level === 'warn')).toHaveLength(1);
      const words = daemon.command.map((word) => `'${word}'`).join(' ');
      const script = `#!/bin/sh\nexport DBUS_SYSTEM_BUS_ADDRESS=${other.address} PATH=/usr/sbin:/usr/bin:/sbin:/bin\n`;
      await writeFile(start, `${script}echo $$ > ${services}/pid\nexec ${words}\n`, { mode: 0o755 });
      expect((await caller.call(proceed)).error).toBe('');
      expect(service.effects).toHaveLength(1);
    } finally {
      await caller.vanish();
      await service.end();
      const pid = Number(await readFile(join(services, 'pid'), 'utf8').catch(() => '0'));
      if (pid > 0) process.kill(pid, 'SIGKILL');
      await other.dispose();
      await daemon.dispose();
      await rm(services, { recursive: true, force: true });
    }
  });
});

describe('the actions we ship', () => {
  /** Source: design/dbus-api.md section 6; numbers as in PolkitImplicitAuthorization. */
  const NO = 0;
  const ADMIN = 2;
  const ADMIN_KEEP = 4;
  const YES = 5;
  const DEFAULTS: Readonly<Record<AccessAction, readonly [any: number, inactive: number, active: number]>> = {
    check: [ADMIN, ADMIN, YES],
    enable: [ADMIN, ADMIN, ADMIN_KEEP],
    continue: [NO, NO, YES],
    hold: [NO, NO, YES],
    abort: [ADMIN, ADMIN, YES],
    override: [ADMIN, ADMIN, ADMIN_KEEP],
    install: [ADMIN, ADMIN, ADMIN_KEEP],
    'install-untrusted': [ADMIN, ADMIN, ADMIN],
    inspect: [ADMIN, ADMIN, YES],
    rollback: [ADMIN, ADMIN, ADMIN_KEEP],
    health: [NO, NO, NO],
    'control-map': [ADMIN, ADMIN, ADMIN],
    'read-log': [ADMIN, ADMIN, YES],
  };

  test('are understood by polkit, with the defaults of the design, in three languages', async () => {
    await bench().polkit.run();
    const texts = new Set<string>();
    for (const locale of ['en_GB.UTF-8', 'de_DE.UTF-8', 'es_ES.UTF-8']) {
      const authority = ['/org/freedesktop/PolicyKit1/Authority', 'org.freedesktop.PolicyKit1.Authority'];
      const call = ['call', POLKIT_NAME, ...authority, 'EnumerateActions', 's', locale];
      const { stdout } = await busctl(bench().bus.address, ['--json=short', ...call]);
      const { data } = JSON.parse(stdout) as { data: [[string, string, string, ...unknown[]][]] };
      const found = new Map(data[0].map((row) => [row[0], row]));
      const ids = ACCESS_ACTIONS.map((action) => `io.holdpoint.update1.${action}`);
      expect([...found.keys()].sort()).toEqual(ids.sort());
      for (const action of ACCESS_ACTIONS) {
        const row = found.get(`io.holdpoint.update1.${action}`) ?? [];
        expect([action, ...row.slice(6, 9)]).toEqual([action, ...DEFAULTS[action]]);
        expect(String(row[1]).length).toBeGreaterThan(10);
        texts.add(String(row[1])).add(String(row[2]));
      }
    }
    expect(texts.size).toBe(ACCESS_ACTIONS.length * 3 * 2);
  });
});

describe('the one connection a call came by', () => {
  test('is the only one its question goes by: a bus that restarts meanwhile denies', async () => {
    const other = await startPrivateBus({ policyPaths: [POLICY_PATH, POLKIT_POLICY] });
    const daemon = await PolkitDaemon.create(other);
    const service = new GuardedService({ address: other.address });
    try {
      await daemon.run(ALLOW_ALL);
      await connected(service.start());
      const caller = await BusCaller.start(other.address, OTHER);
      const call: CallText = { interface: MAIN, member: 'Continue', args: "('ticket',)" };
      daemon.freeze();
      const pending = caller.call(call);
      await eventually('the call waits for polkit', () => service.dispatcher.runningCalls === 1);
      await other.restart();
      expect((await pending).error).toBe('lost');
      await eventually('the call is over', () => service.dispatcher.runningCalls === 0);
      await daemon.run(ALLOW_ALL);
      await connected(service);
      expect(service.effects).toEqual([]);
      const next = await BusCaller.start(other.address, OTHER);
      expect((await next.call(call)).error).toBe('');
      await Promise.all([caller.vanish(), next.vanish()]);
    } finally {
      await service.end();
      await daemon.dispose();
      await other.dispose();
    }
  });

  test('tells who is there, for people: process and program, one printable line', async () => {
    const service = await bench().serve();
    const caller = await bench().client(OTHER);
    expect(await describeCaller(service.bus, caller.uniqueName)).toEqual({ pid: caller.pid, app: 'python3' });
    const sleeper = await bench().client(OTHER);
    await sleeper.rename('evil\u001b[2J\u202e');
    const { app } = await describeCaller(service.bus, sleeper.uniqueName);
    expect(app).toBe('evil?[2J?');
    await caller.vanish();
    await eventually('the bus has forgotten it', async () => {
      const { pid, app: name } = await describeCaller(service.bus, caller.uniqueName);
      return pid === -1 && name === '';
    });
  });
});
