import { BehaviorSubject, NEVER } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { RemoteError } from '../../../src/adapters/dbus/link.ts';
import { awaitService, RETURN_LIMIT_MS } from '../../../src/cli/presence.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

/** A name on a bus, and what the bus says to whoever wants it started; `never` answers nothing. */
function situation(
  start: Error | 'started' | 'never',
  timeoutMs: number | null = null,
  { tells = true }: { readonly tells?: boolean } = {},
) {
  const isThere$ = new BehaviorSubject(false);
  const clock = new VirtualClock();
  let starts = 0;
  const client = {
    isThere$: tells ? isThere$ : NEVER,
    isThere: () => Promise.resolve(isThere$.value),
    start: (): Promise<void> => {
      starts += 1;
      if (start === 'never') return new Promise(() => {});
      return start === 'started' ? Promise.resolve() : Promise.reject(start);
    },
  };
  let outcome: boolean | string = 'waiting';
  awaitService(client, clock, timeoutMs).then(
    (isThere) => (outcome = isThere),
    (error: unknown) => (outcome = error instanceof UpdateError ? `${error.kind}: ${error.message}` : 'what'),
  );
  return { isThere$, clock, starts: () => starts, outcome: () => outcome };
}

const NONE = 'bus: no update service is on the bus; start holdpointd, or use --standalone to work without it';
const unknown = new RemoteError('org.freedesktop.DBus.Error.ServiceUnknown', 'not activatable');

describe('a service that is not on the bus', () => {
  it('is waited for though the bus cannot start it, and no longer than the limit', async () => {
    const { clock, outcome } = situation(unknown);
    await clock.advanceAsync(RETURN_LIMIT_MS - 1);
    expect(outcome()).toBe('waiting');
    await clock.advanceAsync(1);
    expect(outcome()).toBe(NONE);
  });

  it('is used as soon as it is there', async () => {
    const { isThere$, clock, outcome } = situation(unknown);
    await clock.advanceAsync(RETURN_LIMIT_MS - 1);
    isThere$.next(true);
    await clock.advanceAsync(0);
    expect(outcome()).toBe(true);
    expect(isThere$.observed).toBe(false);
    expect(clock.pending).toBe(0);
  });

  it('is looked for a last time when the time is over: the news of it may lie unread', async () => {
    const { isThere$, clock, outcome } = situation(unknown, null, { tells: false });
    isThere$.next(true);
    await clock.advanceAsync(RETURN_LIMIT_MS - 1);
    expect(outcome()).toBe('waiting');
    await clock.advanceAsync(1);
    expect(outcome()).toBe(true);
  });

  it('is waited for while the bus starts it, as long as the bus takes', async () => {
    const { isThere$, clock, outcome } = situation('never');
    await clock.advanceAsync(3 * RETURN_LIMIT_MS);
    expect(outcome()).toBe('waiting');
    isThere$.next(true);
    await clock.advanceAsync(0);
    expect(outcome()).toBe(true);
  });

  it('is not there because it was started: it may have ended again', async () => {
    const { clock, outcome } = situation('started');
    await clock.advanceAsync(RETURN_LIMIT_MS);
    expect(outcome()).toBe(NONE);
  });

  it('is not waited for when systemd refuses to start it, which is told', async () => {
    const masked = new RemoteError(
      'org.freedesktop.systemd1.UnitMasked',
      'Unit holdpointd.service is masked.',
    );
    const { clock, outcome } = situation(masked);
    await clock.advanceAsync(0);
    expect(outcome()).toMatch(
      /^bus: no update service .*cannot start it \(Unit holdpointd\.service is masked\.\);/,
    );
    expect(clock.pending).toBe(0);
  });

  it('may come from elsewhere when what the bus started has ended, which is told otherwise', async () => {
    const ended = new RemoteError('org.freedesktop.DBus.Error.Spawn.ChildExited', 'exited with status 1');
    const { clock, outcome } = situation(ended);
    await clock.advanceAsync(RETURN_LIMIT_MS - 1);
    expect(outcome()).toBe('waiting');
    await clock.advanceAsync(1);
    expect(outcome()).toContain('cannot start it (exited with status 1);');
  });

  it('is waited for no longer than whoever waits has time', async () => {
    const { clock, outcome } = situation(unknown, 500);
    await clock.advanceAsync(499);
    expect(outcome()).toBe('waiting');
    await clock.advanceAsync(1);
    expect(outcome()).toBe(false);
  });

  it('is not there when a bus that sets no limit has not got it started in time', async () => {
    const { clock, outcome } = situation(new UpdateError('timeout', 'no reply within 30000 ms'));
    await clock.advanceAsync(0);
    expect(outcome()).toBe(NONE);
  });

  it('is no longer waited for when the bus is lost', async () => {
    const { clock, outcome } = situation(new UpdateError('bus', 'the connection has ended'));
    await clock.advanceAsync(0);
    expect(outcome()).toBe('bus: the connection has ended');
  });
});

it('a service that is there is not started', async () => {
  const isThere = (): Promise<boolean> => Promise.resolve(true);
  const start = (): Promise<void> => Promise.reject(new Error('started'));
  expect(await awaitService({ isThere, isThere$: NEVER, start }, new VirtualClock())).toBe(true);
});
