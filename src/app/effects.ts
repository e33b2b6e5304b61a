import {
  defer,
  EMPTY,
  filter,
  groupBy,
  ignoreElements,
  map,
  merge,
  mergeMap,
  Observable,
  Subject,
  switchMap,
} from 'rxjs';
import type { Effect, EffectKind } from '../core/effect.ts';
import { failureOf, UpdateError, type Failure } from '../core/errors.ts';
import type { EventBody } from '../core/event.ts';
import type { HoldPoint } from '../core/hold-point.ts';
import { linkTroubleOf } from '../core/link-trouble.ts';
import { downloadArtifact } from './download.ts';
import type { Ports } from './ports.ts';
import { createValve } from './valve.ts';

/**
 * One handler for each kind of effect; all the input and output of an update starts here. A handler answers with
 * the events its work leads to. Unsubscribing ends the work and everything it started; `onWork` is given a promise
 * for each piece of it, which resolves when nothing of it runs any more, and never rejects.
 */
export function runEffects(
  effect$: Observable<Effect>,
  ports: Ports,
  onWork: (ended: Promise<void>) => void = () => {},
): Observable<EventBody> {
  const running = new Set<AbortController>();
  const valve = createValve();
  /** Downloads that wait for their artifact to be stored, by the work they are. */
  const verified = new Map<number, () => void>();
  const alarm$ = new Subject<number | null>();
  const conditionsWatch$ = new Subject<{ readonly workId: number; readonly point: HoldPoint } | null>();
  const wallClockWatch$ = new Subject<{ readonly workId: number } | null>();
  const holderWatch$ = new Subject<{ readonly connection: string; readonly isWanted: boolean }>();
  /** Entries reach the journal in the order they were made in. */
  let lastEntry: Promise<unknown> = Promise.resolve();
  const timer$ = new Subject<{ readonly workId: number; readonly delayMs: number } | null>();
  /** Lines of a deployment wait until its log is open. */
  let logReady: Promise<void> = Promise.resolve();
  /** Reports reach the server in the order they were made in. */
  let lastReport: Promise<unknown> = Promise.resolve();

  /** Work whose outcome is one event. `onError` turns what went wrong into that event. */
  function work(
    run: (signal: AbortSignal, emit: (event: EventBody) => void) => Promise<EventBody>,
    onError: (failure: Failure, error: unknown) => EventBody,
  ): Observable<EventBody> {
    return new Observable((subscriber) => {
      const controller = new AbortController();
      running.add(controller);
      const emit = (event: EventBody): void => subscriber.next(event);
      const outcome = run(controller.signal, emit);
      onWork(
        outcome.then(
          () => {},
          () => {},
        ),
      );
      outcome
        .catch((error: unknown) => {
          if (!(error instanceof UpdateError))
            ports.log.error('Unexpected error in an effect', { err: error });
          return onError(failureOf(error), error);
        })
        .then((event) => {
          running.delete(controller);
          subscriber.next(event);
          subscriber.complete();
        })
        .catch((error: unknown) => subscriber.error(error));
      return () => {
        running.delete(controller);
        controller.abort();
      };
    });
  }

  function silent(run: () => void | Promise<void>): Observable<EventBody> {
    return defer(async () => run()).pipe(ignoreElements());
  }

  const handlers: {
    readonly [K in EffectKind]: (effect: Extract<Effect, { kind: K }>) => Observable<EventBody>;
  } = {
    runScripts: ({ workId, family, action, runsAll }) =>
      work(
        async (signal) => {
          await ports.scripts.run({ family, action, runsAll }, signal);
          return { kind: 'ScriptsFinished', workId, failure: null };
        },
        (failure) => ({ kind: 'ScriptsFinished', workId, failure }),
      ),
    runModule: ({ workId, payloadType, action }) =>
      work(
        async (signal) => {
          // The module may take the host down: first everything that was said has to be out.
          if (action === 'ArtifactReboot' || action === 'ArtifactRollbackReboot') await flush();
          try {
            if (payloadType !== null) await ports.modules.run(payloadType, action, signal);
          } finally {
            // Interrupted, it has to be called again; without its tree it would not be.
            if (action === 'Cleanup' && !signal.aborted) await ports.modules.removeTree();
          }
          return { kind: 'ModuleFinished', workId, failure: null };
        },
        (failure) => ({ kind: 'ModuleFinished', workId, failure }),
      ),
    askNeedsReboot: ({ workId, payloadType }) =>
      work(
        async (signal) => ({
          kind: 'RebootNeedAnswered',
          workId,
          answer: await ports.modules.needsReboot(payloadType, signal),
        }),
        (failure) => ({ kind: 'QuestionFailed', workId, failure }),
      ),
    askSupportsRollback: ({ workId, payloadType }) =>
      work(
        async (signal) => ({
          kind: 'RollbackSupportAnswered',
          workId,
          isSupported: await ports.modules.supportsRollback(payloadType, signal),
        }),
        (failure) => ({ kind: 'QuestionFailed', workId, failure }),
      ),
    download: (effect) =>
      work(
        async (signal, emit) => {
          const { workId } = effect;
          valve.set(effect.isSuspended);
          const throttle = createThrottle(ports, (downloadedBytes) =>
            emit({ kind: 'DownloadProgressed', workId, downloadedBytes }),
          );
          const downloadedBytes = await downloadArtifact(
            ports,
            effect,
            {
              onVerified: (artifact, sizeBytes) => {
                const taken = payloadTaken(workId, signal);
                emit({ kind: 'ArtifactVerified', workId, artifact, sizeBytes });
                return taken;
              },
              onBytes: throttle,
              mayContinue: () => valve.passage(signal),
            },
            signal,
          );
          emit({ kind: 'DownloadProgressed', workId, downloadedBytes });
          return { kind: 'DownloadFinished', workId, failure: null };
        },
        (failure) => ({ kind: 'DownloadFinished', workId: effect.workId, failure }),
      ),
    takePayload: ({ workId }) => silent(() => verified.get(workId)?.()),
    suspendDownload: () => silent(() => valve.set(true)),
    resumeDownload: () => silent(() => valve.set(false)),
    rebootHost: ({ workId, isPowerOff }) =>
      work(
        async (signal) => {
          await flush();
          return ports.system.reboot(signal, { isPowerOff });
        },
        (failure) => ({ kind: 'HostRebootFailed', workId, failure }),
      ),
    reportStatus: ({ workId, deploymentId, status, substate }) =>
      work(
        (signal) => {
          const report = lastReport.then(async (): Promise<EventBody> => {
            let outcome = await ports.server.reportStatus(deploymentId, status, substate, signal);
            if (status === 'failure' && outcome === 'accepted') {
              await ports.deploymentLog.flush();
              outcome = await ports.server.uploadLog(deploymentId, logLines(ports, deploymentId), signal);
            }
            return { kind: 'StatusReported', workId, outcome, retryAfterSeconds: 0 };
          });
          lastReport = report.catch(() => {});
          return report;
        },
        (failure, error) => ({
          kind: 'StatusReported',
          workId,
          outcome: 'unreachable',
          retryAfterSeconds: retryAfter(error),
          ...(linkTroubleOf(failure) !== 'none' && { isLinkDown: true }),
        }),
      ),
    authorize: ({ workId }) =>
      work(
        async (signal) => {
          await ports.server.authorize(signal);
          return { kind: 'AuthorizationFinished', workId, failure: null };
        },
        (failure) => ({ kind: 'AuthorizationFinished', workId, failure }),
      ),
    checkScriptVersion: ({ workId }) =>
      work(
        async () => {
          await ports.scripts.checkRootfsScriptVersion();
          return { kind: 'ScriptVersionChecked', workId, failure: null };
        },
        (failure) => ({ kind: 'ScriptVersionChecked', workId, failure }),
      ),
    checkForDeployment: ({ workId }) =>
      work(
        async (signal) => ({
          kind: 'DeploymentCheckFinished',
          workId,
          offer: await ports.server.checkForDeployment(signal),
          failure: null,
        }),
        (failure) => ({ kind: 'DeploymentCheckFinished', workId, offer: null, failure }),
      ),
    fetchControlMap: ({ workId, deploymentId }) =>
      work(
        async (signal) => ({
          kind: 'ControlMapFetched',
          workId,
          answer: await ports.server.fetchControlMap(deploymentId, signal),
        }),
        (failure, error) => ({
          kind: 'ControlMapFetched',
          workId,
          answer: { kind: 'failed', failure, retryAfterSeconds: retryAfter(error) },
        }),
      ),
    watchConditions: (effect) => silent(() => conditionsWatch$.next(effect)),
    unwatchConditions: () => silent(() => conditionsWatch$.next(null)),
    watchWallClock: ({ workId }) => silent(() => wallClockWatch$.next({ workId })),
    unwatchWallClock: () => silent(() => wallClockWatch$.next(null)),
    watchHolder: ({ connection }) => silent(() => holderWatch$.next({ connection, isWanted: true })),
    unwatchHolder: ({ connection }) => silent(() => holderWatch$.next({ connection, isWanted: false })),
    setAlarm: ({ delayMs }) => silent(() => alarm$.next(delayMs)),
    writeJournal: ({ entries }) =>
      defer(async (): Promise<EventBody | null> => {
        const writing = lastEntry.then(() => ports.journal.append(entries));
        lastEntry = writing.catch(() => {});
        return writing.then(
          (seq): EventBody => ({ kind: 'JournalWritten', seq }),
          (error: unknown) => {
            // They stay in the stored state, and are written at the next decision or start.
            ports.log.error('The journal of decisions could not be written', { err: error });
            return null;
          },
        );
      }).pipe(filter((event) => event !== null)),
    sendInventory: ({ workId }) =>
      work(
        async (signal) => {
          await ports.inventory.send(signal);
          return { kind: 'InventorySent', workId, failure: null };
        },
        (failure) => ({ kind: 'InventorySent', workId, failure }),
      ),
    cancelWork: () => silent(() => running.forEach((controller) => controller.abort())),
    armTimer: ({ workId, delayMs }) => silent(() => timer$.next({ workId, delayMs })),
    disarmTimer: () => silent(() => timer$.next(null)),
    openDeploymentLog: ({ deploymentId }) =>
      silent(() => (logReady = ports.deploymentLog.open(deploymentId))),
    logDeployment: ({ level, message }) =>
      silent(() => logReady.then(() => ports.deploymentLog.write(level, message))),
    closeDeploymentLog: () => silent(() => logReady.then(() => ports.deploymentLog.close())),
    announce: ({ notice }) => silent(() => ports.bus.announce(notice)),
  };

  /** Resolves when the payload of a verified artifact is to be taken. */
  function payloadTaken(workId: number, signal: AbortSignal): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const stop = (): void => reject(new UpdateError('cancelled', 'the download was stopped'));
      verified.set(workId, () => {
        signal.removeEventListener('abort', stop);
        resolve();
      });
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    }).finally(() => verified.delete(workId));
  }

  async function flush(): Promise<void> {
    await Promise.all([ports.bus.flush(), ports.deploymentLog.flush()]);
  }

  function handle(effect: Effect): Observable<EventBody> {
    const handler = handlers[effect.kind] as (effect: Effect) => Observable<EventBody>;
    return handler(effect);
  }

  // Newest wins: arming replaces the timer that ran, disarming leaves none.
  const fired$ = timer$.pipe(
    switchMap((timer) =>
      timer === null
        ? EMPTY
        : ports.clock
            .timer(timer.delayMs)
            .pipe(map((): EventBody => ({ kind: 'TimerFired', workId: timer.workId }))),
    ),
  );
  const rang$ = alarm$.pipe(
    switchMap((delayMs) =>
      delayMs === null
        ? EMPTY
        : ports.clock.timer(delayMs).pipe(map((): EventBody => ({ kind: 'AlarmRang' }))),
    ),
  );
  // The point the update is at, and no other.
  const conditions$ = conditionsWatch$.pipe(
    switchMap((watch) =>
      watch === null
        ? EMPTY
        : ports.conditions
            .unmet$(watch.point)
            .pipe(map((unmet): EventBody => ({ kind: 'ConditionsReported', workId: watch.workId, unmet }))),
    ),
  );
  const wallClock$ = wallClockWatch$.pipe(
    switchMap((watch) =>
      watch === null
        ? EMPTY
        : ports.conditions
            .wallClock$()
            .pipe(map((problem): EventBody => ({ kind: 'WallClockJudged', workId: watch.workId, problem }))),
    ),
  );
  const holders$ = holderWatch$.pipe(
    groupBy(({ connection }) => connection, {
      // A client that nobody watches any more is forgotten, so that clients that come and go leave nothing behind.
      duration: (watch$) => watch$.pipe(filter(({ isWanted }) => !isWanted)),
    }),
    mergeMap((watch$) =>
      watch$.pipe(
        switchMap(({ connection, isWanted }) =>
          isWanted
            ? ports.holders
                .gone$(connection)
                .pipe(map((): EventBody => ({ kind: 'HolderVanished', connection })))
            : EMPTY,
        ),
      ),
    ),
  );
  // Independent: a report may still be under way while the next step's work runs.
  return new Observable<EventBody>((subscriber) => {
    const subscription = merge(fired$, rang$, conditions$, wallClock$, holders$).subscribe(subscriber);
    subscription.add(effect$.pipe(mergeMap(handle)).subscribe(subscriber));
    return subscription;
  });
}

/** At most four progress events a second. */
function createThrottle(
  { clock }: Pick<Ports, 'clock'>,
  emit: (bytes: number) => void,
): (bytes: number) => void {
  let lastMs = -Infinity;
  return (bytes) => {
    const nowMs = clock.now().bootMs;
    if (nowMs - lastMs < 250) return;
    lastMs = nowMs;
    emit(bytes);
  };
}

function retryAfter(error: unknown): number {
  const seconds = error instanceof UpdateError ? error.details['retry-after-seconds'] : 0;
  return typeof seconds === 'number' ? seconds : 0;
}

async function* logLines({ deploymentLog }: Ports, deploymentId: string): AsyncGenerator<string> {
  let fromLine = 0;
  for (;;) {
    const page = await deploymentLog.read(deploymentId, fromLine, 1000);
    if (page === null || page.lines.length === 0) return;
    yield* page.lines;
    fromLine = page.nextLine;
  }
}
