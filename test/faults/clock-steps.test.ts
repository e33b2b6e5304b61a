/**
 * A wall clock that steps by an hour and by ten years, forwards and backwards, under the running service (design/faults.md
 * R8): checks and their repetitions, holds and snoozes come neither at once nor never. Time is measured by the test's own
 * clock, which does not step; a machine that is slow makes everything later, and nothing earlier.
 */
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { ASK } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { blockerKinds } from '../support/hold-list.ts';
import { FastTime, steppedClock, type SteppedClock } from '../support/fake-time.ts';
import { wrapped } from './namespaces.ts';
import { withRig, type Rig, type RigOptions } from './rig.ts';

vi.setConfig({ testTimeout: 300_000 });
const STEPS = ['+1h', '-1h', '+10y', '-10y', '+0'] as const;
const OFFSET_MS = {
  '+1h': 3_600_000,
  '-1h': -3_600_000,
  '+10y': 315_360_000_000,
  '-10y': -315_360_000_000,
  '+0': 0,
};
/** What starves waits for an hour or for ten years. */
const SOON_MS = 60_000;

async function withSteppedClock(
  options: RigOptions,
  use: (rig: Rig, clock: SteppedClock) => Promise<void>,
): Promise<void> {
  await withRig(options, async (rig) => {
    const clock = await steppedClock(join(rig.service.device.folder, 'time'));
    await rig.service.terminate();
    await rig.service.start({ environment: clock.environment });
    await use(rig, clock);
  });
}

/** When each request came. */
function timesOf(rig: Rig, answer: { readonly status: number } | null): readonly number[] {
  const times: number[] = [];
  rig.api.answerAlways('next-v2', (_request, response) => {
    times.push(performance.now());
    response.writeHead(answer?.status ?? 204).end();
  });
  return times;
}

/** Three more requests after each step, none of them sooner behind the one before than half an interval. */
async function goesOn(times: readonly number[], leastMs: number, step: () => Promise<void>): Promise<void> {
  await eventually('it asks', () => times.length > 0, SOON_MS);
  const from = times.length - 1;
  await step();
  for (let count = 1; count <= 3; count += 1) {
    await eventually(`it asks again, ${count}`, () => times.length > from + count, SOON_MS);
  }
  const gaps = times.slice(from + 1).map((atMs, index) => atMs - (times[from + index] ?? 0));
  for (const gapMs of gaps) expect(gapMs).toBeGreaterThan(leastMs);
}

describe.concurrent('a machine that sleeps', () => {
  it('for a day makes one check when it wakes, not all that it missed (R8)', () => {
    let time: FastTime | undefined;
    return withRig(
      {
        menderConf: { UpdatePollIntervalSeconds: 3600 },
        prepare: ({ service }) => {
          time = new FastTime(service.device.folder, 1);
          wrapped(service, [], time.mount);
        },
      },
      async (rig) => {
        const times = timesOf(rig, null);
        time!.skip(24 * 3_600_000);
        // A timer stands still while the machine sleeps, and is looked at once a minute.
        await eventually('it checks', () => times.length === 1, 120_000);
        const seen = await rig.idle();
        const aheadMs = Number(seen['NextCheckUSec']) / 1000 - Date.now();
        expect(aheadMs).toBeGreaterThan(3_300_000);
        expect(aheadMs).toBeLessThan(3_900_000);
        // Whatever were still to come would have come before this one.
        process.kill(rig.service.pid, 'SIGUSR1');
        await eventually('it checks when it is told', () => times.length > 1, SOON_MS);
        await rig.idle();
        expect(times).toHaveLength(2);
      },
    ).finally(() => time?.dispose());
  });
});

describe.concurrent('a wall clock that steps', () => {
  it('makes checks neither burst nor starve, and the next one is shown by the new time (R8)', () =>
    withSteppedClock({ menderConf: { UpdatePollIntervalSeconds: 3 } }, async (rig, clock) => {
      const times = timesOf(rig, null);
      for (const step of STEPS) {
        await goesOn(times, 1_500, () => clock.step(step));
        const seen = await rig.idle(`idle after ${step}`);
        const aheadMs = Number(seen['NextCheckUSec']) / 1000 - (Date.now() + OFFSET_MS[step]);
        expect(Math.abs(aheadMs), step).toBeLessThan(SOON_MS);
      }
    }));

  it('makes repetitions of a check that failed neither burst nor starve (R8)', () =>
    withSteppedClock(
      { menderConf: { UpdatePollIntervalSeconds: 3600, RetryPollIntervalSeconds: 3, RetryPollCount: 1000 } },
      async (rig, clock) => {
        const times = timesOf(rig, { status: 500 });
        await rig.service.mustCall('CheckForUpdate').catch(() => undefined);
        for (const step of STEPS) await goesOn(times, 1_500, () => clock.step(step));
      },
    ));

  it.each(['+1h', '-1h', '+10y', '-10y'] as const)(
    'by %s ends no hold and no snooze early, and keeps none (R8)',
    (step) =>
      withSteppedClock({ points: { ArtifactInstall_Enter: ASK } }, async (rig, clock) => {
        const { service } = rig;
        rig.offer(await rig.publish());
        // Remembered, should the check of the start be under way.
        process.kill(service.pid, 'SIGUSR1');
        await service.waitAt('ArtifactInstall_Enter', SOON_MS);
        const holdSeconds = 8;
        const heldMs = performance.now();
        const hold = ['1', 'ArtifactInstall_Enter', 'surgery', String(holdSeconds), 'continue', '0'];
        await service.mustCall('Holds.AddHold', 'assusa{sv}', hold);
        await service.waitFor('it is held', (seen) => blockerKinds(seen).includes('hold'));
        await clock.step(step);
        const { WaitTicket: ticket } = await service.waitFor(
          'the hold is over',
          (seen) => !blockerKinds(seen).includes('hold') && seen['WaitTicket'] !== '',
          SOON_MS,
        );
        expect(performance.now() - heldMs).toBeGreaterThan(holdSeconds * 1000);

        await clock.step('+0');
        const snoozeSeconds = 6;
        const snoozedMs = performance.now();
        await service.mustCall('Snooze', 'su', [String(ticket), String(snoozeSeconds)]);
        await clock.step(step);
        await service.waitFor(
          'it is asked again',
          (seen) => seen['WaitTicket'] !== '' && seen['WaitTicket'] !== ticket,
          SOON_MS,
        );
        expect(performance.now() - snoozedMs).toBeGreaterThan(snoozeSeconds * 1000);
        expect(await rig.calls('ArtifactInstall')).toBe(0);
        expect(await service.property('WaitPoint')).toBe('ArtifactInstall_Enter');
      }),
  );
});
