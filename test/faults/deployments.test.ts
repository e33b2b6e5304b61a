/**
 * A deployment under way that is aborted by the server in each state, whose token is revoked, that is offered twice or
 * changes, or whose file cannot be had (design/faults.md R17, R18, R32, R33, R35). Source: spec/server-api.md sections 4 to
 * 7, spec/update-flow.md section 8.2.
 */
import { describe, expect, it, vi } from 'vitest';
import type { Answer } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { shares, SORTS } from './answers.ts';
import { withRig, type Rig } from './rig.ts';

// Many services side by side, on a machine that may have other things to do.
vi.setConfig({ testTimeout: 240_000 });

describe.concurrent('an abort by the server (409)', () => {
  const aborted: Answer = { status: 409, body: '{"error":"aborted"}' };
  const proper: Answer = { status: 204 };

  it('ends a deployment at whichever report it comes, and only the last one comes too late (R33)', () =>
    withRig({ needsReboot: 'No' }, async (rig) => {
      const url = await rig.publish();
      const installsAt: number[] = [];
      for (const nth of [0, 1, 2, 3]) {
        const before = await rig.calls('ArtifactInstall');
        rig.api.answerNext('status', ...Array<Answer>(nth).fill(proper), aborted);
        const { id, end } = await rig.deploy(url);
        installsAt.push((await rig.calls('ArtifactInstall')) - before);
        if (nth === 3) {
          expect(rig.statuses(id).at(-1)).toBe('success');
          expect(end).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
        } else {
          expect(end).toMatchObject({
            LastResult: nth < 2 ? 'aborted' : expect.stringMatching(/^(aborted|rolled-back)$/),
            LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByServer',
            CurrentArtifactName: 'unknown',
          });
          expect(rig.statuses(id)).not.toContain('success');
        }
      }
      // Nothing is installed after an abort that came before.
      expect(installsAt).toEqual([0, 0, 1, 1]);
      expect(await rig.calls('ArtifactRollback')).toBe(1);
      await rig.pollsAgain();
    }));

  it('ends an update that reboots at whichever report it comes, with a rollback where there is one to make (R33)', () =>
    withRig({ needsReboot: 'Yes' }, async (rig) => {
      const url = await rig.publish();
      const told: (readonly string[])[] = [];
      const counts: (readonly number[])[] = [];
      for (const nth of [0, 1, 2, 3, 4]) {
        const callsOf = (): Promise<readonly number[]> =>
          Promise.all(
            ['ArtifactInstall', 'ArtifactReboot', 'ArtifactRollback', 'ArtifactCommit'].map((action) =>
              rig.calls(action),
            ),
          );
        const before = await callsOf();
        rig.api.answerNext('status', ...Array<Answer>(nth).fill(proper), aborted);
        const { id, end } = await rig.deploy(url);
        counts.push((await callsOf()).map((count, index) => count - (before[index] ?? 0)));
        told.push(rig.statuses(id));
        if (nth === 4) expect(end).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
        else {
          expect(end).toMatchObject({
            LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByServer',
            CurrentArtifactName: 'unknown',
          });
        }
      }
      expect(told).toEqual([
        ['downloading', 'failure'],
        ['downloading', 'installing', 'failure'],
        ['downloading', 'installing', 'rebooting', 'failure'],
        ['downloading', 'installing', 'rebooting', 'installing', 'failure'],
        ['downloading', 'installing', 'rebooting', 'installing', 'success'],
      ]);
      // Install, reboot, rollback, commit.
      expect(counts).toEqual([
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 1, 0],
        [1, 1, 1, 0],
        [1, 1, 0, 1],
      ]);
      await rig.pollsAgain();
    }));

  it('is honoured in a wait, and when the server says that the deployment is gone (R33)', () =>
    withRig({ menderConf: { UpdateControlMapExpirationTimeSeconds: 60 } }, async (rig) => {
      const url = await rig.publish();
      const map = { priority: 0, states: { ArtifactInstall_Enter: { action: 'pause' } } };
      rig.api.answerAlways('map', { status: 404, body: '{"error":"not found"}' });
      const { id, end } = await rig.deploy(url, 'release-2', map);
      expect(end).toMatchObject({
        LastResult: 'aborted',
        LastErrorName: 'io.holdpoint.Update1.Failure.AbortedByServer',
      });
      expect(rig.statuses(id)).toEqual(['downloading', 'failure']);
      expect(await rig.calls('ArtifactInstall')).toBe(0);
      await rig.pollsAgain();
    }));
});

describe.concurrent('a map that cannot be fetched again', () => {
  it.each(
    shares(
      SORTS.filter(({ title }, index) => title !== 'status 404' && index % 2 === 0),
      2,
    ),
  )(
    'fails the update after its tries, before anything is installed, and is never read as an abort (R18, part $part)',
    ({ faults }) =>
      // A map is asked for again at the polling interval when that is below a minute; it is polled by itself, then.
      withRig({ menderConf: { UpdatePollIntervalSeconds: 2 } }, async (rig) => {
        const url = await rig.publish();
        for (const fault of faults) {
          const states = { ArtifactInstall_Enter: { action: 'pause' } };
          rig.api.answerAlways('map', fault.answer);
          const asked = rig.api.of('map').length;
          const id = rig.offerOnce(url, 'release-2', { priority: 0, states });
          const end = await rig.endOf(id);
          expect(rig.api.of('map').length, fault.title).toBeGreaterThan(asked);
          expect(end, fault.title).toMatchObject({
            // The module had its say: the failure of an installation, as the spec has it, that was not begun.
            LastResult: 'rolled-back',
            LastErrorName: 'io.holdpoint.Update1.Failure.ControlMap',
          });
          expect(rig.statuses(id), fault.title).not.toContain('success');
          expect(rig.statuses(id).at(-1), fault.title).toBe('failure');
        }
        expect(await rig.calls('ArtifactInstall')).toBe(0);
        await rig.pollsAgain();
      }),
  );
});

describe.concurrent('a token', () => {
  it('that is revoked before each report is renewed, and the update goes on (401)', () =>
    withRig({}, async (rig) => {
      const url = await rig.publish();
      const revoked: Answer = (request, response) => {
        rig.api.revokeTokens();
        response.writeHead(401).end('{"error":"token revoked"}');
        expect(request.headers.authorization).toMatch(/^Bearer /);
      };
      rig.api.answerNext('status', revoked, { status: 204 }, revoked, { status: 204 }, revoked);
      const { id, end } = await rig.deploy(url);
      expect(end).toMatchObject({ LastResult: 'success', ServerStatus: 'authorized' });
      expect(rig.statuses(id).join(' ')).toBe(
        'downloading installing installing installing installing success',
      );
    }));

  it('that is revoked in mid-download is renewed by the next report, and the download goes on (401)', () =>
    withRig({}, async (rig) => {
      const { service } = rig;
      const url = await rig.publish();
      let finish = (): void => undefined;
      rig.fileAnswer = (_request, response, bytes) => {
        response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
        response.write(bytes.subarray(0, 1_000));
        finish = () => response.end(bytes.subarray(1_000));
      };
      const id = rig.offerOnce(url, 'release-2', null);
      await service.mustCall('CheckForUpdate');
      await eventually('the file is asked for', () => rig.fileRequests > 0, 60_000);
      const [auths, reports] = [rig.api.of('auth').length, rig.reports(id).length];
      rig.api.revokeTokens();
      // Refused, and said again with the new token.
      await eventually('it has reported', () => rig.reports(id).length >= reports + 2, 60_000);
      expect(rig.api.of('auth')).toHaveLength(auths + 1);
      finish();
      expect(await rig.endOf(id)).toMatchObject({ LastResult: 'success', ServerStatus: 'authorized' });
      expect(rig.fileRequests).toBe(1);
    }));

  it('that is revoked for good rolls the update back before the commit, and asks again later (R34, R35)', () =>
    withRig({}, async (rig) => {
      const url = await rig.publish();
      rig.api.answerNext('status', (_request, response) => {
        rig.api.revokeTokens();
        rig.api.answerAlways('auth', { status: 401, body: '{"error":"rejected"}' });
        response.writeHead(401).end();
      });
      const { id, end } = await rig.deploy(url);
      expect(end).toMatchObject({
        LastResult: 'rolled-back',
        CurrentArtifactName: 'unknown',
        ServerStatus: 'rejected',
      });
      expect(await rig.calls('ArtifactCommit')).toBe(0);
      expect(rig.statuses(id)).not.toContain('success');
      rig.api.answerAlways('auth', null);
      await rig.pollsAgain();
    }));
});

describe.concurrent('an offer', () => {
  it('that comes again, under its id or another, is not installed twice (R32)', () =>
    withRig({}, async (rig) => {
      const url = await rig.publish();
      // Its success never arrived, so that the server offers it again.
      const first = rig.offer(url);
      rig.api.answerNext(
        'status',
        { status: 204 },
        { status: 204 },
        { status: 204 },
        { status: 500 },
        { status: 500 },
      );
      const { seen } = await rig.poll();
      expect(seen).toMatchObject({ LastResult: 'success', CurrentArtifactName: 'release-2' });
      rig.offer(url, 'release-2', first);
      expect((await rig.poll()).seen).toMatchObject({ CurrentArtifactName: 'release-2' });
      expect(rig.statuses(first).at(-1)).toBe('already-installed');
      const other = rig.offer(url);
      await rig.poll();
      expect(rig.statuses(other)).toEqual(['already-installed']);
      expect(await rig.calls('ArtifactInstall')).toBe(1);
      rig.api.offer(null);
      await rig.pollsAgain();
    }));

  it('that changes between two checks is taken as it is at the second (changed offer, R21)', () =>
    withRig({}, async (rig) => {
      const id = rig.offer('http://127.0.0.1:9/gone.mender', 'release-2');
      const lost = (await rig.poll()).seen;
      expect(lost).toMatchObject({
        LastResult: 'failure',
        LastErrorName: 'io.holdpoint.Update1.Failure.Download',
      });
      expect(rig.statuses(id).at(-1)).toBe('failure');
      rig.offer(await rig.publish({ name: 'release-3' }), 'release-3', id);
      expect((await rig.poll()).seen).toMatchObject({
        LastResult: 'success',
        CurrentArtifactName: 'release-3',
      });
      rig.offer(await rig.publish({ name: 'release-5' }), 'release-4');
      expect((await rig.poll()).seen).toMatchObject({
        LastResult: 'failure',
        CurrentArtifactName: 'release-3',
      });
      rig.api.offer(null);
      await rig.pollsAgain();
    }));

  it('whose file is not there, or never comes whole, is a failure that is told once (R17, R13)', () =>
    withRig({ menderConf: { RetryDownloadCount: 2 } }, async (rig) => {
      const url = await rig.publish();
      const bad: readonly [string, Rig['fileAnswer'], number][] = [
        ['status 404', (_request, response) => void response.writeHead(404).end(), 3],
        ['status 410', (_request, response) => void response.writeHead(410).end(), 3],
        ['status 503', (_request, response) => void response.writeHead(503).end(), 4],
        [
          'a web page',
          (_request, response) =>
            void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>log in</html>'),
          4,
        ],
        ['a reset', (request) => void request.socket.resetAndDestroy(), 4],
      ];
      for (const [title, answer, mostRequests] of bad) {
        rig.fileAnswer = answer;
        const before = rig.fileRequests;
        const { id, end } = await rig.deploy(url);
        expect(end, title).toMatchObject({
          LastResult: 'failure',
          LastErrorName: 'io.holdpoint.Update1.Failure.Download',
        });
        expect(rig.statuses(id), title).toEqual(['downloading', 'failure']);
        expect(rig.fileRequests - before, title).toBeLessThanOrEqual(mostRequests);
      }
      rig.fileAnswer = null;
      expect((await rig.deploy(url)).end).toMatchObject({ LastResult: 'success' });
    }));
});
