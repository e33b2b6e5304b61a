/** Links that are valid for a while only (design/faults.md R15, R16). Source: spec/server-api.md section 9. */
import type { IncomingMessage } from 'node:http';
import { randomUUID } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import { sampleOffer } from '../support/device-api.ts';
import { ASK } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
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

describe.concurrent('a link', () => {
  it('that runs out in mid-download is renewed, and the rest comes from the new one (R15)', () =>
    withRig({ needsReboot: 'No' }, async (rig) => {
      const url = await rig.publish();
      const asked: string[] = [];
      rig.fileAnswer = (request, response, bytes) => {
        asked.push(`${linkOf(request)} ${request.headers.range ?? 'all'}`);
        if (linkOf(request) === '2') return sendRange(request, response, bytes);
        if (asked.length > 1) return void response.writeHead(403).end();
        response.writeHead(200, { 'content-length': bytes.length, etag: '"1"' });
        response.write(bytes.subarray(0, 1_000), () => response.destroy());
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
