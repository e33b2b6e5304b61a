import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtCommand } from '../../support/command.ts';
import { eventually } from '../../support/eventually.ts';
import { withService, type ServiceHarness } from '../../support/service.ts';
import { makeShelf, type ArtifactShelf } from '../standalone/support.ts';
import { holdsOf, onBus, run, speak, told, type Spoken } from './support.ts';

/** `holdpoint hold`: held for a time, or while a command runs, against the real service on a private bus. */
let shelf: ArtifactShelf;
let artifact: string;
beforeAll(async () => {
  shelf = await makeShelf();
  artifact = await shelf.make();
});
afterAll(() => shelf.dispose());

const POINT = 'ArtifactInstall_Enter';

/** Says its process id and each signal it gets, and ends when told to by USR1. */
const PATIENT = [
  'sh',
  '-c',
  'for s in INT TERM HUP; do trap "echo got $s" $s; done; trap "exit 9" USR1; echo pid $$; while :; do sleep 0.05; done',
];

async function patient(
  service: ServiceHarness,
  ...options: readonly string[]
): Promise<{ readonly held: Spoken; readonly pid: number }> {
  const held = await speak(service, ['hold', POINT, ...options, '--', ...PATIENT]);
  await eventually('the command runs', () => /pid \d+\n/.test(held.out()), 20_000);
  return { held, pid: Number(/pid (\d+)/.exec(held.out())?.[1]) };
}

const heldBy = async (service: ServiceHarness): Promise<readonly unknown[]> =>
  (await holdsOf(service)).map(({ id }) => id);

describe('holdpoint hold with a command', () => {
  it('holds before the command runs, and no longer than it', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service, '--why', 'surgery running');
      const [hold] = await holdsOf(service);
      expect(hold).toMatchObject({
        lifetime: 'bound',
        points: [POINT],
        owner: 'holdpoint',
        why: 'surgery running',
        expiresUsec: 0,
        details: expect.objectContaining({ pid: held.child.pid }),
      });
      expect((await run(service, 'holds')).stdout).toContain('as long as its program runs');
      await run(service, 'install', '--no-wait', artifact);
      await service.waitAt(POINT);
      expect((await run(service, 'status')).stdout).toContain(
        'The update to release-2 is waiting for holdpoint: surgery running, at ',
      );
      process.kill(pid, 'SIGUSR1');
      expect(await held.ended).toMatchObject({ status: 9, stderr: '' });
      expect((await service.waitForEnd())['LastResult']).toBe('success');
      expect(await holdsOf(service)).toEqual([]);
    }));

  it('hands standard input and output through, and the exit status', () =>
    withService({}, async (service) => {
      const cat = await told(service, ['hold', POINT, '--', 'cat'], { input: 'in and out\n' });
      expect(cat).toMatchObject({ status: 0, stdout: 'in and out\n', stderr: '' });
      for (const [script, status] of [
        ['exit 0', 0],
        ['exit 77', 77],
        ['echo late >&2; exit 255', 255],
        ['kill -TERM $$', 143],
        ['kill -KILL $$', 137],
        ['kill -INT $$', 130],
      ] as const) {
        expect((await told(service, ['hold', POINT, '--', 'sh', '-c', script])).status).toBe(status);
      }
      expect(await holdsOf(service)).toEqual([]);
    }));

  it('tells what cannot be run as env does: 127 not found, 126 not executable', () =>
    withService({}, async (service) => {
      const missing = await told(service, ['hold', POINT, '--', 'no-such-program']);
      expect(missing.status).toBe(127);
      expect(missing.stderr).toMatch(
        /^holdpoint: holding ArtifactInstall_Enter: no-such-program cannot be run: .*\n$/,
      );
      const file = join(service.device.folder, 'plain');
      await writeFile(file, 'text');
      expect((await told(service, ['hold', POINT, '--', file])).status).toBe(126);
      expect(await holdsOf(service)).toEqual([]);
    }));

  it('does not run the command when it cannot be held: 125', () =>
    withService({}, async (service) => {
      const file = join(service.device.folder, 'ran');
      const refused = await told(service, ['hold', POINT, '--why', 'a\nb', '--', 'touch', file]);
      expect(refused.status).toBe(125);
      expect(refused.stderr).toMatch(
        /^holdpoint: holding ArtifactInstall_Enter: touch was not run: why has control characters in it\n$/,
      );
      await service.terminate();
      const absent = await told(service, ['hold', POINT, '--', 'touch', file]);
      expect(absent.status).toBe(125);
      expect(absent.stderr).toMatch(/touch was not run: no update service is on the bus/);
      await expect(readFile(file)).rejects.toThrow('ENOENT');
    }));

  it('passes signals on to the command, and stays for as long as that stays', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service);
      for (const name of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGTERM'] as const) {
        const before = held.out().length;
        held.child.kill(name);
        await eventually('the command gets it', () =>
          held
            .out()
            .slice(before)
            .includes(`got ${name.slice(3)}`),
        );
      }
      expect(await holdsOf(service)).toHaveLength(1);
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
      // Each came once.
      expect(held.out().match(/got /g)).toHaveLength(4);
    }));

  it('ends with 128 + n when the signal ends the command', () =>
    withService({}, async (service) => {
      const held = await speak(service, ['hold', POINT, '--', 'sh', '-c', 'echo here; exec sleep 60']);
      await eventually('the command runs', () => held.out().includes('here'), 20_000);
      held.child.kill('SIGTERM');
      expect(await held.ended).toMatchObject({ status: 143, stderr: '' });
      expect(await holdsOf(service)).toEqual([]);
    }));

  it('gets Ctrl-C on a terminal once, and ends as the command does', () =>
    withService({}, async (service) => {
      const program = await builtCommand();
      // A terminal of its own, in which Ctrl-C is typed once the command is there.
      const typist = [
        'import os, pty, sys, time',
        'pid, fd = pty.fork()',
        'if pid == 0:',
        '    os.execvp(sys.argv[1], sys.argv[1:])',
        'seen = b""',
        'while b"ready" not in seen: seen += os.read(fd, 1000)',
        'os.write(fd, b"\\x03")',
        'try:',
        '    while True: seen += os.read(fd, 1000)',
        'except OSError: pass',
        'status = os.waitpid(pid, 0)[1]',
        'print(seen.decode().count("got INT"), os.waitstatus_to_exitcode(status))',
      ].join('\n');
      const script =
        'trap "echo got INT" INT; echo ready; n=0; while [ $n -lt 20 ]; do sleep 0.05; n=$((n+1)); done; exit 5';
      const result = spawnSync(
        '/usr/bin/python3',
        ['-c', typist, process.execPath, program, 'hold', POINT, '--', 'sh', '-c', script],
        { env: { ...service.device.environment, ...onBus(service) }, encoding: 'utf8', timeout: 30_000 },
      );
      expect(result).toMatchObject({ stderr: '', stdout: '1 5\n' });
    }));

  it('leaves nothing behind when it is killed', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service);
      held.child.kill('SIGKILL');
      await eventually('the hold is gone', async () => (await holdsOf(service)).length === 0);
      process.kill(pid, 'SIGUSR1');
      await held.ended;
    }));

  it('gives the hold back when its time is over, and the command goes on', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service, '--timeout', '1s');
      await eventually('the hold is gone', async () => (await holdsOf(service)).length === 0);
      expect(held.err()).toBe(
        'holdpoint: holding ArtifactInstall_Enter: the hold is given back after 1 s (sh goes on)\n',
      );
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
    }));

  it('says when somebody else ends the hold, and does not take it again', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service);
      await run(service, 'install', '--no-wait', artifact);
      await service.waitAt(POINT);
      await run(service, 'continue', '--override');
      await eventually('it is said', () => held.err() !== '');
      expect(held.err()).toMatch(
        /^holdpoint: holding ArtifactInstall_Enter: hold [0-9a-f]{12} has been ended by somebody else, or is used up \(sh goes on\)\n$/,
      );
      await service.waitForEnd();
      await service.restart();
      expect(await holdsOf(service)).toEqual([]);
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
    }));

  it('goes on holding over a kill -9 and restart of the service, and says so', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service);
      const before = await heldBy(service);
      await service.kill9();
      await eventually('the loss is told', () => held.err().includes('the service is gone; hold '));
      await service.start();
      await eventually('the return is told', () => held.err().includes('the service is back'));
      expect(await heldBy(service)).toEqual(before);
      await run(service, 'install', '--no-wait', artifact);
      await service.waitAt(POINT);
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
      await service.waitForEnd();
    }));

  it('takes the hold again when the service has forgotten it', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service, '--app-id', 'org.example.Surgery', '--why', 'surgery');
      const before = await heldBy(service);
      await service.kill9();
      await eventually('the loss is told', () => held.err().includes('the service is gone'));
      const state = join(service.device.stateDirectory);
      spawnSync('rm', ['-rf', state]);
      await service.start();
      await eventually('it is told', () => held.err().includes('the service is back; held again as '));
      const holds = await holdsOf(service);
      expect(holds).toHaveLength(1);
      expect(holds[0]).toMatchObject({ owner: 'org.example.Surgery', why: 'surgery' });
      expect(holds[0]?.['id']).not.toBe(before[0]);
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
      expect(await holdsOf(service)).toEqual([]);
    }));

  it('takes the hold over again after a restart of the bus', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service, '--app-id', 'org.example.Surgery');
      const before = await heldBy(service);
      await service.bus.restart();
      await eventually('it is told', () => held.err().includes('; held again as '), 20_000);
      expect(held.err()).toContain('is taken again when it is back');
      // The same one: nobody else could slip in between.
      expect(await heldBy(service)).toEqual(before);
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
    }));

  it('goes on running the command when the service does not come back', () =>
    withService({}, async (service) => {
      const { held, pid } = await patient(service);
      await service.terminate();
      await eventually('the loss is told', () => held.err().includes('(sh goes on)'));
      process.kill(pid, 'SIGUSR1');
      expect((await held.ended).status).toBe(9);
    }));
});

describe('holdpoint holds', () => {
  it('says to a person that there are none, and nothing to a program', () =>
    withService({}, async (service) => {
      const program = await builtCommand();
      for (const [args, words] of [
        [['holds'], 'Nobody holds updates.'],
        [['map', 'list'], 'There is no control map.'],
      ] as const) {
        const shown = spawnSync(
          '/usr/bin/python3',
          [
            '-c',
            'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)',
            process.execPath,
            program,
            ...args,
          ],
          {
            env: { ...service.device.environment, ...onBus(service), TERM: 'xterm' },
            encoding: 'utf8',
            timeout: 30_000,
          },
        );
        expect(shown).toMatchObject({ status: 0, stdout: `${words}\r\n` });
        expect(await run(service, ...args)).toMatchObject({ status: 0, stdout: '', stderr: '' });
      }
    }));
});

describe('holdpoint hold for a time', () => {
  it('prints the id alone, makes the update wait, and ends by itself', () =>
    withService({}, async (service) => {
      const taken = await run(service, 'hold', POINT, '--why', 'brewing', '--timeout', '1s');
      expect(taken).toMatchObject({ status: 0, stderr: '' });
      expect(taken.stdout).toMatch(/^[0-9a-f]{12}\n$/);
      const second = await run(service, 'hold', POINT, '--timeout', '1s', '--on-expire', 'fail');
      await run(service, 'release', second.stdout.trim());
      await run(service, 'install', '--no-wait', artifact);
      expect((await service.waitForEnd())['LastResult']).toBe('success');
    }));

  it('hands every option over', () =>
    withService({}, async (service) => {
      await run(
        service,
        'hold',
        'ArtifactInstall_Enter,ArtifactCommit_Enter',
        '--timeout',
        '1h',
        '--on-expire',
        'keep-waiting',
        '--app-id',
        'org.example.Brew',
        '--priority',
        '-3',
        '--once',
        '--why',
        'brewing',
      );
      expect((await holdsOf(service))[0]).toMatchObject({
        lifetime: 'timed',
        points: ['ArtifactInstall_Enter', 'ArtifactCommit_Enter'],
        owner: 'org.example.Brew',
        onExpire: 'keep-waiting',
        details: expect.objectContaining({ priority: -3, once: true, 'app-id': 'org.example.Brew' }),
      });
    }));

  it('fails the update when its time is over and it says so', () =>
    withService({}, async (service) => {
      // The update waits already when the time begins: on a slow machine it may be over before an update comes.
      await run(service, 'hold', POINT, '--timeout', '1h');
      await run(service, 'install', '--no-wait', artifact);
      await service.waitAt(POINT);
      await run(service, 'hold', POINT, '--timeout', '1s', '--on-expire', 'fail', '--why', 'brewing');
      const end = await service.waitForEnd();
      expect(end['LastResult']).not.toBe('success');
      expect(String(end['LastErrorName'])).toMatch(/HoldExpired$/);
    }));
});
