import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BusCaller, type Outcome } from '../support/bus-caller.ts';
import { ASK, makeArtifact } from '../support/device.ts';
import { CHALLENGE, DENIED, OTHER } from '../support/guarded-bench.ts';
import { POLKIT_POLICY, PolkitDaemon } from '../support/polkit.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from '../support/private-bus.ts';
import { ServiceHarness } from '../support/service.ts';

/**
 * A user interface without rights of its own (design/stories.md 14): it reads everything, approves and puts off where it
 * may, and is told by the name of an action what it may not; by the table alone, and by polkit.
 */
const POINTS = { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK };
/** Without any right. */
const STRANGER = { uid: 2, gids: [2] };
const KIOSK_RULE = { users: [OTHER.uid], actions: ['continue'], points: ['ArtifactInstall_Enter'] };

let folder: string;
let artifact: string;
let bus: PrivateBus;
let polkit: PolkitDaemon;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-access-'));
  artifact = await makeArtifact({ folder });
  bus = await startPrivateBus({ policyPaths: [POLICY_PATH, POLKIT_POLICY] });
  polkit = await PolkitDaemon.create(bus);
});
afterAll(async () => {
  await polkit.dispose();
  await bus.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function drive(
  access: Readonly<Record<string, unknown>>,
  refusals: Readonly<Record<string, readonly [error: string, action: string]>>,
): Promise<void> {
  const service = await ServiceHarness.create({ bus, points: POINTS, holdpointConf: { Access: access } });
  const [kiosk, stranger] = await Promise.all([
    BusCaller.start(bus.address, OTHER),
    BusCaller.start(bus.address, STRANGER),
  ]);
  const main = 'io.holdpoint.Update1';
  const call = (member: string, args: string): Promise<Outcome> => {
    const dot = member.lastIndexOf('.');
    const owner = dot < 0 ? main : `${main}.${member.slice(0, dot)}`;
    return kiosk.call({ interface: owner, member: member.slice(dot + 1), args });
  };
  const canContinue = async (): Promise<string> => String((await call('CanDo', "('continue',)")).reply);
  try {
    await service.start();
    const id = await service.install(artifact);
    const ticket = String((await service.waitAt('ArtifactInstall_Enter'))['WaitTicket']);

    const read = { interface: 'org.freedesktop.DBus.Properties', member: 'GetAll', args: `('${main}',)` };
    expect((await kiosk.call(read)).reply).toContain(ticket);
    expect(await canContinue()).toBe("('yes',)");
    const attempts: Readonly<Record<string, string>> = {
      Abort: `('${id}', '')`,
      ContinueFull: `('${ticket}', {'override': <true>})`,
      SetUpdatesEnabled: '(false,)',
      'Holds.SetControlMap': "('{}',)",
      'Install.InstallPath': `('${artifact}', '')`,
      'History.GetLog': `('${id}', @u 0, @u 10)`,
    };
    expect(Object.keys(refusals)).toEqual(Object.keys(attempts));
    for (const [member, args] of Object.entries(attempts)) {
      const { error, message } = await call(member, args);
      const [name, action] = refusals[member] ?? [];
      expect(`${member}: ${error}`).toBe(`${member}: ${name}`);
      expect(message).toContain(`[action=io.holdpoint.update1.${action}]`);
    }
    const seen = await service.waitAt('ArtifactInstall_Enter');
    expect([seen['WaitTicket'], seen['UpdatesEnabled'], seen['DeploymentId']]).toEqual([ticket, true, id]);

    expect((await call('Continue', "('0123456789abcdef0123456789abcdef',)")).error).toBe(
      `${main}.Error.StaleTicket`,
    );
    expect((await call('Snooze', `('${ticket}', @u 1)`)).error).toBe('');
    const again = await service.waitFor(
      'it is asked again',
      ({ WaitTicket }) => WaitTicket !== ticket && WaitTicket !== '',
    );
    expect(await call('Continue', `('${String(again['WaitTicket'])}',)`)).toMatchObject({
      reply: "('proceeding',)",
    });

    // Its reply may have been lost: the same question gets the same answer, though the update has gone on.
    const used = String(again['WaitTicket']);
    await service.waitAt('ArtifactCommit_Enter');
    expect(await call('Continue', `('${used}',)`)).toMatchObject({ reply: "('proceeding',)" });
    expect((await call('ContinueFull', `('${used}', {'override': <true>})`)).error).toBe(
      refusals['ContinueFull']?.[0],
    );
    // Whoever had no right to that point gets none by a ticket that everybody could read there.
    const theirs = await stranger.call({ interface: main, member: 'Continue', args: `('${used}',)` });
    expect(theirs.error).toBe(DENIED);
    expect(theirs.message).toContain('[action=io.holdpoint.update1.continue]');

    const last = String((await service.waitAt('ArtifactCommit_Enter'))['WaitTicket']);
    expect(await canContinue()).toBe("('no',)");
    expect(await call('Continue', `('${last}',)`)).toMatchObject({
      error: DENIED,
      message: expect.stringContaining('[action=io.holdpoint.update1.continue]') as string,
    });
    expect((await service.waitAt('ArtifactCommit_Enter'))['WaitTicket']).toBe(last);
    await service.release('ArtifactCommit_Enter');
    expect((await service.waitForEnd())['LastResult']).toBe('success');
  } finally {
    await Promise.all([kiosk.vanish(), stranger.vanish()]);
    await service.dispose();
  }
}

describe('a kiosk that may continue at one point', { timeout: 90_000 }, () => {
  it('by the access table, on a device without polkit', () =>
    drive(
      { rules: [KIOSK_RULE] },
      {
        Abort: [DENIED, 'abort'],
        ContinueFull: [DENIED, 'override'],
        SetUpdatesEnabled: [DENIED, 'enable'],
        'Holds.SetControlMap': [DENIED, 'control-map'],
        'Install.InstallPath': [DENIED, 'install-untrusted'],
        'History.GetLog': [DENIED, 'read-log'],
      },
    ));

  it('by a rule of polkit, on a device with polkit', async () => {
    const example = await readFile('packaging/polkit/examples/50-holdpoint-kiosk.rules', 'utf8');
    await polkit.run(
      example.replaceAll('"kiosk"', '"nobody"').replaceAll('ArtifactReboot_Enter', 'ArtifactInstall_Enter'),
    );
    await drive(
      { polkit: 'required', rules: [] },
      {
        Abort: [CHALLENGE, 'abort'],
        ContinueFull: [CHALLENGE, 'override'],
        SetUpdatesEnabled: [CHALLENGE, 'enable'],
        'Holds.SetControlMap': [CHALLENGE, 'control-map'],
        'Install.InstallPath': [CHALLENGE, 'install-untrusted'],
        'History.GetLog': [CHALLENGE, 'read-log'],
      },
    );
    await polkit.stop();
  });
});
