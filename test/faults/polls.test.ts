/**
 * Faults while the server is asked (design/faults.md R10, R11, R18, R20): every status and every broken answer at every
 * endpoint of a poll, against the running service. After each it is idle, says when it asks next, and gets on well with
 * the same server as soon as that answers again. Source: spec/server-api.md sections 2 to 4.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { Endpoint } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import { BODY_FAULTS, LINK_FAULTS, STATUS_FAULTS, type FaultyAnswer } from './answers.ts';
import { expectPlan, withRig, type Rig } from './rig.ts';

// Many services side by side, on a machine that may have other things to do.
vi.setConfig({ testTimeout: 240_000 });

const ALL = [...STATUS_FAULTS, ...LINK_FAULTS, ...BODY_FAULTS];
const OWN_409: FaultyAnswer = {
  title: 'status 409',
  answer: { status: 409, body: '{"error":"conflict"}' },
  retryAfterSeconds: 0,
};

/** One check that meets the fault, and one without it. */
async function meets(rig: Rig, endpoint: Endpoint, fault: FaultyAnswer): Promise<void> {
  const asked = rig.api.of(endpoint).length;
  rig.api.answerAlways(endpoint, fault.answer);
  const { result, seen } = await rig.poll();
  rig.api.answerAlways(endpoint, null);
  const what = `${fault.title} at ${endpoint}`;
  expect(rig.api.of(endpoint).length, what).toBeGreaterThan(asked);
  expect(result, what).toBe('failed');
  expect(seen, what).toMatchObject({ State: 'Idle', LastResult: 'none', DeploymentId: '' });
  // Whoever stands in between is told apart from a server that answers, whatever that says.
  if (/network log-in|web page that/.test(fault.title))
    expect(seen['ServerStatus'], what).toBe('no-internet');
  if (fault.title === 'a connection that is reset') expect(seen['ServerStatus'], what).toBe('unreachable');
  expectPlan(seen, { atLeastSeconds: fault.retryAfterSeconds });
}

async function meetsAll(rig: Rig, endpoint: Endpoint, faults: readonly FaultyAnswer[]): Promise<void> {
  await rig.pollsAgain();
  for (const [index, fault] of faults.entries()) {
    await meets(rig, endpoint, fault);
    // Now and then: that each fault is followed by another must not hide a wedge, nor need it be shown forty times.
    if (index % 4 === 3) await rig.pollsAgain();
  }
  await rig.pollsAgain();
}

/** A program whose value the tests change. */
async function addInventory({ service: { device } }: Rig): Promise<void> {
  const program = join(device.share, 'inventory/mender-inventory-probe');
  await mkdir(dirname(program), { recursive: true });
  await writeFile(program, `#!/bin/sh\ncat '${device.control}/inventory.value'\n`, { mode: 0o755 });
  await device.order('inventory', 'value', 'probe=first');
}

describe.concurrent('a poll ends in a failed check and a plan for the next one after (R18, R20)', () => {
  it('any answer but 200, 204 and 404 of the newest endpoint for deployments, which is asked alone', () =>
    withRig({}, async (rig) => {
      await meetsAll(rig, 'next-v2', [...ALL, OWN_409]);
      expect(rig.api.of('next-v1')).toEqual([]);
      expect(rig.api.of('next-v1-get')).toEqual([]);
    }));

  it('any such answer of the two older endpoints, to which only 404 leads', () =>
    withRig({}, async (rig) => {
      rig.api.answerAlways('next-v2', { status: 404 });
      await meetsAll(rig, 'next-v1', [...STATUS_FAULTS.slice(0, 30), ...LINK_FAULTS, OWN_409]);
      expect(rig.api.of('next-v1-get')).toEqual([]);
      rig.api.answerAlways('next-v1', { status: 404 });
      const notFound = { title: 'status 404', answer: { status: 404 }, retryAfterSeconds: 0 };
      await meetsAll(rig, 'next-v1-get', [...STATUS_FAULTS.slice(0, 30), notFound, OWN_409]);
    }));

  it('any answer to an authentication but a token, and the token is asked for again', () =>
    withRig({}, async (rig) => {
      await rig.pollsAgain();
      const bodies = BODY_FAULTS.filter(({ title }) => title !== 'no JSON');
      for (const fault of [...STATUS_FAULTS, ...LINK_FAULTS, ...bodies, OWN_409]) {
        rig.api.revokeTokens();
        await meets(rig, 'auth', fault);
      }
      await rig.pollsAgain();
    }));

  it('a device the server does not, or no longer, accept: said so, and asked again', () =>
    withRig({}, async (rig) => {
      await rig.pollsAgain();
      for (const status of [401, 403]) {
        rig.api.revokeTokens();
        rig.api.answerAlways('auth', { status, body: '{"error":"dev auth: unauthorized"}' });
        const { result, seen } = await rig.poll();
        expect(result).toBe('failed');
        expect(seen['ServerStatus']).toBe('rejected');
        expectPlan(seen);
        rig.api.answerAlways('auth', null);
        await rig.pollsAgain();
      }
      rig.api.answerAlways('next-v2', { status: 401, body: '{"error":"revoked"}' });
      const before = rig.api.of('auth').length;
      expect((await rig.poll()).result).toBe('failed');
      // One new token for one refusal, not one after the other.
      expect(rig.api.of('auth').length - before).toBeLessThanOrEqual(2);
      rig.api.answerAlways('next-v2', null);
      await rig.pollsAgain();
    }));

  it('any answer to the inventory, which stands in the way of no check', () =>
    withRig({ prepare: addInventory }, async (rig) => {
      await rig.pollsAgain();
      for (const fault of [...STATUS_FAULTS, ...LINK_FAULTS, OWN_409]) {
        const asked = rig.api.of('inventory').length;
        rig.api.answerAlways('inventory', fault.answer);
        // What has not changed is not sent again.
        const name = `probe-${asked}`;
        await rig.service.device.order('inventory', 'value', `probe=${name}`);
        await rig.service.mustCall('SendInventory');
        await eventually(`the inventory meets ${fault.title}`, () => rig.api.of('inventory').length > asked);
        const { result, seen } = await rig.poll();
        expect(result, fault.title).toBe('up-to-date');
        expectPlan(seen);
      }
      rig.api.answerAlways('inventory', null);
      await rig.service.mustCall('SendInventory');
      const before = rig.api.of('inventory').length;
      await eventually('the inventory is sent', () => rig.api.of('inventory').length > before, 20_000);
      await rig.pollsAgain();
    }));

  it('nothing at all: the next check of the schedule finds the server again by itself', () =>
    withRig({}, async (rig) => {
      await rig.pollsAgain();
      rig.api.answerAlways('next-v2', { status: 500 });
      await rig.poll();
      rig.api.answerAlways('next-v2', null);
      const isBack = (): boolean =>
        rig.service.watch.signals.findLast(({ member }) => member === 'CheckFinished')?.args[1] ===
        'up-to-date';
      await eventually('a check nobody ordered succeeds', isBack, 20_000);
      expectPlan(await rig.idle());
    }));
});
