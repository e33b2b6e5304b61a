import {
  BehaviorSubject,
  catchError,
  concat,
  defer,
  EMPTY,
  mergeScan,
  of,
  share,
  Subject,
  type Observable,
  type Subscription,
} from 'rxjs';
import { decide, type Command } from '../core/command.ts';
import { isFreeOfTheStore, type Effect } from '../core/effect.ts';
import { failureOf, UpdateError } from '../core/errors.ts';
import type { EventBody, UpdateEvent } from '../core/event.ts';
import { refuse, RefusedCall } from '../core/refusal.ts';
import type { UpdateState } from '../core/state.ts';
import { isSameWork, needsSaving, transition, type Transition } from '../core/transition.ts';
import { FLOW } from '../core/transition-table.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Store } from '../ports/store.ts';

/**
 * The loop: events in, one at a time; the new state stored, then published as a tick, then its effects carried
 * out by whoever subscribes; their outcomes come back in as events. There is no other way in.
 */
export interface Tick {
  readonly event: UpdateEvent;
  readonly before: UpdateState;
  readonly after: UpdateState;
  readonly effects: readonly Effect[];
}

export interface Machine {
  /** Every event that was taken in, as it went into the transition: a recording of it replays. */
  readonly event$: Observable<UpdateEvent>;
  /** Every transition, after it was stored. Not replayed to late subscribers. */
  readonly tick$: Observable<Tick>;
  readonly state$: Observable<UpdateState>;
  readonly state: () => UpdateState;
  dispatch(event: EventBody): void;
  /** Resolves when the event the command led to is stored and published. Rejects with RefusedCall. */
  command(command: Command): Promise<string>;
  /** Resolves when everything that was waiting to be taken in has been: proof that the loop goes round. Never rejects. */
  passed(): Promise<void>;
  /** Takes in an event exactly as it was recorded. */
  replay(event: UpdateEvent): void;
  /** Takes in events from here on; whoever wants to see the first tick has subscribed before. */
  start(): Subscription;
}

export interface MachinePorts {
  readonly clock: Clock;
  readonly store: Store<UpdateState>;
  readonly log: Log;
  /** 32 random hex digits. */
  readonly nonce: () => string;
}

type Input =
  | { readonly kind: 'event'; readonly body: EventBody }
  | { readonly kind: 'recorded'; readonly event: UpdateEvent }
  | { readonly kind: 'command'; readonly request: Request }
  | { readonly kind: 'mark'; readonly pass: () => void };

interface Request {
  readonly command: Command;
  readonly resolve: (reply: string) => void;
  readonly reject: (error: unknown) => void;
}

interface Turn {
  readonly state: UpdateState;
  readonly tick: Tick | null;
}

/** Steps that may be left one after the other because none of them can be stored. */
const MAX_RETREATS = 4;

export function createMachine(seed: UpdateState, ports: MachinePorts): Machine {
  const { clock, store, log } = ports;
  const input$ = new Subject<Input>();
  const event$ = new Subject<UpdateEvent>();
  const tick$ = new Subject<Tick>();
  const state$ = new BehaviorSubject(seed);

  function stamp(body: EventBody): UpdateEvent {
    return { ...body, at: clock.now(), nonce: ports.nonce() };
  }

  /** Something that should be stored is not. */
  let isUnsaved = false;

  async function save(state: UpdateState): Promise<void> {
    isUnsaved = true;
    await store.save(state);
    isUnsaved = false;
  }

  /** Stores where it must. A state that cannot be stored is not acted on, except on the way back. */
  async function settle(before: UpdateState, event: UpdateEvent): Promise<Transition> {
    let { state, effects } = transition(before, event);
    if (!needsSaving(before, state)) {
      // What could not be stored when it should have been is, as soon as the store works again.
      if (isUnsaved) await save(state).catch(() => {});
      event$.next(event);
      return { state, effects };
    }
    let isTaken = false;
    for (let retreats = 0; ; retreats += 1) {
      try {
        await save(state);
        break;
      } catch (error) {
        log.error('The state could not be stored', { step: state.step, retreats, err: error });
        // Refused: it has not happened, so it is not recorded either.
        if (isClientRequest(event)) throw error;
        if (!isTaken) event$.next(event);
        isTaken = true;
        if (retreats === MAX_RETREATS) break;
        const failed = stamp({
          kind: 'SaveFailed',
          failure: failureOf(error),
          ...(event.kind === 'ServiceStarted' && retreats === 0 ? { isStart: true } : {}),
          ...(isSameWork(before, state) ? { isWithinWork: true } : {}),
        });
        event$.next(failed);
        const retreat = transition(state, failed);
        if (retreat.state === state) break;
        // Other work than what could not be stored is ordered now; the same goes on.
        const kept = retreat.state.workId === state.workId ? effects : effects.filter(isFreeOfTheStore);
        state = retreat.state;
        effects = [...kept, ...retreat.effects];
      }
    }
    if (!isTaken) event$.next(event);
    return { state, effects };
  }

  function turn(state: UpdateState, event: UpdateEvent, done: () => void): Observable<Turn> {
    return defer(async (): Promise<Turn> => {
      const { state: after, effects } = await settle(state, event);
      logTransition(log, event, state, after);
      return { state: after, tick: { event, before: state, after, effects } };
    }).pipe((turn$) =>
      concat(
        turn$,
        // The tick has been published by now: a reply never overtakes the properties it speaks of.
        defer(() => {
          done();
          return EMPTY;
        }),
      ),
    );
  }

  function take({ state }: Turn, input: Input): Observable<Turn> {
    if (input.kind === 'mark') {
      input.pass();
      return EMPTY;
    }
    if (input.kind !== 'command') {
      const event = input.kind === 'event' ? stamp(input.body) : input.event;
      return guarded(turn(state, event, nothing), state, nothing);
    }
    const { request } = input;
    return guarded(
      defer(() => takeCommand(state, request)),
      state,
      request.reject,
    );
  }

  function takeCommand(state: UpdateState, request: Request): Observable<Turn> {
    const decision = decide(state, request.command, clock.now().bootMs);
    if (decision.kind === 'refused') {
      request.reject(new RefusedCall(decision.refusal));
      return EMPTY;
    }
    if (decision.kind === 'answered') {
      request.resolve(decision.reply);
      return EMPTY;
    }
    return turn(state, stamp(decision.event), () => {
      const reply = decision.reply(state$.value);
      if (typeof reply === 'string') request.resolve(reply);
      else request.reject(new RefusedCall(reply));
    });
  }

  /** One event that cannot be taken in must not end the loop. */
  function guarded(
    turn$: Observable<Turn>,
    state: UpdateState,
    onError: (error: unknown) => void,
  ): Observable<Turn> {
    return turn$.pipe(
      catchError((error: unknown) => {
        if (!(error instanceof UpdateError)) log.error('An event could not be processed', { err: error });
        onError(error);
        return of({ state, tick: null });
      }),
    );
  }

  const turn$ = input$.pipe(
    // One at a time, in order: the next event sees the state the last one led to, stored.
    mergeScan(take, { state: seed, tick: null } as Turn, 1),
    share(),
  );

  const waiting = new Set<Request>();
  let isStopped = false;

  function submit(command: Command): Promise<string> {
    return new Promise<string>((resolve, reject) => {
      const request: Request = {
        command,
        resolve: (reply) => {
          waiting.delete(request);
          resolve(reply);
        },
        reject: (error) => {
          waiting.delete(request);
          reject(error);
        },
      };
      if (isStopped) request.reject(shuttingDown());
      else {
        waiting.add(request);
        input$.next({ kind: 'command', request });
      }
    });
  }

  return {
    event$: event$.asObservable(),
    tick$: tick$.asObservable(),
    state$: state$.asObservable(),
    state: () => state$.value,
    dispatch: (body) => input$.next({ kind: 'event', body }),
    replay: (event) => input$.next({ kind: 'recorded', event }),
    command: submit,
    passed: () => new Promise((pass) => input$.next({ kind: 'mark', pass })),
    start() {
      const subscription = turn$.subscribe(({ state, tick }) => {
        if (tick === null) return;
        state$.next(state);
        tick$.next(tick);
      });
      subscription.add(() => {
        isStopped = true;
        input$.complete();
        for (const request of waiting) request.reject(shuttingDown());
      });
      return subscription;
    },
  };
}

const nothing = (): void => {};

function shuttingDown(): RefusedCall {
  return new RefusedCall(refuse('ShuttingDown', 'the service is stopping'));
}

/** What a client asked for is refused when it cannot be stored; everything else has happened already. */
function isClientRequest({ kind }: UpdateEvent): boolean {
  switch (kind) {
    case 'InstallRequested':
    case 'ContinueGiven':
    case 'AbortRequested':
    case 'RollbackRequested':
    case 'PauseRequested':
    case 'ResumeRequested':
    case 'UpdatesSwitched':
    case 'CheckRequested':
    case 'InventoryRequested':
    case 'SnoozeGiven':
    case 'SnoozeEndRequested':
    case 'HoldAdded':
    case 'HoldRefreshed':
    case 'HoldReleased':
    case 'ControlMapGiven':
    case 'HealthReported':
      return true;
    default:
      return false;
  }
}

/** The one line in the log for each transition. */
function logTransition(log: Log, event: UpdateEvent, before: UpdateState, after: UpdateState): void {
  if (before.step === after.step) return;
  log.info('Transition', {
    from: before.step,
    event: event.kind,
    to: after.step,
    step: FLOW[after.step].step,
    deploymentId: after.deployment?.id ?? before.deployment?.id ?? '',
  });
}
