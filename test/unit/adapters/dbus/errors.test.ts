import { expect, test } from 'vitest';
import { errorReplyOf, REFUSAL_ERROR_NAMES } from '../../../../src/adapters/dbus/errors.ts';
import { RemoteError } from '../../../../src/adapters/dbus/link.ts';
import { ArtifactError } from '../../../../src/core/artifact-error.ts';
import { ERROR_KINDS, UpdateError, type ErrorKind } from '../../../../src/core/errors.ts';
import { refuse, RefusedCall, REFUSAL_NAMES } from '../../../../src/core/refusal.ts';
import { RecordingLog } from '../../../support/recording-log.ts';

const artifactError = (code: 'signature-invalid' | 'digest-mismatch' | 'wrong-device-type' | 'damaged-tar') =>
  new ArtifactError(code, { where: 'manifest', found: 'a', expected: 'b' });

test('every refusal has a dotted name, its own one or a standard one', () => {
  for (const name of REFUSAL_NAMES) {
    expect(REFUSAL_ERROR_NAMES[name]).toMatch(
      new RegExp(`^(io\\.holdpoint\\.Update1|org\\.freedesktop\\.DBus)\\.Error\\.${name}$`),
    );
  }
});

test('a refusal is told with its parameters', () => {
  const refused = new RefusedCall(refuse('DeferralLimit', 'Snoozed long enough', { 'remaining-seconds': 7 }));
  expect(errorReplyOf(refused, new RecordingLog(), 'Snooze')).toEqual({
    name: 'io.holdpoint.Update1.Error.DeferralLimit',
    message: 'Snoozed long enough [remaining-seconds=7]',
  });
});

test.each([
  [artifactError('signature-invalid'), 'ArtifactUntrusted'],
  [artifactError('digest-mismatch'), 'DigestMismatch'],
  [artifactError('wrong-device-type'), 'ArtifactIncompatible'],
  [artifactError('damaged-tar'), 'ArtifactInvalid'],
  [new UpdateError('noSpace', 'cannot write /data/x: disk full'), 'NoSpace'],
])('%s is told as %s', (error, name) => {
  const reply = errorReplyOf(error, new RecordingLog(), 'InstallPath');
  expect(reply.name).toBe(`io.holdpoint.Update1.Error.${name}`);
  expect(reply.message).not.toMatch(/\/data/);
});

test.each([
  new Error('cannot read /etc/shadow'),
  new UpdateError('internal', 'cannot read /etc/shadow', { details: { path: '/etc/shadow' } }),
  new UpdateError('store', 'cannot read /etc/shadow'),
  new RemoteError('org.freedesktop.DBus.Error.AccessDenied', 'cannot read /etc/shadow'),
  'cannot read /etc/shadow',
  undefined,
])('what is nobody’s business stays in the log, under the id that is told: %s', (error) => {
  const log = new RecordingLog();
  const { name, message } = errorReplyOf(error, log, 'Continue');
  expect(name).toBe('org.freedesktop.DBus.Error.Failed');
  expect(message).toMatch(/^The call failed; see the service's log for [0-9a-f]{8}$/);
  expect(log.records).toHaveLength(1);
  expect(message).toContain(String(log.records[0]?.fields['errorId']));
  expect(log.records[0]?.fields['errorMessage']).toBe(error instanceof Error ? error.message : String(error));
});

test('no kind of error gives away a path or a second line', () => {
  for (const kind of Object.keys(ERROR_KINDS) as ErrorKind[]) {
    const error = new UpdateError(kind, 'sentence\n    at file.js:1', { details: { path: '/etc/shadow' } });
    const { message } = errorReplyOf(error, new RecordingLog(), 'Continue');
    expect(message, kind).not.toMatch(/\n|\/etc|file\.js/);
  }
});
