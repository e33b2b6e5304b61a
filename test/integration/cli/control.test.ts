import { randomUUID } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OTHER_UID } from '../../support/bus-tools.ts';
import { ASK } from '../../support/device.ts';
import { eventually } from '../../support/eventually.ts';
import { withService, type ServiceHarness } from '../../support/service.ts';
import { makeShelf, type ArtifactShelf } from '../standalone/support.ts';
import { holdsOf, jsonLines, printed, run, start, told } from './support.ts';

/** Decisions about the update under way, made with the command, against the real service on a private bus. */
let shelf: ArtifactShelf;
let artifact: string;
beforeAll(async () => {
  shelf = await makeShelf();
  artifact = await shelf.make();
});
afterAll(() => shelf.dispose());

const TIME = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;

async function waitingAt(service: ServiceHarness, point: string): Promise<string> {
  await run(service, 'install', '--no-wait', artifact);
  return String((await service.waitAt(point))['WaitTicket']);
}

describe('status in one sentence', () => {
  it('says who blocks, why, since when, until when, and what then', () =>
    withService(
      { points: { ArtifactInstall_Enter: { consent: 'required', timeout: 7200, 'on-expire': 'fail' } } },
      async (service) => {
        const idle = await run(service, 'status');
        expect(idle.stdout.split('\n')[0]).toBe('Nothing is waited for: no update is under way.');
        await run(
          service,
          'hold',
          'ArtifactInstall_Enter',
          '--why',
          'brewing',
          '--timeout',
          '5m',
          '--app-id',
          'CoffeeApp',
        );
        expect((await run(service, 'status')).stdout).toContain(
          'Held by:      CoffeeApp: brewing, at Artifact',
        );
        await waitingAt(service, 'ArtifactInstall_Enter');
        const { stdout } = await run(service, 'status');
        expect(stdout.split('\n')[0]).toMatch(
          new RegExp(
            `^The update to release-2 is waiting for CoffeeApp: brewing \\(until ${TIME}\\) and for the consent ` +
              `that the configuration demands, at ArtifactInstall_Enter since ${TIME}; ` +
              `if nothing else ends the wait, at ${TIME} it fails\\.$`,
          ),
        );
        // Put off: nobody is asked, and that is said, too.
        await run(service, 'snooze', '1h');
        expect((await run(service, 'status')).stdout.split('\n')[0]).toMatch(
          new RegExp(
            `^The update to release-2 is put off by holdpoint until ${TIME}, then waiting for CoffeeApp: brewing`,
          ),
        );
      },
    ));

  it('says that a maintenance window is waited for, and when it opens', () => {
    const fromMs = Date.now() + 6 * 3_600_000;
    const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 16);
    const window = { from: clock(fromMs), to: clock(fromMs + 3_600_000), timezone: 'UTC' };
    return withService(
      { holdpointConf: { Windows: [{ ...window, points: ['ArtifactInstall_Enter'] }] } },
      async (service) => {
        await run(service, 'install', '--no-wait', artifact);
        await service.waitFor('a wait', (seen) => seen['WaitPoint'] !== '');
        const first = (await run(service, 'status')).stdout.split('\n')[0] ?? '';
        expect(first).toMatch(
          new RegExp(
            `is waiting for the maintenance window, which opens at .*${clock(fromMs)}.*, at ArtifactInstall`,
          ),
        );
      },
    );
  });

  it('says why an update is frozen', () =>
    withService(
      { holdpointConf: { Freeze: [{ from: '2000-01-01', to: '2099-12-31', reason: 'trade fair' }] } },
      async (service) => {
        await run(service, 'install', '--no-wait', artifact);
        await service.waitFor('a wait', (seen) => seen['WaitPoint'] !== '');
        const first = (await run(service, 'status')).stdout.split('\n')[0];
        expect(first).toContain('is waiting for the end of a freeze (trade fair) at ');
      },
    ));
});

describe('holdpoint continue', () => {
  it('names the wait first, keeps the comment, and has others blocking shown', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const held = await run(service, 'hold', 'ArtifactInstall_Enter', '--why', 'x', '--timeout', '60');
      const ticket = await waitingAt(service, 'ArtifactInstall_Enter');
      const recorded = await run(service, 'continue', '--comment', 'by the nurse');
      expect(recorded.status).toBe(0);
      expect(recorded.stdout).toMatch(
        new RegExp(
          `^Continuing release-2 at ArtifactInstall_Enter, ticket ${ticket}\n` +
            'Consent is recorded; something else is still waited for:\n' +
            'Waiting at ArtifactInstall_Enter for:\n  holdpoint: x \\(until .*\\) \\(holdpoint release [0-9a-f]{12}\\)\n',
        ),
      );
      expect((await run(service, 'release', held.stdout.trim())).stdout).toMatch(
        /^Released [0-9a-f]{12}\.\n/,
      );
      await service.waitForEnd();
      const decisions = jsonLines((await run(service, 'decisions', '--json')).stdout);
      expect(decisions).toEqual([
        expect.objectContaining({
          kind: 'consent',
          uid: 0,
          app: 'holdpoint',
          comment: 'by the nurse',
          seq: 1,
        }),
      ]);
    }));

  it('--override drops the holds of others, which is on record', () =>
    withService({}, async (service) => {
      await run(service, 'hold', 'ArtifactInstall_Enter', '--why', 'x', '--timeout', '60');
      const ticket = await waitingAt(service, 'ArtifactInstall_Enter');
      expect((await run(service, 'continue', ticket, '--override')).stdout).toBe('Going on.\n');
      await service.waitForEnd();
      await eventually('the decision is written', async () =>
        (await run(service, 'decisions')).stdout.includes(
          'override by user 0 through holdpoint, release-2 at',
        ),
      );
    }));

  it('--now sets a skippable condition aside', () =>
    withService({ holdpointConf: { ConditionScripts: { skippable: true } } }, async (service) => {
      const folder = join(service.device.folder, 'holdpoint/conditions.d');
      await mkdir(folder, { recursive: true });
      const script = join(folder, '10-patient');
      await writeFile(script, '#!/bin/sh\necho a patient is connected\nexit 1\n');
      await chmod(script, 0o755);
      await run(service, 'install', '--no-wait', artifact);
      const seen = await service.waitFor('a wait', (now) => now['WaitPoint'] !== '');
      const status = await run(service, 'status');
      expect(status.stdout.split('\n')[0]).toContain('the condition 10-patient: a patient is connected');
      const point = String(seen['WaitPoint']);
      expect((await run(service, 'continue')).stdout).toContain('something else is still waited for');
      expect((await run(service, 'continue', '--now')).stdout).toContain('Going on.');
      await service.waitFor('another point', (now) => now['WaitPoint'] !== point);
    }));

  it('--reboot-mode none waits for the person to reboot, and says so', () =>
    withService({ needsReboot: 'Automatic', points: { ArtifactReboot_Enter: ASK } }, async (service) => {
      await waitingAt(service, 'ArtifactReboot_Enter');
      const { status, stdout } = await run(service, 'continue', '--reboot-mode', 'none');
      expect(status).toBe(0);
      expect(stdout).toContain('user 0 to reboot the device');
    }));

  it('tells a stale and a malformed ticket, and that nothing waits', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await waitingAt(service, 'ArtifactInstall_Enter');
      expect(await run(service, 'continue', '0'.repeat(32))).toMatchObject({
        status: 1,
        stderr:
          "holdpoint: continuing: the wait of this ticket is over, or it is another one by now: 'holdpoint status' shows what is waited for\n",
      });
      const malformed = await run(service, 'continue', 'x\u001b[2Jy');
      expect(malformed.stderr).toMatch(/^holdpoint: continuing: .*32 hexadecimal digits.*\n$/);
      await run(service, 'abort');
      await service.waitForEnd();
      expect((await run(service, 'continue')).stderr).toContain('nothing is waiting; the state is Idle');
      expect((await run(service, 'abort')).stderr).toBe('holdpoint: aborting: no update is under way\n');
    }));
});

describe('holdpoint snooze and ask-again', () => {
  it('puts the question off, says until when, and asks again on demand', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const ticket = await waitingAt(service, 'ArtifactInstall_Enter');
      const beforeMs = Date.now();
      const put = await run(service, 'snooze', '4h');
      expect(put.status).toBe(0);
      const [, until = ''] =
        new RegExp(
          `^Putting off release-2 at ArtifactInstall_Enter, ticket ${ticket}\nPut off until (${TIME}); then it asks again\\.\n$`,
        ).exec(put.stdout) ?? [];
      const untilMs = new Date(until.replace(' ', 'T')).getTime();
      expect(Math.abs(untilMs - beforeMs - 4 * 3_600_000)).toBeLessThan(20_000);

      expect((await run(service, 'continue')).stderr).toMatch(
        new RegExp(`^holdpoint: continuing: it is put off until ${TIME}; 'holdpoint ask-again' ends that\n$`),
      );
      expect((await run(service, 'continue', ticket)).stderr).toContain('the wait of this ticket is over');
      expect((await run(service, 'wait', '--for=waiting', '--timeout', '0.2')).status).toBe(3);
      expect((await run(service, 'wait', '--for=going-on', '--timeout', '0.2')).status).toBe(3);
      expect((await run(service, 'ask-again')).stdout).toBe('It asks again now.\n');
      const again = await service.waitAt('ArtifactInstall_Enter');
      expect(again['WaitTicket']).not.toBe(ticket);
      expect((await run(service, 'ask-again')).stdout).toBe('It was not put off.\n');
      expect((await run(service, 'wait', '--for=point=ArtifactInstall_Enter')).status).toBe(0);
      expect((await run(service, 'snooze', String(again['WaitTicket']), '90')).stdout).toMatch(
        /^Put off until /,
      );
    }));

  it('says how much is left when that is more than is allowed', () =>
    withService(
      {
        points: { ArtifactInstall_Enter: ASK },
        holdpointConf: { Snooze: { 'max-total': 5400, 'max-count': 1 } },
      },
      async (service) => {
        await waitingAt(service, 'ArtifactInstall_Enter');
        const refused = await run(service, 'snooze', '2h');
        expect(refused.status).toBe(1);
        expect(refused.stderr).toBe(
          'holdpoint: putting off: it can be put off by 1 h 30 min at most from now (5400 seconds left)\n',
        );
        expect((await run(service, 'snooze', '1h')).status).toBe(0);
        await run(service, 'ask-again');
        expect((await run(service, 'snooze', '1s')).stderr).toContain(
          'it has been put off as often and as long as is allowed (0 seconds left)',
        );
        expect((await run(service, 'status')).stdout).not.toContain('To be asked later');
      },
    ));
});

describe('holdpoint map', () => {
  const id = randomUUID();
  const map = JSON.stringify({ id, priority: 3, states: { ArtifactInstall_Enter: { action: 'pause' } } });

  it('sets from a file and from standard input, lists, makes the update wait, and deletes', () =>
    withService({ menderConf: { UpdateControlMapExpirationTimeSeconds: 600 } }, async (service) => {
      const file = join(service.device.folder, 'map.json');
      await writeFile(file, map);
      const set = await run(service, 'map', 'set', file);
      expect(set).toMatchObject({ status: 0, stdout: 'Accepted; to keep it, set it again within 300 s.\n' });
      const [listed] = jsonLines((await run(service, 'map', 'list', '--json')).stdout);
      expect(listed).toMatchObject({ id, priority: 3, origin: 'local', uid: 0, expired: false });
      expect(listed?.['states']).toMatchObject({ ArtifactInstall_Enter: { action: 'pause' } });
      const leftMs = Number(listed?.['expiresUsec']) / 1000 - Date.now();
      expect(leftMs).toBeGreaterThan(500_000);
      expect(leftMs).toBeLessThan(610_000);
      expect((await run(service, 'map', 'list')).stdout).toMatch(
        new RegExp(
          `control map ${id} of user 0, at ArtifactInstall_Enter\n.* left\\).*priority 3\n    ArtifactInstall_Enter: \\{`,
        ),
      );
      await waitingAt(service, 'ArtifactInstall_Enter');
      expect((await run(service, 'status')).stdout).toContain(`waiting for the control map ${id} of user 0`);

      const deleted = await told(service, ['map', 'set', '-'], {
        input: JSON.stringify({ id, priority: 3 }),
      });
      expect(deleted.status).toBe(0);
      expect((await run(service, 'map', 'list', '--json')).stdout).toBe('');
      await service.waitForEnd();
    }));

  it('refuses what is no map, names the place, and changes nothing', () =>
    withService({}, async (service) => {
      const refusals: readonly (readonly [string, RegExp])[] = [
        ['', /the control map is not valid/],
        ['{', /the control map is not valid/],
        [JSON.stringify({ priority: 3 }), /the control map is not valid: .*id/i],
        [JSON.stringify({ id, priority: 99 }), /the control map is not valid: .*priority/i],
        ['['.repeat(65_536), /the control map is not valid/],
        ['x'.repeat(65_537), /standard input: a control map has at most 65536 bytes/],
      ];
      for (const [input, words] of refusals) {
        const result = await told(service, ['map', 'set', '-'], { input });
        expect(result.status).toBe(1);
        expect(result.stderr).toMatch(/^holdpoint: setting a control map: [^\n]*\n$/);
        expect(result.stderr).toMatch(words);
      }
      expect((await run(service, 'map', 'set', '/nonexistent/map.json')).stderr).toMatch(/ENOENT/);
      expect((await run(service, 'map', 'set', '/')).stderr).toMatch(/EISDIR/);
      expect((await run(service, 'map', 'list', '--json')).stdout).toBe('');
    }));
});

describe('who may', () => {
  it('is told by can, and a refusal names the action', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const ticket = await waitingAt(service, 'ArtifactInstall_Enter');
      const as = { uid: OTHER_UID };
      expect(await run(service, 'can', 'override')).toMatchObject({ status: 0, stdout: 'yes\n' });
      expect(await told(service, ['can', 'continue'], as)).toMatchObject({ status: 2, stdout: 'no\n' });
      for (const [args, action] of [
        [['continue', ticket], 'continue'],
        [['snooze', ticket, '5m'], 'continue'],
        [['abort'], 'abort'],
        [['hold', 'ArtifactReboot_Enter', '--timeout', '5'], 'hold'],
        [['map', 'set', '-'], 'control-map'],
        [['disable'], 'enable'],
        [['decisions'], 'read-log'],
      ] as const) {
        const denied = await told(service, args, as);
        expect(denied.status).toBe(1);
        expect(denied.stderr).toMatch(
          new RegExp(
            `^holdpoint: [a-zA-Z_, ]+: not allowed: it needs the action io\\.holdpoint\\.update1\\.${action} \\('holdpoint can ${action}' tells;[^\n]*\n$`,
          ),
        );
      }
      // Reading is for everyone.
      expect((await told(service, ['status'], as)).stdout).toContain('is waiting for the consent');
      expect((await told(service, ['holds'], as)).status).toBe(0);
      expect(await service.property('WaitTicket')).toBe(ticket);
    }));
});

describe('holdpoint health', () => {
  it('lets the commit go on once all have said ok, and rolls back when one says failed', () =>
    withService(
      { holdpointConf: { Health: { checkers: ['app', 'net'], deadline: 600 } } },
      async (service) => {
        expect((await run(service, 'health', 'app', 'ok')).stderr).toBe(
          'holdpoint: reporting health: no update is under way\n',
        );
        await waitingAt(service, 'ArtifactCommit_Enter');
        expect((await run(service, 'status')).stdout).toContain('the health verdict of app, net');
        expect((await run(service, 'health', 'app', 'ok')).stdout).toMatch(
          /^Reported ok for app, deployment /,
        );
        expect((await run(service, 'status')).stdout).toContain('the health verdict of net');
        expect((await run(service, 'health', 'disk', 'ok')).stderr).toContain('expected one of app, net');
        await run(service, 'health', 'net', 'failed', '--message', 'no link');
        const end = await service.waitForEnd();
        expect(end['LastResult']).toBe('rolled-back');
        expect(String(end['LastErrorName'])).toMatch(/HealthCheck$/);

        await waitingAt(service, 'ArtifactCommit_Enter');
        await run(service, 'health', 'app', 'ok');
        await run(service, 'health', 'net', 'ok');
        expect((await service.waitForEnd())['LastResult']).toBe('success');
      },
    ));
});

describe('proof of consent', () => {
  it('has each decision with who, when and about what, in order, from any number on', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      await run(service, 'disable');
      await run(service, 'enable');
      await waitingAt(service, 'ArtifactInstall_Enter');
      await run(service, 'snooze', '1h');
      await run(service, 'ask-again');
      await run(service, 'pause');
      await run(service, 'unpause');
      await run(service, 'abort', '--reason', 'not\u200etoday');
      await service.waitForEnd();
      const kinds = [
        'updates-disabled',
        'updates-enabled',
        'postponement',
        'postponement-ended',
        'pause',
        'resume',
        'refusal',
      ];
      await eventually('all is written', async () => {
        const lines = jsonLines((await run(service, 'decisions', '--json')).stdout);
        return lines.length === kinds.length;
      });
      const { stdout } = await run(service, 'decisions', '--json');
      const lines = jsonLines(stdout);
      expect(lines.map(({ kind }) => kind)).toEqual(kinds);
      expect(lines.map(({ seq }) => seq)).toEqual(kinds.map((_, index) => index + 1));
      expect(lines[2]).toMatchObject({
        uid: 0,
        app: 'holdpoint',
        'artifact-name': 'release-2',
        point: 'ArtifactInstall_Enter',
        seconds: 3600,
      });
      expect(lines[6]).toMatchObject({ comment: 'not\u200etoday' });
      expect(jsonLines((await run(service, 'decisions', '--json', '--from', '6')).stdout)).toEqual(
        lines.slice(5),
      );
      expect((await run(service, 'decisions', '--from', '99')).stdout).toBe('');
      const text = (await run(service, 'decisions', '--from', '3')).stdout.split('\n')[0];
      expect(text).toMatch(
        /^ {4}3 {2}20\d\d-.*Z {2}postponement by user 0 through holdpoint, release-2 at ArtifactInstall_Enter, for 1 h$/,
      );
    }));
});

describe('holdpoint monitor', () => {
  it('shows holds that come and go, waits, and how they ended', () =>
    withService({ points: { ArtifactInstall_Enter: ASK } }, async (service) => {
      const people = await start(service, 'monitor');
      const machine = await start(service, 'monitor', '--json');
      await printed(machine, '"kind":"holds","holds":[]');
      const id = (
        await run(service, 'hold', 'ArtifactInstall_Enter', '--why', 'brewing', '--timeout', '60')
      ).stdout.trim();
      await printed(people, `Held: holdpoint: brewing, at ArtifactInstall_Enter (${id})`);
      await waitingAt(service, 'ArtifactInstall_Enter');
      await printed(people, 'Waiting at ArtifactInstall_Enter for:');
      await run(service, 'release', id);
      await printed(people, `No longer held: holdpoint: brewing, at ArtifactInstall_Enter (${id})`);
      await run(service, 'continue');
      await printed(people, 'The wait at ArtifactInstall_Enter is over: continued, by user 0 (holdpoint)');
      await printed(people, 'Last result:');
      await printed(machine, '"lastResult":"success"');
      for (const { child, ended } of [people, machine]) {
        child.kill('SIGINT');
        expect((await ended).status).toBe(0);
      }
      const lines = jsonLines(machine.output());
      const held = lines
        .filter(({ kind }) => kind === 'holds')
        .map(({ holds }) => (holds as unknown[]).length);
      expect(held).toContain(1);
      expect(held.at(-1)).toBe(0);
      expect(lines.filter(({ member }) => member === 'WaitEnded')).toHaveLength(1);
    }));
});

describe('holdpoint holds', () => {
  it('lists who, process, reason, since when and until when, and refuses the 17th of one user', () =>
    withService({}, async (service) => {
      const ids: string[] = [];
      for (let count = 0; count < 16; count++) {
        const { stdout } = await run(
          service,
          'hold',
          'ArtifactReboot_Enter',
          '--timeout',
          '10m',
          '--why',
          `n${count}`,
        );
        ids.push(stdout.trim());
      }
      const refused = await run(service, 'hold', 'ArtifactReboot_Enter', '--timeout', '10m');
      expect(refused).toMatchObject({
        status: 1,
        stdout: '',
        stderr: 'holdpoint: holding ArtifactReboot_Enter: a user may have 16 holds [limit=16]\n',
      });
      const holds = await holdsOf(service);
      expect(holds.map(({ id }) => id)).toEqual(ids);
      expect(holds[0]).toMatchObject({
        lifetime: 'timed',
        points: ['ArtifactReboot_Enter'],
        owner: 'holdpoint',
        why: 'n0',
        uid: 0,
        action: 'pause',
        onExpire: 'continue',
      });
      const [first = '', second = ''] = (await run(service, 'holds')).stdout.split('\n');
      expect(first).toBe(`${ids[0] ?? ''}  holdpoint: n0, at ArtifactReboot_Enter`);
      expect(second).toMatch(
        new RegExp(
          `^    timed, user 0, process \\d+; since ${TIME}; until ${TIME} \\(\\d+ min( \\d+ s)? left\\), then it goes on$`,
        ),
      );
      expect((await run(service, 'refresh', ids[0] ?? '')).stdout).toBe(
        `Refreshed ${ids[0] ?? ''}; refresh it again within 5 min.\n`,
      );
      for (const id of ids.slice(0, 3).reverse()) expect((await run(service, 'release', id)).status).toBe(0);
      expect((await holdsOf(service)).map(({ id }) => id)).toEqual(ids.slice(3));
      expect(await run(service, 'release', ids[0] ?? '')).toMatchObject({
        status: 1,
        stderr:
          "holdpoint: releasing: there is no such hold, or not any more: 'holdpoint holds' lists them\n",
      });
    }));
});
