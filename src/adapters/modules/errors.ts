/** Errors of update modules, in one form. */
import { UpdateError, type Details } from '../../core/errors.ts';
import type { ProcessEnd } from '../system/process.ts';
import type { ToldReason } from './told-reason.ts';

/** One call of a module, for messages and details. */
export interface Call {
  readonly module: string;
  readonly action: string;
  /** What the module itself says of its failure. */
  readonly reason?: ToldReason;
}

export function moduleError(call: Call, what: string, details: Details = {}, cause?: unknown): UpdateError {
  return new UpdateError('module', `update module ${call.module}, ${call.action}: ${what}`, {
    cause,
    details: { module: call.module, action: call.action, ...details },
  });
}

/** `where`, when known, tells how far it had come. */
export function endError(call: Call, end: ProcessEnd, timeoutSeconds: number, where = ''): UpdateError {
  const details = { module: call.module, action: call.action };
  const after = where === '' ? '' : ` ${where}`;
  if (end.reason === 'abort') {
    return new UpdateError('cancelled', `update module ${call.module} was stopped in ${call.action}`, {
      details,
    });
  }
  if (end.reason === 'timeout') {
    const message = `update module ${call.module}, ${call.action}: ran longer than ${timeoutSeconds} s and was ended`;
    return new UpdateError('timeout', message, {
      details: { ...details, 'limit-seconds': timeoutSeconds },
    });
  }
  if (end.exitCode !== null) {
    const { code = '', text = '' } = call.reason?.told ?? {};
    return moduleError(call, `exit status ${end.exitCode}${after}${text === '' ? '' : `: ${text}`}`, {
      'exit-status': end.exitCode,
      ...(code === '' ? {} : { code }),
    });
  }
  return moduleError(call, `ended by ${end.signal ?? 'nothing we know'}${after}`, {
    signal: end.signal ?? 'unknown',
  });
}

export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException | null)?.code ?? 'unknown';
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error of writing files: kind `noSpace` when the disk is full, else `store`. */
export function storageError(doing: string, error: unknown, details: Details = {}): UpdateError {
  if (error instanceof UpdateError) return error;
  const code = codeOf(error);
  const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'noSpace' : 'store';
  return new UpdateError(kind, `${doing}: ${textOf(error)}`, {
    cause: error,
    details: { 'error-code': code, ...details },
  });
}
