/**
 * The server ends a deployment while its file comes, or while its download is tried again, and what becomes of a log that
 * grows while it is sent (design/faults.md R17, R33, R37; design/stories.md 18).
 */
import { describe, expect, it, vi } from 'vitest';
import type { Answer } from '../support/device-api.ts';
import { ASK } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { withRig, type FileAnswer, type Rig } from './rig.ts';

// Each waits for the device to ask, eight seconds later.
vi.setConfig({ testTimeout: 240_000 });
const ABORTED: Answer = { status: 409, body: '{"error":"aborted"}' };

/** Lets the download begin, then has the server abort. Returns how long the device went on, milliseconds. */
async function abortsInTheMiddle(rig: Rig, fileAnswer: FileAnswer): Promise<number> {
  const { service } = rig;
  const url = await rig.publish({ scripts: ['ArtifactRollback_Enter_00', 'ArtifactFailure_Enter_00'] });
  rig.fileAnswer = fileAnswer;
  const id = rig.offer(url);
  const filesBefore = rig.fileRequests;
  await service.mustCall('CheckForUpdate');
  await eventually('the file is asked for', () => rig.fileRequests > filesBefore, 120_000);
  await service.waitFor('the download is under way', (seen) => seen['Step'] === 'Download');
  rig.api.answerAlways('status', ABORTED);
  const fromMs = performance.now();
  // Not the wall clock of a machine that may be busy, but what happens in which order: one more report, and it ends.
  const reported = rig.reports(id).length;
  await service.waitFor('it has left the download', (seen) => seen['State'] !== 'Download', 120_000);
  const tookMs = performance.now() - fromMs;
  const end = await rig.idle();
  expect(end).toMatchObject({
    LastResult: 'aborted',
    LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByServer',
    CurrentArtifactName: 'unknown',
  });
  // It learnt of it by the first report it made after the abort.
  expect(rig.reports(id).slice(reported)).toEqual(['downloading', 'failure']);
  // Whoever has ended it wants to hear no more of it: 409 to the result ends the telling, and no log is sent.
  expect(rig.api.of('log').filter(({ path }) => path.includes(id))).toEqual([]);
  // No reboot, nothing installed, nothing rolled back that was never touched.
  const calls = await service.device.calls();
  expect(calls.filter((call) => /Install|Reboot|Rollback|ArtifactFailure/.test(call))).toEqual([]);
  rig.api.answerAlways('status', null);
  rig.api.offer(null);
  await rig.pollsAgain();
  return tookMs;
}

describe.concurrent('an abort by the server', () => {
  it('in the middle of a file that comes slowly ends the download, without reboot or rollback (R33)', () =>
    withRig({ needsReboot: 'Yes' }, async (rig) => {
      const timers = new Set<NodeJS.Timeout>();
      try {
        const tookMs = await abortsInTheMiddle(rig, (_request, response, bytes) => {
          response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
          let at = 0;
          const timer = setInterval(() => {
            // It never comes to an end by itself.
            if (at < bytes.length - 100) response.write(bytes.subarray(at, (at += 10)));
          }, 50);
          timers.add(timer);
          response.on('close', () => clearInterval(timer));
        });
        console.log(`the download went on for ${Math.round(tookMs)} ms after the abort (story 18: 10 s)`);
      } finally {
        for (const timer of timers) clearInterval(timer);
      }
    }));

  it('is honoured while a download that fails is tried again and again (R17, R33)', () =>
    withRig(
      { menderConf: { RetryDownloadCount: 10_000, RetryPollIntervalSeconds: 1 } },
      async (rig) =>
        void (await abortsInTheMiddle(rig, (_request, response) => void response.writeHead(503).end())),
    ));

  it('ends a wait for a person, with whom no control map comes, and a busy server does not (R33)', () =>
    withRig(
      { points: { ArtifactInstall_Enter: ASK }, menderConf: { UpdatePollIntervalSeconds: 2 } },
      async (rig) => {
        const { service } = rig;
        const id = rig.offer(await rig.publish());
        const told = (): number =>
          rig.reports(id).filter((status) => status === 'pause_before_installing').length;
        const toldAgain = async (): Promise<void> => {
          const before = told();
          await eventually('the server is told again of the wait', () => told() > before, 60_000);
        };
        await service.waitAt('ArtifactInstall_Enter', 60_000);
        await toldAgain();
        rig.api.answerNext('status', { status: 503 }, { status: 500, body: 'no' }, { status: 404 });
        for (let count = 0; count < 4; count += 1) await toldAgain();
        expect(await service.property('WaitPoint')).toBe('ArtifactInstall_Enter');
        rig.api.answerAlways('status', ABORTED);
        const end = await service.waitForEnd(60_000);
        expect(end).toMatchObject({
          LastResult: 'aborted',
          LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByServer',
          CurrentArtifactName: 'unknown',
        });
        const calls = await service.device.calls();
        expect(calls.filter((call) => /Install|Reboot|Rollback|ArtifactFailure/.test(call))).toEqual([]);
      },
    ));

  it('in a pause of the download ends it as well (R33)', () =>
    withRig({}, async (rig) => {
      const { service } = rig;
      rig.fileAnswer = (_request, response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
        response.write(bytes.subarray(0, 1_000));
      };
      const id = rig.offer(await rig.publish());
      await service.mustCall('CheckForUpdate');
      await service.waitFor('the download is under way', (seen) => seen['Step'] === 'Download');
      await service.mustCall('Pause', 's', [id]);
      rig.api.answerAlways('status', ABORTED);
      expect(await rig.idle()).toMatchObject({ LastResult: 'aborted' });
      expect(await rig.calls('ArtifactInstall')).toBe(0);
    }));
});

describe.concurrent('a server that is too busy for reports during a download', () => {
  it('is neither an abort nor an end of it (R18, R33)', () =>
    withRig({}, async (rig) => {
      const url = await rig.publish();
      let finish = (): void => undefined;
      const asked = new Promise<void>((resolve) => {
        rig.fileAnswer = (_request, response, bytes) => {
          response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
          response.write(bytes.subarray(0, 1_000));
          finish = () => response.end(bytes.subarray(1_000));
          resolve();
        };
      });
      rig.api.answerNext('status', { status: 204 }, { status: 503 });
      const id = rig.offer(url);
      await rig.service.mustCall('CheckForUpdate');
      await asked;
      await eventually('it has said again that it downloads', () => rig.reports(id).length >= 2, 120_000);
      finish();
      const end = await rig.service.waitFor('the end', (seen) => seen['LastResult'] !== 'none', 120_000);
      expect(end).toMatchObject({ LastResult: 'success' });
      await rig.idle();
      expect(rig.statuses(id)).toEqual(['downloading', 'installing', 'installing', 'success']);
    }));
});

describe.concurrent('the log of a deployment', () => {
  it('that grows while it is sent is sent whole as it was, with a length that is right (R37)', () =>
    withRig({}, async (rig) => {
      const { service } = rig;
      await service.device.order('ArtifactInstall', 'fail');
      const why = (count: number): string => `written while it is sent ${count}`;
      rig.api.answerNext('log', async (request, response) => {
        expect(Number(request.headers['content-length'])).toBe(request.body.length);
        // The answer is not there yet, and a hold is written into the log.
        for (let count = 0; count < 5; count += 1) {
          const hold = ['1', 'ArtifactInstall_Enter', why(count), '600', 'continue', '0'];
          await service.mustCall('Holds.AddHold', 'assusa{sv}', hold);
        }
        response.writeHead(500).end();
      });
      const { id } = await rig.deploy(await rig.publish());
      const sent = rig.api.of('log').filter(({ path }) => path.includes(id));
      expect(sent).toHaveLength(2);
      const [first = [], second = []] = sent.map(({ json }) =>
        (json as { messages: readonly { message: string }[] }).messages.map(({ message }) => message),
      );
      expect(first.length).toBeGreaterThan(0);
      expect(first.join()).not.toContain('written while');
      // The second time it is what the log has become by then, behind what was sent before.
      expect(second.slice(0, first.length)).toEqual(first);
      for (let count = 0; count < 5; count += 1) expect(second.join()).toContain(why(count));
      await rig.pollsAgain();
    }));
});
