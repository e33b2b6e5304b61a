import { filter, firstValueFrom, timeout } from 'rxjs';
import { expect, it } from 'vitest';
import { noServer } from '../support/no-server.ts';
import { MemoryStore } from '../../src/adapters/store/memory-store.ts';
import { createMachine } from '../../src/app/machine.ts';
import { DEFAULT_HOLD_POINT_POLICY } from '../../src/core/hold-point.ts';
import type { UpdateState } from '../../src/core/state.ts';
import { compose, type Composition, type Recording } from '../support/composition.ts';
import { makeArtifact, makeDevice } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { RecordingLog } from '../support/recording-log.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const PATIENCE_MS = 30_000;
const holdPoints = {
  ...DEFAULT_HOLD_POINT_POLICY,
  ArtifactInstall_Enter: {
    ...DEFAULT_HOLD_POINT_POLICY.ArtifactInstall_Enter,
    consent: 'required',
    onExpire: 'fail',
  },
} as const;

const reached = (service: Composition, isIt: (state: UpdateState) => boolean): Promise<UpdateState> =>
  firstValueFrom(service.machine.state$.pipe(filter(isIt), timeout(PATIENCE_MS)));

/** The loop again, fed with the recording, its effects carried out by nobody. */
async function replayed({ seed, events, ticks }: Recording): Promise<readonly unknown[]> {
  const seen: unknown[] = [];
  const machine = createMachine(seed, {
    clock: new VirtualClock(),
    store: new MemoryStore<UpdateState>(),
    log: new RecordingLog(),
    nonce: () => '0'.repeat(32),
  });
  machine.tick$.subscribe((tick) => seen.push(tick));
  const running = machine.start();
  for (const event of events) machine.replay(event);
  await eventually('everything is replayed', () => seen.length >= ticks.length);
  running.unsubscribe();
  return seen;
}

it('a real update with a wait and a crash replays from its events to the identical stream of steps', async () => {
  const device = await makeDevice({});
  const artifact = await makeArtifact(device, {});
  const start = (): Promise<Composition> => compose({ device, server: noServer, settings: { holdPoints } });
  let service = await start();
  try {
    await reached(service, ({ step }) => step === 'idle');
    await service.machine.command({
      kind: 'Install',
      deploymentId: '11111111-2222-4333-8444-555555555555',
      location: { kind: 'file', path: artifact },
      requiredDigest: '',
      uid: 0,
      artifact: null,
      sizeBytes: -1,
    });
    const before = await reached(service, ({ wait }) => wait !== null);
    service.drop();
    const first = service.recording;

    service = await start();
    const { wait } = await reached(
      service,
      (state) => state.wait !== null && state.wait.ticket !== before.wait?.ticket,
    );
    const ticket = wait?.ticket ?? '';
    expect(await service.machine.command({ kind: 'Continue', ticket, uid: 0, comment: '' })).toBe(
      'proceeding',
    );
    const end = await reached(service, ({ history, step }) => history.length > 0 && step === 'idle');
    expect(end.history[0]).toMatchObject({ result: 'success' });
    service.drop();

    for (const recording of [first, service.recording]) {
      expect(recording.ticks.length).toBeGreaterThan(5);
      expect(await replayed(recording)).toEqual(recording.ticks);
    }
  } finally {
    service.drop();
    await device.dispose();
  }
});
