/** Errors as log fields: an error object itself logs as `{}`. */
import { UpdateError } from '../../core/errors.ts';

const MAX_CAUSES = 5;

/**
 * `errorKind`, `errorMessage`, the error's details, `cause` (messages, outermost first), and `errorStack` where the
 * error is a defect: not one of ours, or of kind `internal`.
 */
export function describeError(error: unknown): Readonly<Record<string, unknown>> {
  if (!(error instanceof Error)) return { errorKind: 'unknown', errorMessage: String(error) };
  const isOurs = error instanceof UpdateError;
  const causes: string[] = [];
  for (let cause = error.cause; cause !== undefined && causes.length < MAX_CAUSES;) {
    causes.push(cause instanceof Error ? cause.message : String(cause));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  const code = (error as NodeJS.ErrnoException).code;
  return {
    errorKind: isOurs ? error.kind : error.name,
    errorMessage: error.message,
    ...(code === undefined ? {} : { errorCode: code }),
    ...(isOurs && Object.keys(error.details).length > 0 ? { details: error.details } : {}),
    ...(causes.length > 0 ? { cause: causes.join(': ') } : {}),
    ...((!isOurs || error.kind === 'internal') && code === undefined ? { errorStack: error.stack } : {}),
  };
}
