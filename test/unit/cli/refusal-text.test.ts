import { describe, expect, it } from 'vitest';
import { RemoteError } from '../../../src/adapters/dbus/link.ts';
import { refusalReply } from '../../../src/adapters/dbus/errors.ts';
import { refusalOf } from '../../../src/adapters/dbus/update-client.ts';
import { inHelpfulWords } from '../../../src/cli/refusal-text.ts';
import { UpdateError, type Details } from '../../../src/core/errors.ts';
import type { RefusalName } from '../../../src/core/refusal.ts';

/** As it comes over the bus. */
function refused(name: RefusalName, sentence: string, details: Details = {}): RemoteError {
  const reply = refusalReply(name, sentence, details);
  return new RemoteError(reply.name, reply.message);
}

function words(error: unknown): string {
  return (inHelpfulWords(error) as Error).message;
}

describe('a refusal of the service', () => {
  it('is taken apart as it was put together', () => {
    const error = refused('InvalidMap', 'states.X: found [1, 2], expected an object', {
      path: 'states.X',
      at: 3,
    });
    expect(refusalOf(error)).toEqual({
      name: 'InvalidMap',
      sentence: 'states.X: found [1, 2], expected an object',
      details: { path: 'states.X', at: '3' },
    });
    expect(refusalOf(refused('Busy', 'ends with [a bracket]'))).toEqual({
      name: 'Busy',
      sentence: 'ends with [a bracket]',
      details: {},
    });
    expect(refusalOf(new Error('x'))).toBeNull();
  });

  it.each<[RemoteError, RegExp]>([
    [
      refused('AccessDenied', 'The user with id 7 may not', { action: 'io.holdpoint.update1.continue' }),
      /^not allowed: it needs the action io\.holdpoint\.update1\.continue \('holdpoint can continue' tells;/,
    ],
    [refused('AccessDenied', 'nobody but root may'), /^not allowed: nobody but root may$/],
    [refused('StaleTicket', 'x'), /ticket.*'holdpoint status'/],
    [
      refused('DeferralLimit', 'x', { 'remaining-seconds': 5400 }),
      /^it can be put off by 1 h 30 min at most from now \(5400 seconds left\)$/,
    ],
    [refused('DeferralLimit', 'x', { 'remaining-seconds': 0 }), /as often and as long as is allowed/],
    [refused('UnknownHold', 'x'), /'holdpoint holds'/],
    [refused('NotHoldOwner', 'x'), /io\.holdpoint\.update1\.override/],
    [refused('NoDeployment', 'x'), /^no update is under way$/],
    [
      refused('WrongState', 'Abort is not possible', { state: 'Idle' }),
      /^Abort is not possible; 'holdpoint status'/,
    ],
    [refused('NotSupported', 'the option x'), /^this service cannot do that: the option x$/],
    [
      refused('InteractiveAuthorizationRequired', 'x', { action: 'io.holdpoint.update1.abort' }),
      /without a password: the action io\.holdpoint\.update1\.abort/,
    ],
    [new RemoteError('org.freedesktop.DBus.Error.UnknownMethod', 'x'), /older than this command/],
    [new RemoteError('org.freedesktop.DBus.Error.ServiceUnknown', 'x'), /start holdpointd/],
    [
      new RemoteError('org.freedesktop.DBus.Error.NoReply', 'x'),
      /went away before it answered: see 'holdpoint status'/,
    ],
    [new RemoteError('org.freedesktop.systemd1.UnitMasked', 'x'), /start holdpointd/],
    // Nothing better to say than the service itself.
    [
      refused('LimitsExceeded', 'a user may have 16 holds', { limit: 16 }),
      /^a user may have 16 holds \[limit=16\]$/,
    ],
  ])('%s is told in words that help', (error, expected) => {
    expect(words(error)).toMatch(expected);
  });

  it('anything else is left as it is', () => {
    const error = new UpdateError('timeout', 'no reply');
    expect(inHelpfulWords(error)).toBe(error);
  });
});
