import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BusCaller } from '../support/bus-caller.ts';
import { ASK, makeArtifact } from '../support/device.ts';
import { listedHolds } from '../support/hold-list.ts';
import { storedStates } from '../support/stored-state.ts';
import { withService, type ServiceHarness } from '../support/service.ts';

/** What is wrong is refused by name, changes nothing, and does not get raw into any log. */
const POINT = 'ArtifactInstall_Enter';
const ESCAPE = '\\u001b[2Jgotcha\\u000abreak';
const OWN = 'io.holdpoint.Update1.Error';
const INVALID = 'org.freedesktop.DBus.Error.InvalidArgs';
const LONG = 'x'.repeat(201);

interface Case {
  readonly member: string;
  readonly args: string;
  readonly error: string;
}

/** Arguments as GVariant text. */
function cases(deployment: string, ticket: string): readonly Case[] {
  const hold = (point: string, why: string, timeout: string, onExpire: string, error: string): Case => ({
    member: 'Holds.Hold',
    args: `('${point}', '${why}', uint32 ${timeout}, '${onExpire}')`,
    error,
  });
  const addHold = (points: string, options: string, error: string): Case => ({
    member: 'Holds.AddHold',
    args: `(${points}, 'why', uint32 0, 'continue', ${options})`,
    error,
  });
  const map = (json: string, error = `${OWN}.InvalidMap`): Case => ({
    member: 'Holds.SetControlMap',
    args: `('${json}',)`,
    error,
  });
  const health = (...words: readonly string[]): Case => ({
    member: 'Holds.ReportHealth',
    args: `(${words.map((word) => `'${word}'`).join(', ')})`,
    error: INVALID,
  });
  const id = '01234567-89ab-cdef-0123-456789abcdef';
  return [
    hold('Nowhere_Enter', 'why', '60', 'continue', `${OWN}.UnknownPoint`),
    hold(ESCAPE, 'why', '60', 'continue', `${OWN}.UnknownPoint`),
    hold('', 'why', '60', 'continue', `${OWN}.UnknownPoint`),
    hold(POINT, '', '60', 'continue', INVALID),
    hold(POINT, '   ', '60', 'continue', INVALID),
    hold(POINT, LONG, '60', 'continue', INVALID),
    hold(POINT, ESCAPE, '60', 'continue', INVALID),
    hold(POINT, 'why\\u2028there', '60', 'continue', INVALID),
    hold(POINT, 'why', '4294967295', 'continue', INVALID),
    hold(POINT, 'why', '60', '', INVALID),
    hold(POINT, 'why', '60', 'reboot', INVALID),
    addHold('@as []', '@a{sv} {}', INVALID),
    addHold(`['${POINT}', '${POINT}']`, '@a{sv} {}', INVALID),
    addHold(`['${POINT}', 'elsewhere']`, '@a{sv} {}', `${OWN}.UnknownPoint`),
    addHold(`['${POINT}']`, "{'priority': <11>}", INVALID),
    addHold(`['${POINT}']`, "{'priority': <'high'>}", INVALID),
    addHold(`['${POINT}']`, "{'action': <'explode'>}", INVALID),
    addHold(`['${POINT}']`, `{'app-id': <'${ESCAPE}'>}`, INVALID),
    addHold(`['${POINT}']`, `{'app-id': <'${'a'.repeat(129)}'>}`, INVALID),
    addHold(`['${POINT}']`, "{'deployment': <'another'>}", `${OWN}.UnknownDeployment`),
    addHold(`['${POINT}']`, "{'silence': <true>}", 'org.freedesktop.DBus.Error.NotSupported'),
    { member: 'Holds.RefreshHold', args: "('nothing',)", error: `${OWN}.UnknownHold` },
    { member: 'Holds.RefreshHold', args: `('${ESCAPE}',)`, error: `${OWN}.UnknownHold` },
    { member: 'Holds.ReleaseHold', args: "('',)", error: `${OWN}.UnknownHold` },
    map(''),
    map('['.repeat(65_536)),
    map('{"a":'.repeat(12_000)),
    map('x'.repeat(65_537)),
    map(`{"id":"${id}","states":{"${ESCAPE}":{}}}`),
    map(`{"id":"${id}","priority":1e400,"states":{}}`),
    map(`{"id":"${id}","priority":0.5,"states":{}}`),
    map(`{"id":"${id}","states":{"${POINT}":{"action":"${ESCAPE}"}}}`),
    map(`{"id":"${id}","states":{"Download_Enter":{"action":"pause"}}}`),
    map(`{"id":"${id}","states":{"${POINT}":{"action":"pause","on_map_expire":"pause"}}}`),
    health(deployment, 'nobody', 'ok', ''),
    health(deployment, ESCAPE, 'ok', ''),
    health(deployment, 'app', ESCAPE, ''),
    health(deployment, 'app', 'ok', ESCAPE),
    health(deployment, 'app', 'ok', LONG),
    { member: 'Snooze', args: `('${ticket}', uint32 0)`, error: INVALID },
    { member: 'Snooze', args: `('${ESCAPE}', uint32 1)`, error: INVALID },
    { member: 'Snooze', args: "('', uint32 1)", error: INVALID },
    { member: 'Snooze', args: `('${ticket}', uint32 4294967295)`, error: `${OWN}.DeferralLimit` },
    { member: 'EndSnooze', args: `('${ESCAPE}',)`, error: `${OWN}.UnknownDeployment` },
    { member: 'Continue', args: `('${ESCAPE}',)`, error: INVALID },
    { member: 'ContinueFull', args: `('${ticket}', {'comment': <'${ESCAPE}'>})`, error: INVALID },
    { member: 'ContinueFull', args: `('${ticket}', {'comment': <'${LONG}'>})`, error: INVALID },
    { member: 'ContinueFull', args: `('${ticket}', {'reboot-mode': <'now'>})`, error: INVALID },
    { member: 'ContinueFull', args: `('${ticket}', {'reboot-mode': <'none'>})`, error: INVALID },
    { member: 'ContinueFull', args: `('${ticket}', {'override': <'yes'>})`, error: INVALID },
    {
      member: 'ContinueFull',
      args: `('${ticket}', {'${ESCAPE}': <1>})`,
      error: 'org.freedesktop.DBus.Error.NotSupported',
    },
    { member: 'Abort', args: `('${deployment}', '${ESCAPE}')`, error: INVALID },
    { member: 'Rollback', args: `('${deployment}', '${LONG}')`, error: INVALID },
    { member: 'CanDo', args: `('${ESCAPE}',)`, error: INVALID },
    { member: 'History.ExportDecisions', args: '(uint64 1, uint32 0)', error: INVALID },
    { member: 'Holds.Hold', args: '(1,)', error: INVALID },
    { member: 'Holds.AddHold', args: "('a', 'b')", error: INVALID },
    { member: 'Holds.SetControlMap', args: '', error: INVALID },
    { member: 'Snooze', args: "('x', 1)", error: INVALID },
  ];
}

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-bad-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** What a client and the disk know of it. */
async function snapshot(service: ServiceHarness): Promise<unknown> {
  const [newest] = await storedStates(service.device.stateDirectory);
  const { Serial, ...rest } = service.watch.present() ?? {};
  return { Serial, rest, holds: await listedHolds(service), generation: newest?.generation };
}

describe('bad input', { timeout: 60_000 }, () => {
  it('to any of the methods is refused by name, changes nothing and is not logged raw', () =>
    withService(
      { points: { [POINT]: ASK }, holdpointConf: { Health: { checkers: ['app'] } } },
      async (service) => {
        const caller = await BusCaller.start(service.bus.address, { uid: 0, gids: [0] });
        try {
          const id = await service.install(artifact);
          const seen = await service.waitAt(POINT);
          const before = await snapshot(service);
          const found: Case[] = [];
          const expected = cases(id, String(seen['WaitTicket']));
          for (const { member, args } of expected) {
            const dot = member.lastIndexOf('.');
            const { error, message } = await caller.call({
              interface: `io.holdpoint.Update1${dot < 0 ? '' : `.${member.slice(0, dot)}`}`,
              member: member.slice(dot + 1),
              args,
            });
            found.push({ member, args, error });
            // One line, printable, short, and nothing about our inside.
            expect(message).toMatch(/^[^\p{Cc}\u2028]{1,600}$/u);
            expect(message).not.toMatch(/\bat .*\.[jt]s\b|node:internal/);
          }
          expect(found).toEqual(expected.map(({ member, args, error }) => ({ member, args, error })));
          expect(await snapshot(service)).toEqual(before);
          const logs = [
            await service.log(),
            ...(await service.deploymentLog(id)).map(({ message }) => message),
          ].join('\n');
          // eslint-disable-next-line no-control-regex
          expect(logs).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
          expect(logs).not.toMatch(/^break/m);
          expect(await readFile(service.device.logFile, 'utf8')).not.toContain('\u001b');
          expect(await service.release(POINT)).toBe('proceeding');
        } finally {
          await caller.vanish();
        }
      },
    ));
});
