/** Links that are valid for a while only (design/faults.md R15, R16). Source: spec/server-api.md section 9. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { sampleOffer } from '../support/device-api.ts';
import { ASK } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { FastTime, steppedClock } from '../support/fake-time.ts';
import { wrapped } from './namespaces.ts';
import { sendRange, withRig, type Rig } from './rig.ts';

// Many services side by side, on a machine that may have other things to do.
vi.setConfig({ testTimeout: 240_000 });

const linkOf = (request: IncomingMessage): string => /link=(\d)/.exec(request.url ?? '')?.[1] ?? '';

/** Offers the file by its first link, and by its second when it is asked again. */
function offerWithLinks(rig: Rig, url: string, second: { readonly id?: string } = {}): string {
  const id = randomUUID();
  rig.api.answerNext('next-v2', {
    status: 200,
    body: JSON.stringify(sampleOffer(id, 'release-2', `${url}?link=1`)),
  });
  rig.api.offer(sampleOffer(second.id ?? id, 'release-2', `${url}?link=2`));
  return id;
}

async function finished(rig: Rig, id: string): Promise<void> {
  await eventually(
    'the deployment is over',
    () =>
      rig.service.watch.signals.some(({ member, args }) => member === 'DeploymentFinished' && args[1] === id),
    60_000,
  );
  // The last report follows.
  await rig.idle();
}

/** The beginning of the file, then the end of the connection. */
function cutShort(response: ServerResponse, bytes: Buffer): void {
  response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
  response.write(bytes.subarray(0, 1_000), () => response.destroy());
}

describe.concurrent('a link', () => {
  it('that runs out in mid-download is renewed, and the rest comes from the new one (R15)', () =>
    withRig({ needsReboot: 'No' }, async (rig) => {
      const url = await rig.publish();
      const asked: string[] = [];
      rig.fileAnswer = (request, response, bytes) => {
        asked.push(`${linkOf(request)} ${request.headers.range ?? 'all'}`);
        if (linkOf(request) === '2') return sendRange(request, response, bytes);
        if (asked.length > 1) return void response.writeHead(403).end();
        cutShort(response, bytes);
      };
      const id = offerWithLinks(rig, url);
      await rig.poll();
      await finished(rig, id);
      expect(rig.statuses(id).at(-1)).toBe('success');
      expect(asked.slice(0, 3)).toEqual([
        '1 all',
        expect.stringMatching(/^1 bytes=\d+-\d+$/),
        expect.stringMatching(/^2 bytes=\d+-\d+$/),
      ]);
      expect(await rig.calls('Download')).toBe(1);
    }));

  it('that runs out while a person thinks is renewed when the answer is yes (R16)', () =>
    withRig({ needsReboot: 'No', points: { Download_Enter: ASK } }, async (rig) => {
      const url = await rig.publish();
      rig.fileAnswer = (request, response, bytes) =>
        linkOf(request) === '2' ? sendRange(request, response, bytes) : void response.writeHead(410).end();
      const id = offerWithLinks(rig, url);
      await rig.service.call('CheckForUpdate');
      const { WaitTicket } = await rig.service.waitFor('a wait', (seen) => seen['WaitTicket'] !== '');
      expect(rig.fileRequests).toBe(0);
      expect((await rig.service.call('Continue', 's', [String(WaitTicket)])).error).toBe('');
      await finished(rig, id);
      expect(rig.statuses(id).at(-1)).toBe('success');
      expect(rig.fileRequests).toBe(2);
    }));

  it('that runs out with the token, in mid-download, is renewed with a new token (R15)', () =>
    withRig({ needsReboot: 'No' }, async (rig) => {
      const url = await rig.publish();
      let asked = 0;
      rig.fileAnswer = (request, response, bytes) => {
        asked += 1;
        if (linkOf(request) === '2') return sendRange(request, response, bytes);
        if (asked > 1) return void response.writeHead(403).end();
        rig.api.revokeTokens();
        cutShort(response, bytes);
      };
      const id = offerWithLinks(rig, url);
      await rig.poll();
      await finished(rig, id);
      expect(rig.statuses(id).at(-1)).toBe('success');
      expect(await rig.calls('Download')).toBe(1);
    }));

  it('of a day is renewed when the answer comes after two days (R16)', async () => {
    const dayMs = 24 * 3_600_000;
    let time: FastTime | undefined;
    try {
      await withRig(
        {
          needsReboot: 'No',
          points: { Download_Enter: ASK },
          prepare: ({ service }) => {
            time = new FastTime(service.device.folder, 1);
            wrapped(service, [], time.mount);
          },
        },
        async (rig) => {
          const clock = await steppedClock(join(rig.service.device.folder, 'time'));
          await rig.service.terminate();
          await rig.service.start({ environment: clock.environment });
          const url = await rig.publish();
          const id = randomUUID();
          let links = 0;
          rig.api.answerAlways('next-v2', (_request, response) => {
            links += 1;
            const until = Math.round(time!.elapsedMs() + dayMs);
            const offer = sampleOffer(id, 'release-2', `${url}?until=${until}`);
            response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(offer));
          });
          const asked: boolean[] = [];
          rig.fileAnswer = (request, response, bytes) => {
            const isGood = Number(/until=(\d+)/.exec(request.url ?? '')?.[1]) > time!.elapsedMs();
            asked.push(isGood);
            if (isGood) sendRange(request, response, bytes);
            else response.writeHead(403).end();
          };
          process.kill(rig.service.pid, 'SIGUSR1');
          const { WaitTicket } = await rig.service.waitAt('Download_Enter', 60_000);
          time!.skip(2 * dayMs);
          await clock.step('+2d');
          const before = links;
          expect((await rig.service.call('Continue', 's', [String(WaitTicket)])).error).toBe('');
          await finished(rig, id);
          expect(rig.statuses(id)).toContain('success');
          expect(rig.statuses(id)).not.toContain('failure');
          expect(asked).toEqual([false, true]);
          expect(links).toBeGreaterThan(before);
        },
      );
    } finally {
      time?.dispose();
    }
  });

  it('is not replaced by that of another deployment (R15)', () =>
    withRig({ needsReboot: 'No' }, async (rig) => {
      const url = await rig.publish();
      rig.fileAnswer = (request, response, bytes) =>
        linkOf(request) === '2' ? sendRange(request, response, bytes) : void response.writeHead(403).end();
      const id = offerWithLinks(rig, url, { id: randomUUID() });
      await rig.service.call('CheckForUpdate');
      await finished(rig, id);
      expect(rig.statuses(id).at(-1)).toBe('failure');
      expect(rig.statuses(id)).not.toContain('success');
    }));
});
