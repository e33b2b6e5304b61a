/**
 * Reports and logs that a server does not take (design/faults.md R18, R34): the update goes on where a report is of best
 * effort, goes back where it is not, and the result is told as it is. Source: spec/server-api.md sections 5 and 6,
 * spec/update-flow.md section 8.2.
 */
import { describe, expect, it, vi } from 'vitest';
import { LINK_FAULTS, shares, SORTS } from './answers.ts';
import { withRig } from './rig.ts';

// Many services side by side, on a machine that may have other things to do.
vi.setConfig({ testTimeout: 240_000 });

describe.concurrent('a deployment', () => {
  it('succeeds when single reports meet whatever fault, and it never reads one as abort (R18)', () =>
    withRig({}, async (rig) => {
      for (const [index, fault] of [...SORTS, ...LINK_FAULTS.slice(4, 7)].entries()) {
        const name = `release-${index}`;
        const url = await rig.publish({ name });
        // The first two reports are best effort, the one before the commit is repeated.
        rig.api.answerNext('status', fault.answer, fault.answer, ...(index % 8 === 0 ? [fault.answer] : []));
        const { id, end } = await rig.deploy(url, name);
        expect(end, fault.title).toMatchObject({ LastResult: 'success', CurrentArtifactName: name });
        expect(rig.statuses(id).at(-1), fault.title).toBe('success');
        expect(rig.statuses(id), fault.title).not.toContain('failure');
      }
    }));
});

describe.concurrent('a server that takes no report at all', () => {
  it.each(shares(SORTS, 3))(
    'costs the update, which is rolled back, never the service (R18, R34, part $part)',
    ({ faults }) =>
      withRig({}, async (rig) => {
        const url = await rig.publish();
        for (const fault of faults) {
          rig.api.answerAlways('status', fault.answer);
          const { id, end } = await rig.deploy(url);
          rig.api.answerAlways('status', null);
          expect(end, fault.title).toMatchObject({
            LastResult: 'rolled-back',
            CurrentArtifactName: 'unknown',
          });
          expect(String(end['LastErrorName']), fault.title).not.toMatch(/Aborted/);
          expect(rig.statuses(id), fault.title).not.toContain('success');
          expect(rig.statuses(id).at(-1), fault.title).toBe('failure');
          expect(rig.api.of('log').filter(({ path }) => path.includes(id))).toEqual([]);
        }
        await rig.pollsAgain();
      }),
  );
});

describe.concurrent('the log of a failed deployment', () => {
  it('is given up after any fault, and the result stays what it is (R18)', () =>
    withRig({}, async (rig) => {
      const url = await rig.publish();
      await rig.service.device.order('ArtifactInstall', 'fail');
      const own409 = { title: 'status 409', answer: { status: 409 }, retryAfterSeconds: 0 };
      for (const fault of [...SORTS.filter((_fault, index) => index % 3 === 1), own409]) {
        rig.api.answerAlways('log', fault.answer);
        const { id, end } = await rig.deploy(url);
        rig.api.answerAlways('log', null);
        expect(end, fault.title).toMatchObject({
          LastResult: 'rolled-back',
          LastErrorName: 'io.holdpoint.Update1.Failure.UpdateModule',
        });
        expect(
          rig.api.of('log').some(({ path }) => path.includes(id)),
          fault.title,
        ).toBe(true);
        expect(rig.statuses(id).at(-1)).toBe('failure');
      }
      await rig.pollsAgain();
    }));
});
