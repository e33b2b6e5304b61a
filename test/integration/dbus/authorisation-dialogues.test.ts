import { describe, expect, test } from 'vitest';
import { PEER } from '../../../src/adapters/dbus/standard-interfaces.ts';
import { refuse, RefusedCall } from '../../../src/core/refusal.ts';
import { MAIN } from '../../support/bus-client.ts';
import type { CallText } from '../../support/bus-caller.ts';
import { busctl, OTHER_UID, TARGET } from '../../support/bus-tools.ts';
import { eventually } from '../../support/eventually.ts';
import {
  CHALLENGE,
  DENIED,
  MEMBER,
  OTHER,
  ROOT,
  STANDARD,
  useGuardedBench,
} from '../../support/guarded-bench.ts';
import { CALM_CONTEXT } from '../../support/guarded-service.ts';

/** Calls that a person must allow: polkit's dialogues, with the person played by the test. */
const bench = useGuardedBench();

describe('a call that a person must allow', () => {
  const CONTINUE: CallText = { interface: MAIN, member: 'Continue', args: "('ticket',)" };
  const ABORT: CallText = { interface: MAIN, member: 'Abort', args: "('deployment-1', '')" };
  const PING: CallText = { interface: PEER, member: 'Ping', args: '' };

  test('opens a dialogue only with the interactive flag, and is carried out when the person authenticates', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const caller = await bench().client(OTHER);
    await caller.offerDialogues();
    expect((await caller.call(ABORT)).error).toBe(CHALLENGE);
    expect(caller.dialogues).toEqual([]);
    const pending = caller.call(ABORT, true);
    const dialogue = await caller.dialogue('begin');
    expect(dialogue).toMatchObject({
      action: 'io.holdpoint.update1.abort',
      message: 'Authentication is required to abort the update release-2',
      identities: [0],
    });
    expect(service.effects).toEqual([]);
    await bench().polkit.authenticate(dialogue.cookie, OTHER.uid);
    caller.closeDialogue(dialogue.cookie);
    expect((await pending).error).toBe('');
    expect(service.effects.map(({ member, action }) => [member, action])).toEqual([['Abort', 'abort']]);
    // Not cached: the next one is asked for again.
    const second = caller.call(ABORT, true);
    const { cookie } = await caller.dialogue('begin', 2);
    caller.closeDialogue(cookie);
    expect((await second).error).toBe(DENIED);
    expect(service.effects).toHaveLength(1);
    expect(service.authoriser.pendingDialogues).toBe(0);
  });

  test('asks in the language of the person, and shows nothing that could imitate another text', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    service.context = { ...CALM_CONTEXT, artifactName: 'evil\u202e\nrelease' };
    const caller = await bench().client(OTHER);
    await caller.offerDialogues({ locale: 'de_DE.UTF-8' });
    void caller.call(ABORT, true);
    const { message } = await caller.dialogue('begin');
    expect(message).toBe(
      'Legitimierung ist erforderlich, um die Aktualisierung evil\\u{202e}\\nrelease abzubrechen',
    );
  });

  test('keeps nobody waiting while its dialogue is open: neither others nor its own client', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const caller = await bench().client(OTHER);
    await caller.offerDialogues();
    void caller.call(ABORT, true);
    await caller.dialogue('begin');
    expect((await caller.call(PING)).error).toBe('');
    expect((await caller.call(ABORT)).error).toBe(CHALLENGE);
    expect((await (await bench().client(MEMBER)).call(CONTINUE)).error).toBe('');
    expect((await (await bench().client(ROOT)).call(ABORT)).error).toBe('');
    expect(service.effects.map(({ uid }) => uid)).toEqual([MEMBER.uid, ROOT.uid]);
    expect(service.authoriser.pendingDialogues).toBe(1);
  });

  test('is refused with LimitsExceeded beyond four open dialogues of a client, eight of a user', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const callers = [await bench().client(OTHER), await bench().client(OTHER), await bench().client(OTHER)];
    for (const [index, caller] of callers.entries()) {
      await caller.offerDialogues();
      const calls = Array.from({ length: 5 }, () => caller.call(ABORT, true));
      if (index < 2) {
        expect((await Promise.race(calls)).error).toBe(`${STANDARD}LimitsExceeded`);
        await caller.dialogue('begin', 4);
      } else {
        const errors = (await Promise.all(calls)).map(({ error }) => error);
        expect(errors).toEqual(Array.from({ length: 5 }, () => `${STANDARD}LimitsExceeded`));
      }
    }
    expect(service.authoriser.pendingDialogues).toBe(8);
    expect(service.effects).toEqual([]);
  });

  test('is over, with its dialogue, when the client vanishes', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const [caller, desktop] = [await bench().client(OTHER), await bench().client(OTHER)];
    await desktop.offerDialogues({ pid: caller.pid });
    void caller.call(ABORT, true);
    const { cookie } = await desktop.dialogue('begin');
    await caller.vanish();
    expect((await desktop.dialogue('cancel')).cookie).toBe(cookie);
    await eventually('the call is over', () => service.dispatcher.runningCalls === 0);
    expect(service.authoriser.pendingDialogues).toBe(0);
    expect(service.effects).toEqual([]);
    await eventually('nothing is watched any more', () => service.bus.counts.rules === 0);
  });

  test('is told ShuttingDown, and its dialogue is closed, when the service ends', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const [caller, desktop] = [await bench().client(OTHER), await bench().client(OTHER)];
    await desktop.offerDialogues({ pid: caller.pid });
    const pending = caller.call(ABORT, true);
    await desktop.dialogue('begin');
    await service.end();
    expect((await pending).error).toBe(`${MAIN}.Error.ShuttingDown`);
    await desktop.dialogue('cancel');
    expect(service.effects).toEqual([]);
  });

  test('is refused at once when polkit ends while the dialogue is open', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const caller = await bench().client(OTHER);
    await caller.offerDialogues();
    const pending = caller.call(ABORT, true);
    await caller.dialogue('begin');
    await bench().polkit.stop();
    expect((await pending).error).toBe(DENIED);
    expect(service.effects).toEqual([]);
  });

  test('is not asked about when its ticket is stale, and is not carried out when it became so meanwhile', async () => {
    await bench().polkit.run(
      'polkit.addRule(function (action) { if (/continue$/.test(action.id)) return polkit.Result.AUTH_ADMIN; });',
    );
    let current = 'ticket';
    const service = await bench().serve({
      precheck: ({ member, args }) => {
        if (member === 'Continue' && args[0] !== current) {
          throw new RefusedCall(refuse('StaleTicket', 'This wait is over'));
        }
      },
    });
    const caller = await bench().client(OTHER);
    await caller.offerDialogues();
    const stale = await caller.call({ ...CONTINUE, args: "('old',)" }, true);
    expect(stale.error).toBe(`${MAIN}.Error.StaleTicket`);
    expect(caller.dialogues).toEqual([]);
    const pending = caller.call(CONTINUE, true);
    const { cookie } = await caller.dialogue('begin');
    current = 'next';
    await bench().polkit.authenticate(cookie, OTHER.uid);
    caller.closeDialogue(cookie);
    expect((await pending).error).toBe(`${MAIN}.Error.StaleTicket`);
    expect(service.effects).toEqual([]);
  });

  test('is judged again, without a second dialogue, when the update has gone on while the person typed', async () => {
    await bench().polkit.run();
    const service = await bench().serve();
    const caller = await bench().client(OTHER);
    await caller.offerDialogues();
    const pending = caller.call(ABORT, true);
    const { cookie } = await caller.dialogue('begin');
    service.context = { ...CALM_CONTEXT, point: 'ArtifactCommit_Enter' };
    await bench().polkit.authenticate(cookie, OTHER.uid);
    caller.closeDialogue(cookie);
    expect((await pending).error).toBe(CHALLENGE);
    expect(service.effects).toEqual([]);
    expect(caller.dialogues).toHaveLength(1);
  });

  test('without anybody to show a dialogue is refused, with and without the flag of busctl', async () => {
    await bench().polkit.run();
    const flags: boolean[] = [];
    const service = await bench().serve({ precheck: ({ isInteractive }) => void flags.push(isInteractive) });
    for (const flag of ['yes', 'no']) {
      const call = ['call', MAIN, TARGET.path, MAIN, 'Abort', 'ss', 'deployment-1', ''];
      const option = `--allow-interactive-authorization=${flag}`;
      const { status, stderr } = await busctl(bench().bus.address, [option, ...call], { uid: OTHER_UID });
      expect(status).not.toBe(0);
      expect(stderr).toMatch(/without authentication for the action|interactive auth/i);
    }
    expect(flags).toEqual([true, true, false, false]);
    expect(service.effects).toEqual([]);
  });
});
