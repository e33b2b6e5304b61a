import { defer, filter, from, map, merge, Observable, of, startWith, Subject, switchMap, take } from 'rxjs';
import { retryDelayMs } from '../core/retry.ts';
import type { EventBody } from '../core/event.ts';
import type { Clock } from '../ports/clock.ts';
import type { Tick } from './machine.ts';

/**
 * When the server is asked: the inventory and a check at the start, then each at its interval after the last try, sooner
 * after a failure, and the inventory after each deployment. What falls due while the device is busy is done once, when it
 * is idle again. All intervals are boot time: a step of the wall clock moves nothing, and a long suspend leads to one
 * check, not to all that were missed. Source: spec/server-api.md sections 3 and 8.
 */
export interface ScheduleSettings {
  readonly updatePollIntervalSeconds: number;
  readonly inventoryPollIntervalSeconds: number;
  readonly retryPollIntervalSeconds: number;
  /** 0 = automatic. */
  readonly retryPollCount: number;
}

export interface ScheduleDeps {
  readonly clock: Clock;
  /** 0 ≤ x < 1. Spreads the checks of devices that were started together. */
  readonly random: () => number;
}

/** Who asks for more than this gets this. As core/retry.ts. */
const LONGEST_ASKED_MS = 24 * 3_600_000;

/** A check or inventory comes up to this part of its interval early or late. */
const JITTER = 0.05;

type Task = 'check' | 'inventory';

interface Ending {
  readonly task: Task;
  readonly isFailed: boolean;
  readonly retryAfterSeconds: number;
}

export function createSchedules(
  tick$: Observable<Tick>,
  settings: ScheduleSettings,
  deps: ScheduleDeps,
): Observable<EventBody> {
  return defer(() => {
    const ending$ = new Subject<Ending>();
    let isCheckWanted = false;
    const ended = tick$.subscribe((tick) => {
      ({ isCheckWanted } = tick.after.schedule);
      for (const ending of endingsOf(tick)) ending$.next(ending);
    });
    const requests$ = merge(
      task$('check', settings.updatePollIntervalSeconds),
      task$('inventory', settings.inventoryPollIntervalSeconds),
      // The new version tells the server what it is.
      tick$.pipe(
        filter(({ before, after }) => before.deployment !== null && after.deployment === null),
        map((): EventBody => ({ kind: 'InventoryRequested' })),
      ),
    );

    /**
     * At once, or when the check that waits is under way. The inventory goes first wherever both are wanted: tried again
     * sooner than a cycle takes, it would never let the check have its turn.
     */
    function afterCheck$(): Observable<unknown> {
      if (!isCheckWanted) return of(null);
      return tick$.pipe(
        filter(({ after }) => !after.schedule.isCheckWanted),
        take(1),
      );
    }

    /** Now, and after each try again; the newest plan counts. */
    function task$(task: Task, intervalSeconds: number): Observable<EventBody> {
      let failures = 0;
      const own$ = ending$.pipe(filter((ending) => ending.task === task));
      return own$.pipe(
        map((ending) => {
          failures = ending.isFailed ? failures + 1 : 0;
          const retryMs = ending.isFailed ? delayAfter(failures, ending, settings) : null;
          // Tried often enough: the usual interval, and a new series after it.
          if (ending.isFailed && retryMs === null) failures = 0;
          const usualMs = spread(intervalSeconds * 1000, deps.random());
          // A server that wants to be left alone for longer than the interval is, after the last try as after the first.
          const askedMs = Math.min(ending.retryAfterSeconds * 1000, LONGEST_ASKED_MS);
          const delayMs = retryMs ?? Math.max(usualMs, askedMs);
          return { delayMs, givesWay: task === 'inventory' && ending.isFailed };
        }),
        switchMap(({ delayMs, givesWay }) => {
          const requested$ = deps.clock.timer(delayMs).pipe(
            switchMap(() => (givesWay ? afterCheck$() : of(null))),
            map(() => requestOf(task)),
          );
          if (task !== 'check') return requested$;
          const nextCheckWallMs = Math.round(deps.clock.now().wallMs + delayMs);
          return requested$.pipe(startWith<EventBody>({ kind: 'CheckPlanned', nextCheckWallMs }));
        }),
      );
    }

    return new Observable<EventBody>((subscriber) => {
      const subscription = requests$.subscribe(subscriber);
      subscription.add(ended);
      subscription.add(
        from<Task[]>(['inventory', 'check'])
          .pipe(map(requestOf))
          .subscribe((event) => subscriber.next(event)),
      );
      return subscription;
    });
  });
}

function requestOf(task: Task): EventBody {
  return { kind: task === 'check' ? 'CheckRequested' : 'InventoryRequested' };
}

function spread(ms: number, random: number): number {
  return Math.round(ms * (1 + JITTER * (2 * random - 1)));
}

/** null = enough tries. */
function delayAfter(failures: number, ending: Ending, settings: ScheduleSettings): number | null {
  return retryDelayMs(
    failures,
    { maxIntervalSeconds: settings.retryPollIntervalSeconds, maxRetries: settings.retryPollCount },
    ending.retryAfterSeconds,
  );
}

/** What a tick says about the end of a check or of sending the inventory. */
function endingsOf({ event, before, after }: Tick): readonly Ending[] {
  const hasMoved = before.step !== after.step;
  if (event.kind === 'DeploymentCheckFinished' && before.step === 'sync' && hasMoved) {
    return [endingOf('check', event.failure)];
  }
  if (event.kind === 'InventorySent' && before.step === 'sync-inventory' && hasMoved) {
    return [endingOf('inventory', event.failure)];
  }
  if (before.step === 'sync-enter' && after.step === 'sync-error') {
    // A script stopped both, whichever was meant.
    return (['inventory', 'check'] as const)
      .filter((task) =>
        task === 'check' ? before.schedule.isCheckWanted : before.schedule.isInventoryWanted,
      )
      .map((task) => ({ task, isFailed: true, retryAfterSeconds: 0 }));
  }
  return [];
}

function endingOf(
  task: Task,
  failure: { readonly details: Readonly<Record<string, unknown>> } | null,
): Ending {
  const seconds = failure?.details['retry-after-seconds'];
  return { task, isFailed: failure !== null, retryAfterSeconds: typeof seconds === 'number' ? seconds : 0 };
}
