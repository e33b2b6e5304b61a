import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { shortStates } from '../../support/control-map-cases.ts';
import { startControlProgram, type ControlProgram } from '../../support/control-program.ts';
import { eventually } from '../../support/eventually.ts';
import { MapService, MENDER_POLICY_PATH } from '../../support/map-service.ts';
import { startMenderDaemon } from '../../support/mender-daemon.ts';
import { POLICY_PATH, startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';

/** A client written for Mender, with pydbus, against our object on a real bus. */
const ID = '01234567-89ab-cdef-0123-456789abcdef';
const PAUSED = {
  ArtifactInstall_Enter: 'pause/fail/pause',
  ArtifactReboot_Enter: 'pause/fail/pause',
  ArtifactCommit_Enter: 'pause/fail/pause',
};

let bus: PrivateBus;
let service: MapService;
let program: ControlProgram | null;

beforeEach(async () => {
  bus = await startPrivateBus({ policyPaths: [POLICY_PATH, MENDER_POLICY_PATH] });
  service = await new MapService(bus.address).ready();
  program = null;
});
afterEach(async () => {
  await program?.kill();
  service?.close();
  await bus?.dispose();
});

const pooled = (): unknown => service.pool.map(({ states }) => shortStates(states));

describe('a pydbus program', () => {
  test('pauses all gates, opens one after the other, and takes its map away', async () => {
    program = startControlProgram(bus.address, ['--id', ID, '--priority', '3']);
    expect(await program.waitFor(({ event }) => event === 'set')).toMatchObject({ refresh_timeout: 30 });
    expect(service.pool).toMatchObject([{ id: ID, priority: 3, uid: 0, origin: 'local' }]);
    expect(pooled()).toEqual([PAUSED]);

    program.tell('next');
    await program.waitFor(({ event }) => event === 'set', 1);
    const { ArtifactReboot_Enter, ArtifactCommit_Enter } = PAUSED;
    expect(pooled()).toEqual([{ ArtifactReboot_Enter, ArtifactCommit_Enter }]);

    program.tell('reboot force_continue');
    await program.waitFor(({ event }) => event === 'set', 2);
    expect(pooled()).toEqual([
      { ArtifactReboot_Enter: 'force_continue/force_continue/force_continue', ArtifactCommit_Enter },
    ]);

    program.tell('remove');
    await program.waitFor(({ event }) => event === 'removed');
    expect(service.pool).toEqual([]);
    program.tell('quit');
    expect(await program.ended).toBe(0);
  });

  test('sends its map again before the time is over, with the same text', async () => {
    program = startControlProgram(bus.address, ['--id', ID, '--speed', '100']);
    const running = program;
    await eventually(
      'three refreshes',
      () => running.events.filter(({ event }) => event === 'refreshed').length >= 3,
    );
    expect(new Set(service.texts).size).toBe(1);
    expect(service.pool).toHaveLength(1);
  });

  test('takes a refresh time of 0 for an error', async () => {
    service.lifetimeSeconds = 1;
    program = startControlProgram(bus.address);
    expect(await program.ended).toBe(1);
    expect(program.events).toEqual([
      { event: 'error', name: '', text: 'the refresh time is 0: the map expires at once' },
    ]);
  });

  test('is told io.mender.Failed for a map that is refused', async () => {
    program = startControlProgram(bus.address, ['--priority', '11']);
    expect(await program.ended).toBe(1);
    expect(program.events).toMatchObject([
      {
        event: 'error',
        name: 'io.mender.Failed',
        text: 'GDBus.Error:io.mender.Failed: Method returned error, see Mender logs for more details',
      },
    ]);
  });

  test('does the same with the real Mender client, for which it was written', async () => {
    const mender = await startMenderDaemon({ config: { UpdateControlMapExpirationTimeSeconds: 61 } });
    if ('unavailable' in mender)
      throw new Error(`the package mender-client is needed: ${mender.unavailable}`);
    try {
      const texts: string[] = [];
      for (const address of [mender.bus.address, bus.address]) {
        const stored = (): Promise<string> =>
          address === bus.address ? Promise.resolve(service.storedMaps()) : mender.storedMaps();
        program = startControlProgram(address, ['--id', ID, '--priority', '3']);
        await program.waitFor(({ event }) => event === 'set');
        texts.push(await stored());
        program.tell('next');
        await program.waitFor(({ event }) => event === 'set', 1);
        texts.push(await stored());
        program.tell('remove');
        await program.waitFor(({ event }) => event === 'removed');
        texts.push(await stored(), JSON.stringify(program.events));
        program.tell('quit');
        expect(await program.ended).toBe(0);
      }
      expect(texts.slice(4)).toEqual(texts.slice(0, 4));
      expect(texts[1]).toContain('ArtifactReboot_Enter');
      expect(texts[2]).toBe('');
    } finally {
      await mender.dispose();
    }
  }, 120_000);
});
