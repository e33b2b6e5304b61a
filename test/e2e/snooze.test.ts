import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gdbus, TARGET } from '../support/bus-tools.ts';
import { ASK, makeArtifact } from '../support/device.ts';
import { blockerKinds, listedBlockers } from '../support/hold-list.ts';
import { Holder } from '../support/holder.ts';
import type { Properties } from '../support/property-watch.ts';
import { withService, type ServiceHarness } from '../support/service.ts';

/** Later, with limits (design/stories.md 4), and several people who answer at once. */
const POINT = 'ArtifactInstall_Enter';
const CONFIG = { points: { [POINT]: ASK }, holdpointConf: { Snooze: { 'max-total': 10, 'max-count': 3 } } };

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-snooze-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function asked(service: ServiceHarness): Promise<string> {
  return String((await service.waitAt(POINT))['WaitTicket']);
}

/** By gdbus, which shows the names of errors. */
async function snooze(service: ServiceHarness, ticket: string, seconds: number): Promise<string> {
  const method = `${TARGET.main}.Snooze`;
  const { stdout, stderr } = await gdbus(service.bus.address, 'call', [
    '--method',
    method,
    ticket,
    String(seconds),
  ]);
  return stdout.trim() + (/GDBus\.Error:(.*)/.exec(stderr)?.[1] ?? '');
}

async function mustSnooze(service: ServiceHarness, ticket: string, seconds: number): Promise<number> {
  const answer = await snooze(service, ticket, seconds);
  const until = /^\(uint64 (\d+),\)$/.exec(answer)?.[1];
  if (until === undefined) throw new Error(answer);
  return Number(until) / 1000;
}

function isSnoozed(seen: Properties): boolean {
  return seen['WaitPoint'] === POINT && seen['WaitTicket'] === '' && blockerKinds(seen).includes('snooze');
}

function askedAgain(service: ServiceHarness, ticket: string): Promise<Properties> {
  return service.waitFor(
    'it is asked again',
    (seen) => seen['WaitTicket'] !== '' && seen['WaitTicket'] !== ticket,
  );
}

describe.concurrent('a snooze', { timeout: 90_000 }, () => {
  it('closes the question, goes on waiting, and asks again with a new ticket', () =>
    withService(CONFIG, async (service) => {
      const deployment = await service.install(artifact);
      const ticket = await asked(service);
      const untilMs = await mustSnooze(service, ticket, 2);
      expect(Math.abs(untilMs - Date.now() - 2000)).toBeLessThan(1500);
      const seen = await service.waitFor('it is snoozed', isSnoozed);
      expect(listedBlockers(seen)).toMatchObject([
        { kind: 'consent' },
        { kind: 'snooze', details: { uid: 0, 'on-end': 'continue' } },
      ]);
      expect(seen['AllowedActions']).toContain('end-snooze');
      expect(seen['AllowedActions']).not.toContain('continue');
      // Again with the same ticket: the reply may have been lost.
      expect(await mustSnooze(service, ticket, 2)).toBe(untilMs);
      expect(
        await snooze(
          service,
          ticket.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
          2,
        ),
      ).toContain('Error.StaleTicket');
      expect((await service.call('Continue', 's', [ticket])).error).not.toBe('');

      const again = await askedAgain(service, ticket);
      expect(Date.now()).toBeGreaterThan(untilMs - 100);
      expect(blockerKinds(again)).toEqual(['consent']);
      await service.mustCall('Continue', 's', [String(again['WaitTicket'])]);
      expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });

      const ends = service.watch.signals.filter(({ member }) => member === 'WaitEnded');
      expect(ends.map(({ args }) => [args[1], args[2]])).toEqual([
        [ticket, 'snoozed'],
        [again['WaitTicket'], 'continued'],
      ]);
      const starts = service.watch.signals.filter(({ member }) => member === 'WaitStarted');
      expect(starts.map(({ args }) => args[1])).toEqual(ends.map(({ args }) => args[1]));
      const history = (await service.mustCall('History.Get', 's', [deployment])) as {
        decisions: { data: Record<string, { data: unknown }>[] };
      };
      expect(history.decisions.data.map(({ kind, seconds }) => [kind?.data, seconds?.data])).toEqual([
        ['postponement', 2],
        ['consent', 0],
      ]);
    }));

  it('is limited in number and in all, and says how much is left', () =>
    withService(CONFIG, async (service) => {
      await service.install(artifact);
      let ticket = await asked(service);
      expect(await snooze(service, ticket, 0)).toContain('Error.InvalidArgs');
      expect(await snooze(service, ticket, 11)).toMatch(
        /Update1\.Error\.DeferralLimit: .*\[remaining-seconds=10\]/,
      );
      expect(service.watch.present()).toMatchObject({ WaitTicket: ticket });
      for (const seconds of [1, 1, 1]) {
        await mustSnooze(service, ticket, seconds);
        ticket = String((await askedAgain(service, ticket))['WaitTicket']);
      }
      expect(await snooze(service, ticket, 1)).toMatch(/DeferralLimit: .*\[remaining-seconds=0\]/);
      expect(service.watch.present()?.['AllowedActions']).not.toContain('snooze');
      expect(service.watch.present()?.['AllowedActions']).toContain('continue');
    }));

  it('is never longer than the ceiling of the point', () =>
    withService(
      {
        ...CONFIG,
        points: { [POINT]: { ...ASK, ceiling: 3 } },
      },
      async (service) => {
        await service.install(artifact);
        const ticket = await asked(service);
        expect(await snooze(service, ticket, 5)).toMatch(/DeferralLimit: .*\[remaining-seconds=[23]\]/);
        await mustSnooze(service, ticket, 2);
        expect(await service.waitForEnd(15_000)).toMatchObject({
          LastErrorName: 'io.holdpoint.Update1.Failure.HoldExpired',
          LastErrorDetails: { reason: 'ceiling-reached' },
        });
      },
    ));

  it('goes on over a restart of the service, and its count over a reboot', () =>
    withService(CONFIG, async (service) => {
      await service.install(artifact);
      const first = await asked(service);
      const untilMs = await mustSnooze(service, first, 4);
      await service.restart();
      const seen = await service.waitFor('it is still snoozed', isSnoozed);
      expect(listedBlockers(seen).find(({ kind }) => kind === 'snooze')).toBeDefined();
      const second = String((await askedAgain(service, first))['WaitTicket']);
      expect(Date.now()).toBeGreaterThan(untilMs - 300);
      expect(Date.now()).toBeLessThan(untilMs + 5_000);

      await mustSnooze(service, second, 3);
      await service.restart({ boot: 'next' });
      await service.waitFor('it is snoozed after the reboot', isSnoozed);
      const third = String((await askedAgain(service, second))['WaitTicket']);
      expect(await snooze(service, third, 4)).toMatch(/DeferralLimit: .*\[remaining-seconds=3\]/);
      await mustSnooze(service, third, 1);
      const fourth = String((await askedAgain(service, third))['WaitTicket']);
      await service.restart({ boot: 'next' });
      const fifth = String((await askedAgain(service, fourth))['WaitTicket']);
      expect(await snooze(service, fifth, 1)).toMatch(/DeferralLimit: .*\[remaining-seconds=0\]/);
    }));

  it('can be ended early, and what is left of it may be used another time', () =>
    withService(CONFIG, async (service) => {
      const id = await service.install(artifact);
      const ticket = await asked(service);
      await mustSnooze(service, ticket, 10);
      await service.waitFor('it is snoozed', isSnoozed);
      expect((await service.call('EndSnooze', 's', ['another one'])).error).not.toBe('');
      await service.mustCall('EndSnooze', 's', [id]);
      const again = String((await askedAgain(service, ticket))['WaitTicket']);
      // Nothing is snoozed any more: nothing happens.
      await service.mustCall('EndSnooze', 's', [id]);
      expect(service.watch.present()).toMatchObject({ WaitTicket: again });
      await mustSnooze(service, again, 8);
    }));
});

describe.concurrent('several user interfaces', { timeout: 90_000 }, () => {
  it('may answer at once: the first answer counts, the others learn whose it was', () =>
    withService(CONFIG, async (service) => {
      await service.install(artifact);
      const ticket = await asked(service);
      const [one, other] = [await Holder.start(service), await Holder.start(service)];
      try {
        const answers = await Promise.all([
          one.call('Continue', `('${ticket}',)`),
          other.call('Continue', `('${ticket}',)`),
          one.call('Snooze', `('${ticket}', uint32 5)`),
        ]);
        // A repeated yes is a yes; the postponement came too late.
        expect(answers.map(({ error, reply }) => error.split('.').at(-1) || reply)).toEqual([
          "('proceeding',)",
          "('proceeding',)",
          'StaleTicket',
        ]);
        expect(await service.waitForEnd()).toMatchObject({ LastResult: 'success' });
        const ends = service.watch.signals.filter(({ member }) => member === 'WaitEnded');
        expect(ends).toHaveLength(1);
        const details = ends[0]?.args[3] as ReadonlyMap<string, { value: unknown }>;
        expect([details.get('by-uid')?.value, details.get('by-app')?.value]).toEqual([0, 'python3']);
      } finally {
        await one.vanish();
        await other.vanish();
      }
    }));
});
