import type { Subscription } from 'rxjs';
import { afterEach, describe, expect, it } from 'vitest';
import { MemoryStore } from '../../../src/adapters/store/memory-store.ts';
import { createMachine, type Machine, type Tick } from '../../../src/app/machine.ts';
import type { Command } from '../../../src/core/command.ts';
import type { Effect } from '../../../src/core/effect.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import type { EventBody, UpdateEvent } from '../../../src/core/event.ts';
import { RefusedCall } from '../../../src/core/refusal.ts';
import { initialState, type FlowStep, type UpdateState } from '../../../src/core/state.ts';
import type { Store } from '../../../src/ports/store.ts';
import { answer, goodAnswer } from '../../support/answering.ts';
import { holdAdded } from '../../support/flow-events.ts';
import { ARTIFACT, DEPLOYMENT_ID, OLD, SERVER_SETTINGS } from '../../support/flow-simulator.ts';
import { consentAt } from '../../support/flow-steps.ts';
import { RecordingLog } from '../../support/recording-log.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

const BOOT: EventBody = {
  kind: 'ServiceStarted',
  bootId: 'boot-1',
  settings: SERVER_SETTINGS,
  bootstrap: null,
};
const INSTALL: Command = {
  kind: 'Install',
  deploymentId: DEPLOYMENT_ID,
  location: { kind: 'file', path: '/media/usb/release-2.mender' },
  requiredDigest: '',
  uid: 1000,
  artifact: ARTIFACT,
  sizeBytes: 10,
};
const DISK_FULL = new UpdateError('noSpace', 'no space left');

const running: Subscription[] = [];
afterEach(() => running.splice(0).forEach((subscription) => subscription.unsubscribe()));

interface Bench {
  readonly machine: Machine;
  readonly store: MemoryStore<UpdateState>;
  readonly log: RecordingLog;
  readonly clock: VirtualClock;
  readonly events: UpdateEvent[];
  readonly ticks: Tick[];
  /** Resolves when the step has been entered after whatever was waited for before. */
  arrive(step: FlowStep): Promise<UpdateState>;
  start(): Subscription;
}

function bench(seed = initialState(OLD), given?: Store<UpdateState>): Bench {
  const store = new MemoryStore<UpdateState>(seed);
  const log = new RecordingLog();
  const clock = new VirtualClock();
  let nonces = 0;
  const nonce = (): string => (nonces += 1).toString(16).padStart(32, '0');
  const machine = createMachine(seed, { clock, store: given ?? store, log, nonce });
  const events: UpdateEvent[] = [];
  const ticks: Tick[] = [];
  let seen = 0;
  machine.event$.subscribe((event) => events.push(event));
  machine.tick$.subscribe((tick) => ticks.push(tick));
  return {
    machine,
    store,
    log,
    clock,
    events,
    ticks,
    async arrive(step) {
      for (let turns = 0; turns < 1_000; turns += 1) {
        const at = ticks.findIndex(
          ({ before, after }, index) =>
            index >= seen && after.step === step && before.workId !== after.workId,
        );
        if (at >= 0) {
          seen = at + 1;
          return ticks[at]?.after as UpdateState;
        }
        await settled();
      }
      throw new Error(`${step} was not entered; the flow stands in ${machine.state().step}`);
    },
    start() {
      const subscription = machine.start();
      running.push(subscription);
      return subscription;
    },
  };
}

/** Takes in everything that has been dispatched so far. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function idle(made: Bench): Promise<void> {
  answer(made.machine);
  made.start();
  made.machine.dispatch(BOOT);
  await made.arrive('idle');
}

describe('the loop', () => {
  it('takes in one event at a time, each seeing the state that the one before led to', async () => {
    const made = bench();
    const { machine, ticks } = made;
    await idle(made);
    machine.dispatch({ kind: 'CheckRequested' });
    await made.arrive('cleanup-after-success');
    await made.arrive('idle');
    for (const [at, tick] of ticks.entries()) {
      if (at > 0) expect(tick.before).toBe(ticks[at - 1]?.after);
    }
    expect(machine.state().history[0]?.result).toBe('success');
  });

  it('has passed when all that was dispatched is taken in, and has not passed while a write does not return', async () => {
    const inner = new MemoryStore<UpdateState>();
    let release = (): void => {};
    const stuck = new Promise<void>((resolve) => (release = resolve));
    let isStuck = false;
    const made = bench(undefined, {
      load: () => inner.load(),
      save: async (state) => {
        if (isStuck) await stuck;
        await inner.save(state);
      },
    });
    await idle(made);
    await made.machine.passed();

    isStuck = true;
    let hasPassed = false;
    made.machine.dispatch({ kind: 'UpdatesSwitched', isEnabled: false, uid: 0 });
    void made.machine.passed().then(() => (hasPassed = true));
    for (let turns = 0; turns < 50; turns += 1) await settled();
    expect(hasPassed).toBe(false);
    release();
    for (let turns = 0; turns < 50 && !hasPassed; turns += 1) await settled();
    expect(hasPassed).toBe(true);
    expect(made.machine.state().updatesSwitch).toBe(false);
  });

  it('publishes ticks in order although subscribers dispatch from within them', async () => {
    const { machine, ticks, start } = bench();
    const seen: string[] = [];
    let extra = 0;
    machine.tick$.subscribe(({ event }) => {
      if (event.kind === 'UpdatesSwitched' && extra < 3) {
        extra += 1;
        machine.dispatch({ kind: 'UpdatesSwitched', isEnabled: extra % 2 === 0, uid: extra });
      }
    });
    machine.tick$.subscribe(({ event }) =>
      seen.push('uid' in event ? `${event.kind} ${event.uid}` : event.kind),
    );
    start();
    machine.dispatch({ kind: 'UpdatesSwitched', isEnabled: true, uid: 0 });
    machine.dispatch({ kind: 'ResumeRequested', uid: 9 });
    await settled();
    await settled();
    expect(seen).toEqual([
      'UpdatesSwitched 0',
      'ResumeRequested 9',
      'UpdatesSwitched 1',
      'UpdatesSwitched 2',
      'UpdatesSwitched 3',
    ]);
    expect(ticks.map(({ after }) => after.serial)).toEqual([1, 1, 2, 3, 4]);
  });

  it('stores, then shows the state, then hands out effects, then replies', async () => {
    const order: string[] = [];
    const saving = new MemoryStore<UpdateState>();
    const made = bench(initialState(OLD), {
      load: () => saving.load(),
      async save(state) {
        await settled();
        order.push(`saved ${state.step}`);
      },
    });
    const { machine } = made;
    await idle(made);
    order.length = 0;
    machine.state$.subscribe(({ step }) => order.push(`shown ${step}`));
    machine.tick$.subscribe(({ after }) => order.push(`effects ${after.step}`));
    order.length = 0;
    const reply = machine.command(INSTALL).then(() => order.push('replied'));
    await made.arrive('idle-leave');
    await reply;
    expect(order.slice(0, 4)).toEqual([
      'saved idle-leave',
      'shown idle-leave',
      'effects idle-leave',
      'replied',
    ]);
  });

  it('does not write what need not be kept', async () => {
    const made = bench();
    await idle(made);
    const saves = made.store.history.length;
    for (let polls = 0; polls < 3; polls += 1) {
      made.machine.dispatch({ kind: 'ResumeRequested', uid: 0 });
      await settled();
    }
    expect(made.store.history).toHaveLength(saves);
  });

  it('stamps each event with the time and a value of its own', async () => {
    const made = bench();
    made.start();
    made.machine.dispatch(BOOT);
    await settled();
    made.clock.advance(5_000);
    made.machine.dispatch({ kind: 'UpdatesSwitched', isEnabled: false, uid: 0 });
    await settled();
    const [first, second] = made.events;
    expect((second?.at.bootMs ?? 0) - (first?.at.bootMs ?? 0)).toBe(5_000);
    expect(first?.nonce).not.toBe(second?.nonce);
  });

  it('writes one line for each move', async () => {
    const made = bench();
    await idle(made);
    const lines = made.log.records.filter(({ sentence }) => sentence === 'Transition');
    expect(lines.map(({ level, fields }) => [level, fields['from'], fields['event'], fields['to']])).toEqual([
      ['info', 'idle', 'ServiceStarted', 'idle-enter'],
      ['info', 'idle-enter', 'ScriptsFinished', 'idle'],
    ]);
  });
});

describe('a command', () => {
  it('that is refused changes nothing: no event, no tick, no save', async () => {
    const made = bench();
    await idle(made);
    const before = {
      state: made.machine.state(),
      events: made.events.length,
      saves: made.store.history.length,
    };
    for (const command of [
      { kind: 'Abort', deploymentId: 'x', uid: 0, reason: '' },
      { kind: 'Continue', ticket: '0'.repeat(32), uid: 0, comment: '' },
      { kind: 'Pause', deploymentId: 'x', uid: 0 },
    ] as const satisfies readonly Command[]) {
      await expect(made.machine.command(command)).rejects.toBeInstanceOf(RefusedCall);
    }
    expect(made.machine.state()).toBe(before.state);
    expect(made.events).toHaveLength(before.events);
    expect(made.store.history).toHaveLength(before.saves);
  });

  it('that asks for what is so already is answered without an event', async () => {
    const made = bench();
    await idle(made);
    await made.machine.command({ kind: 'SetUpdatesEnabled', isEnabled: false, uid: 0 });
    const events = made.events.length;
    await made.machine.command({ kind: 'SetUpdatesEnabled', isEnabled: false, uid: 0 });
    expect(made.events).toHaveLength(events);
  });

  it('is judged by the state it finds when its turn comes', async () => {
    const made = bench();
    await idle(made);
    const both = await Promise.allSettled([made.machine.command(INSTALL), made.machine.command(INSTALL)]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect(both[1]).toMatchObject({ reason: { refusal: { name: 'Busy' } } });
  });

  it('finds its effect in the state when it is answered', async () => {
    const made = bench();
    made.start();
    made.machine.dispatch(BOOT);
    await made.machine.command(INSTALL);
    expect(made.machine.state().deployment?.id).toBe(DEPLOYMENT_ID);
  });

  it('that cannot be stored is rejected with the reason, without change, and the loop goes on', async () => {
    const made = bench();
    await idle(made);
    const before = made.machine.state();
    const ticks = made.ticks.length;
    made.store.failure = DISK_FULL;
    await expect(made.machine.command(INSTALL)).rejects.toBe(DISK_FULL);
    expect(made.machine.state()).toBe(before);
    expect(made.ticks).toHaveLength(ticks);
    made.store.failure = null;
    await made.machine.command(INSTALL);
    await made.arrive('idle');
    expect(made.machine.state().history[0]?.result).toBe('success');
  });

  it('that cannot be judged for a defect of ours is rejected, and the next one is taken in', async () => {
    const made = bench();
    await idle(made);
    const { machine, log } = made;
    const broken = {
      get kind(): never {
        throw new TypeError('a defect');
      },
    };
    await expect(machine.command(broken as unknown as Command)).rejects.toThrow('a defect');
    expect(log.records.some(({ level }) => level === 'error')).toBe(true);
    await expect(machine.command(INSTALL)).resolves.toBe('');
  });

  it('that meets a defect of the store is rejected, and the next one is taken in', async () => {
    let isDefect = false;
    const memory = new MemoryStore<UpdateState>();
    const made = bench(initialState(OLD), {
      load: () => memory.load(),
      save: () => (isDefect ? Promise.reject(new TypeError('defect')) : Promise.resolve()),
    });
    await idle(made);
    isDefect = true;
    await expect(made.machine.command(INSTALL)).rejects.toThrow('defect');
    isDefect = false;
    await expect(made.machine.command(INSTALL)).resolves.toBe('');
    expect(made.log.records.some(({ level }) => level === 'error')).toBe(true);
  });
});

describe('a state that cannot be stored', () => {
  /** Fails the save of the first state in that step. */
  function failingIn(
    step: FlowStep,
    times = 1,
  ): { readonly store: Store<UpdateState>; readonly saved: FlowStep[] } {
    const memory = new MemoryStore<UpdateState>();
    const saved: FlowStep[] = [];
    let left = times;
    let isStruck = false;
    return {
      saved,
      store: {
        load: () => memory.load(),
        save(state) {
          isStruck ||= state.step === step;
          if (isStruck && left-- > 0) return Promise.reject(DISK_FULL);
          saved.push(state.step);
          return memory.save(state);
        },
      },
    };
  }

  async function install(made: Bench): Promise<readonly Effect[]> {
    await idle(made);
    await made.machine.command(INSTALL);
    await made.arrive('cleanup-after-failure');
    await made.arrive('idle');
    return made.ticks.flatMap(({ effects }) => effects);
  }

  it('is not acted on: the step fails instead, and what it leads to is stored', async () => {
    const { store, saved } = failingIn('install-leave');
    const made = bench(initialState(OLD), store);
    const effects = await install(made);
    const ran = effects.flatMap((effect) =>
      effect.kind === 'runScripts' ? [`${effect.family}_${effect.action}`] : [],
    );
    expect(ran).not.toContain('ArtifactInstall_Leave');
    expect(ran).toContain('ArtifactInstall_Error');
    expect(saved).not.toContain('install-leave');
    expect(saved).toContain('install-error');
    expect(made.events.map(({ kind }) => kind)).toContain('SaveFailed');
    expect(made.machine.state().history[0]).toMatchObject({
      result: 'rolled-back',
      failure: { name: 'NoSpace' },
    });
  });

  it('while a module is at work ends nothing and begins nothing: it is stored with the next event', async () => {
    const made = bench();
    answer(made.machine, (effect) =>
      effect.kind === 'runModule' && effect.action === 'ArtifactInstall' ? [] : goodAnswer(effect),
    );
    made.start();
    made.machine.dispatch(BOOT);
    await made.arrive('idle');
    await made.machine.command(INSTALL);
    const { workId } = await made.arrive('install');
    const hold = holdAdded({ points: ['ArtifactCommit_Enter'] });
    await made.machine.command({ ...hold, kind: 'AddHold' });
    const told = made.ticks.length;
    made.store.failure = DISK_FULL;
    made.machine.dispatch({ kind: 'HolderVanished', connection: hold.connection ?? '' });
    await settled();
    expect(made.machine.state()).toMatchObject({ step: 'install', workId, holds: [] });
    const ordered = made.ticks.slice(told).flatMap(({ effects }) => effects.map(({ kind }) => kind));
    expect(ordered).toContain('unwatchHolder');
    expect(ordered).not.toContain('runScripts');
    expect(made.store.history.at(-1)?.holds).toHaveLength(1);
    made.store.failure = null;
    made.machine.dispatch({ kind: 'ModuleFinished', workId, failure: null });
    await made.arrive('cleanup-after-success');
    expect(made.store.history.at(-1)?.holds).toEqual([]);
  });

  it('in front of a family of scripts leaves the whole family out: nothing has been touched', async () => {
    const { store, saved } = failingIn('install-enter');
    const made = bench(initialState(OLD), store);
    const effects = await install(made);
    expect(
      effects.filter((effect) => effect.kind === 'runScripts' && effect.family === 'ArtifactInstall'),
    ).toEqual([]);
    expect(saved).toContain('cleanup-after-failure');
    expect(made.machine.state().history[0]).toMatchObject({
      result: 'failure',
      failure: { name: 'NoSpace' },
    });
  });

  it('is stored as soon as the store works again, whatever happens then', async () => {
    const made = bench();
    await idle(made);
    made.machine.state$.subscribe(({ step }) => {
      if (step === 'commit') made.store.failure = DISK_FULL;
    });
    await made.machine.command(INSTALL);
    await made.arrive('commit-leave');
    await made.arrive('cleanup-after-success');
    const stored = async (): Promise<UpdateState | null> => (await made.store.load()).document;
    expect((await stored())?.step).toBe('commit');
    made.store.failure = null;
    // No event of its own would be stored.
    made.machine.dispatch({ kind: 'ServerStandingChanged', standing: 'unreachable' });
    while (made.machine.state().schedule.serverStanding === 'none') await settled();
    expect(await stored()).toEqual(made.machine.state());
  });

  it('is told about all the same: notices and the log of the step are kept', async () => {
    const { store } = failingIn('download-enter');
    const made = bench(initialState(OLD), store);
    const effects = await install(made);
    const notices = effects.flatMap((effect) => (effect.kind === 'announce' ? [effect.notice.kind] : []));
    expect(notices.filter((kind) => kind === 'DeploymentStarted')).toHaveLength(1);
    expect(notices.filter((kind) => kind === 'DeploymentFinished')).toHaveLength(1);
  });

  it('for good still lets the update come back to idle', async () => {
    const { store } = failingIn('install-enter', 10_000);
    const made = bench(initialState(OLD), store);
    await idle(made);
    await made.machine.command(INSTALL);
    await made.arrive('idle-leave');
    await made.arrive('idle');
    expect(made.machine.state().step).toBe('idle');
    expect(made.machine.state().installed.artifactName).toBe(OLD.artifactName);
  });
});

describe('a recording', () => {
  /** What users saw of a run: each tick’s step and state. */
  function stream(ticks: readonly Tick[]): readonly (readonly [FlowStep, UpdateState])[] {
    return ticks.map(({ after }) => [after.step, after]);
  }

  async function replayed(seed: UpdateState, events: readonly UpdateEvent[]): Promise<readonly Tick[]> {
    const made = bench(seed);
    made.start();
    // Through JSON, as a file would have it.
    for (const event of JSON.parse(JSON.stringify(events)) as UpdateEvent[]) made.machine.replay(event);
    while (made.ticks.length < events.length) await settled();
    return made.ticks;
  }

  const waiting: EventBody = { ...BOOT, settings: consentAt('ArtifactInstall_Enter') };

  /** An update up to its wait, and a crash there; then the same update from the store to its end. */
  async function recordBoth() {
    const seed = initialState(OLD);
    const first = bench(seed);
    answer(first.machine);
    const run = first.start();
    first.machine.dispatch(waiting);
    await first.arrive('idle');
    first.machine.dispatch({ kind: 'CheckRequested' });
    await first.arrive('install-gate');
    await first.machine.command({ kind: 'Pause', deploymentId: DEPLOYMENT_ID, uid: 1000 });
    // The journal has it.
    await settled();
    run.unsubscribe();

    const stored = first.store.history.at(-1) as UpdateState;
    const second = bench(stored);
    answer(second.machine);
    second.start();
    second.machine.dispatch({ ...waiting, bootId: 'boot-2' } as EventBody);
    const { wait } = await second.arrive('install-gate');
    second.clock.advance(60_000);
    await second.machine.command({ kind: 'Continue', ticket: wait?.ticket ?? '', uid: 1000, comment: 'now' });
    await second.machine.command({ kind: 'Resume', deploymentId: DEPLOYMENT_ID, uid: 1000 });
    await second.arrive('idle');
    return { seed, stored, first, second };
  }

  it('replays to the identical stream of steps and states, before and after a crash', async () => {
    const { seed, stored, first, second } = await recordBoth();
    expect(first.machine.state().step).toBe('install-gate');
    expect(second.machine.state().history[0]).toMatchObject({
      result: 'success',
      consents: [{ comment: 'now' }],
    });
    expect(stream(await replayed(seed, first.events))).toEqual(stream(first.ticks));
    expect(stream(await replayed(stored, second.events))).toEqual(stream(second.ticks));
  });

  it('replays with inert effects: what is ordered the second time is the same, and nobody has to do it', async () => {
    const { seed, first } = await recordBoth();
    const ticks = await replayed(seed, first.events);
    expect(ticks.map(({ effects }) => effects)).toEqual(first.ticks.map(({ effects }) => effects));
  });

  it('of a save that failed replays to the same end', async () => {
    const seed = initialState(OLD);
    const made = bench(seed);
    let isStruck = false;
    answer(made.machine, (effect) => {
      if (effect.kind === 'runScripts' && effect.family === 'ArtifactInstall') isStruck = true;
      return goodAnswer(effect);
    });
    made.machine.state$.subscribe(({ step }) => {
      made.store.failure = step === 'install-enter' && !isStruck ? DISK_FULL : null;
    });
    made.start();
    made.machine.dispatch(BOOT);
    await made.arrive('idle');
    await made.machine.command(INSTALL);
    await made.arrive('install-enter');
    await made.arrive('idle');
    expect(made.events.map(({ kind }) => kind)).toContain('SaveFailed');
    const ticks = await replayed(seed, made.events);
    expect(ticks.at(-1)?.after).toEqual(made.machine.state());
  });

  it('does not hold a request that was rejected because it could not be stored', async () => {
    const made = bench();
    await idle(made);
    made.store.failure = DISK_FULL;
    await made.machine.command(INSTALL).catch(() => {});
    expect(made.events.map(({ kind }) => kind)).not.toContain('InstallRequested');
  });
});

describe('stopping', () => {
  function stalled(): { readonly made: Bench; readonly release: () => void } {
    let release = (): void => {};
    const memory = new MemoryStore<UpdateState>();
    const made = bench(initialState(OLD), {
      load: () => memory.load(),
      save: () => new Promise<void>((resolve) => (release = resolve)),
    });
    return { made, release: () => release() };
  }

  it('rejects the command under way, those behind it and later ones with ShuttingDown', async () => {
    const { made } = stalled();
    const run = made.start();
    const underWay = made.machine.command({ kind: 'SetUpdatesEnabled', isEnabled: false, uid: 0 });
    const behind = made.machine.command({ kind: 'SetUpdatesEnabled', isEnabled: true, uid: 0 });
    await settled();
    run.unsubscribe();
    const later = made.machine.command({ kind: 'CheckForUpdate' });
    for (const command of [underWay, behind, later]) {
      await expect(command).rejects.toMatchObject({ refusal: { name: 'ShuttingDown' } });
    }
  });

  it('publishes nothing more, and passes over what comes in', async () => {
    const { made, release } = stalled();
    const run = made.start();
    made.machine.dispatch({ kind: 'UpdatesSwitched', isEnabled: false, uid: 0 });
    await settled();
    run.unsubscribe();
    release();
    made.machine.dispatch({ kind: 'UpdatesSwitched', isEnabled: true, uid: 0 });
    await settled();
    expect(made.ticks).toEqual([]);
    expect(made.machine.state().updatesSwitch).toBeNull();
  });

  it('rejects commands that were given before it was ever started', async () => {
    const { made } = stalled();
    const given = made.machine.command({ kind: 'SetUpdatesEnabled', isEnabled: false, uid: 0 });
    made.start().unsubscribe();
    await expect(given).rejects.toMatchObject({ refusal: { name: 'ShuttingDown' } });
  });
});
