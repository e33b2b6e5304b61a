/** Whether a request shows the token. Source of cases and texts: spec/dbus-mender.md section 4, column 3.x. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Secret } from '../../ports/authentication.ts';

export type BearerVerdict = 'right' | 'missing' | 'wrong';

/** Of this process alone: what is compared tells nothing about the token, whoever measures how long it takes. */
const KEY = randomBytes(32);

/**
 * `authorization`: the header's value; undefined = none. `token`: null = none is valid. Takes the same time whatever
 * part of the token is right.
 */
export function judgeBearer(authorization: string | undefined, token: Secret | null): BearerVerdict {
  const shown = /^[Bb]earer +(\S+)$/.exec((authorization ?? '').trim())?.[1];
  if (shown === undefined) return 'missing';
  const isRight = timingSafeEqual(digest(shown), digest(token?.reveal() ?? ''));
  return isRight && token !== null ? 'right' : 'wrong';
}

function digest(text: string): Buffer {
  return createHmac('sha256', KEY).update(text).digest();
}
