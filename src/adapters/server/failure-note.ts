import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';

/** Says why something asked of the server came to nothing; what was stopped on purpose is no failure. */
export function noteFailure(log: Log, error: unknown): void {
  if (!(error instanceof UpdateError) || error.kind === 'cancelled') return;
  log.warn('the server could not be asked', { problem: error.message, ...error.details });
}
