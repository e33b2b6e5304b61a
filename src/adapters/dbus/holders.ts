import { distinctUntilChanged, filter, map, Observable, of, switchMap, take, timer } from 'rxjs';
import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import type { Holders } from '../../ports/holders.ts';
import type { Bus } from './connection.ts';

/**
 * Whether the owners of bound holds are still there. A watch on the name and a look at its owner; both survive a loss of
 * the bus, and a bus that stays away longer than the grace counts as the owner's end (design/faults.md R22).
 */
export interface HoldersOptions {
  readonly bus: Pick<Bus, 'state$' | 'nameOwner$' | 'busId' | 'uniqueName'>;
  readonly graceMs: number;
  readonly log: Log;
}

export function createHolders({ bus, graceMs, log }: HoldersOptions): Holders {
  return {
    gone$(connection) {
      const slash = connection.lastIndexOf('/');
      const [busId, name] = [connection.slice(0, slash), connection.slice(slash + 1)];
      const ended$: Observable<void> = bus.state$.pipe(
        distinctUntilChanged(),
        switchMap((state) => {
          if (state === 'lost') return timer(graceMs).pipe(map(() => {}));
          // On another bus the same unique name is somebody else's.
          if (bus.busId !== busId || !/^:[0-9.]+$/.test(name)) return of(undefined);
          return bus.nameOwner$(name).pipe(
            // Also said when the bus itself is lost, which says nothing about the owner.
            filter((owner) => owner === '' && bus.uniqueName !== ''),
            map(() => {}),
          );
        }),
        take(1),
      );
      return new Observable<void>((subscriber) =>
        ended$.subscribe({
          next: () => subscriber.next(),
          complete: () => subscriber.complete(),
          error: (error: unknown) => {
            // The bus refuses the watch: a hold that nobody watches must not stay for ever.
            log.error('The owner of a hold cannot be watched', {
              errorMessage: error instanceof UpdateError ? error.message : String(error),
            });
            subscriber.next();
            subscriber.complete();
          },
        }),
      );
    },
  };
}
