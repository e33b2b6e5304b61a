import type { Failure } from './errors.ts';
import type { LinkTrouble } from './state.ts';

/**
 * What the detail `reason` of a failure says about the way to the server. Everything else was an answer of the server,
 * however bad, or went wrong before anything was sent. Source: design/faults.md R7, R11, R12, R20.
 */
const TROUBLES: Readonly<Record<string, LinkTrouble>> = {
  'clock-wrong': 'waiting-for-clock',
  'web-page': 'no-internet',
  redirect: 'no-internet',
  'name-resolution': 'unreachable',
  refused: 'unreachable',
  unreachable: 'unreachable',
  timeout: 'unreachable',
  'connection-lost': 'unreachable',
  tls: 'unreachable',
  proxy: 'unreachable',
};

/** null = nothing went wrong. */
export function linkTroubleOf(failure: Failure | null): LinkTrouble {
  const reason = String(failure?.details['reason'] ?? '');
  return (Object.hasOwn(TROUBLES, reason) ? TROUBLES[reason] : undefined) ?? 'none';
}
