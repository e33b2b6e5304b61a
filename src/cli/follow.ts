/**
 * Following the service: one pass over its changes until a question is answered, over restarts of the service.
 */
import type { Subscription } from 'rxjs';
import type { RemoteSnapshot, UpdateChange, UpdateClient } from '../adapters/dbus/update-client.ts';
import { UpdateError } from '../core/errors.ts';

/** `why`: what came of having it started; '' = nothing to tell. */
export function noServiceText(why: string): string {
  const cause = why === '' ? '' : `, and the bus cannot start it (${why})`;
  return `no update service is on the bus${cause}; start holdpointd, or use --standalone to work without it`;
}
export const NO_SERVICE = noServiceText('');

/** How long a service that was there may be away, as during its own restart. */
const ABSENCE_LIMIT_MS = 30_000;

export interface FollowOptions<T> {
  /** Called for each change in order; anything but undefined ends the following with that answer. */
  readonly onChange: (change: UpdateChange) => T | undefined;
  /** null = for ever. */
  readonly timeoutMs: number | null;
  readonly signal: AbortSignal;
  /** How long the service may be away at a time; null = for ever. */
  readonly absenceLimitMs?: number | null;
}

export type Followed<T> =
  | { readonly kind: 'answer'; readonly answer: T }
  | { readonly kind: 'timed-out' }
  | { readonly kind: 'interrupted' };

/** Rejects with kind `bus`: the service is gone for too long, or the bus itself is lost. */
export function follow<T>(client: UpdateClient, options: FollowOptions<T>): Promise<Followed<T>> {
  const { onChange, timeoutMs, signal, absenceLimitMs = ABSENCE_LIMIT_MS } = options;
  return new Promise((resolve, reject) => {
    let subscription: Subscription | null = null;
    let absence: NodeJS.Timeout | null = null;
    let isOver = false;

    function end(settle: () => void): void {
      if (isOver) return;
      isOver = true;
      if (limit !== null) clearTimeout(limit);
      if (absence !== null) clearTimeout(absence);
      signal.removeEventListener('abort', interrupt);
      subscription?.unsubscribe();
      settle();
    }
    const interrupt = (): void => end(() => resolve({ kind: 'interrupted' }));
    const limit =
      timeoutMs === null
        ? null
        : setTimeout(() => end(() => resolve({ kind: 'timed-out' })), Math.min(timeoutMs, 2_147_483_647));

    if (signal.aborted) return interrupt();
    signal.addEventListener('abort', interrupt);
    subscription = client.change$.subscribe({
      next(change) {
        if (isOver) return;
        if (change.kind === 'gone') {
          if (absenceLimitMs !== null) {
            absence ??= setTimeout(
              () => end(() => reject(new UpdateError('bus', goneText(absenceLimitMs)))),
              absenceLimitMs,
            );
          }
        } else {
          if (absence !== null) clearTimeout(absence);
          absence = null;
        }
        try {
          const answer = onChange(change);
          if (answer !== undefined) end(() => resolve({ kind: 'answer', answer }));
        } catch (error) {
          end(() => reject(error));
        }
      },
      error: (error: unknown) => end(() => reject(error)),
      complete: () => end(() => reject(new UpdateError('bus', 'the bus has ended the connection'))),
    });
    if (isOver) subscription.unsubscribe();
  });
}

function goneText(limitMs: number): string {
  return `the update service has been gone for ${limitMs / 1000} s; an update under way goes on when it starts again`;
}

/** The snapshot now, or as soon as a service that is just restarting is back. Rejects with kind `timeout` otherwise. */
export async function currentSnapshot(client: UpdateClient, signal: AbortSignal): Promise<RemoteSnapshot> {
  const found = await follow(client, {
    onChange: (change) => (change.kind === 'snapshot' ? change.snapshot : undefined),
    timeoutMs: 30_000,
    signal,
  });
  if (found.kind === 'answer') return found.answer;
  throw new UpdateError('timeout', 'the update service does not answer');
}
