/**
 * What goes wrong while downloading. No message, detail or cause carries user names, passwords or the query of a URL:
 * signed links are credentials.
 */
import { UpdateError, type Details } from '../../core/errors.ts';

/**
 * A request that brought no (further) byte, and what may be done about it:
 * `broken` = there was no answer or it ended early, worth trying again at once; `refused` = somebody answered, but not
 * now: only after a while; `expired` = this link leads nowhere (any more); `final` = repeating cannot help.
 */
export interface Setback {
  readonly kind: 'broken' | 'refused' | 'expired' | 'final';
  readonly error: UpdateError;
  /** What the server asked for; null = nothing. */
  readonly retryAfterSeconds: number | null;
}

export function setback(
  kind: Setback['kind'],
  error: UpdateError,
  retryAfterSeconds: number | null = null,
): Setback {
  return { kind, error, retryAfterSeconds };
}

/** For messages: neither user, password, query nor fragment, and not endless. */
export function safe(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`.slice(0, 300);
}

/** Kind `source`; details `url` (without secrets), `host`, and what is given. */
export function sourceError(at: URL, why: string, details: Details = {}, cause?: unknown): UpdateError {
  return new UpdateError('source', `downloading ${safe(at)}: ${why}`, {
    cause,
    details: { url: safe(at), host: at.host, ...details },
  });
}

/** The file behind the link is not the one the download began with (detail `reason` = `changed`). */
export function changedError(at: URL, what: string, found: string, expected: string): UpdateError {
  return sourceError(
    at,
    `the file was changed while it was being downloaded: found ${what} ${found}, expected ${expected}`,
    { reason: 'changed' },
  );
}

export function cancelled(at: URL): UpdateError {
  return new UpdateError('cancelled', `downloading ${safe(at)} was cancelled`);
}

/** Throws (kind `invalidArgument`) without repeating the text. */
export function parseUrl(text: string): URL {
  let url: URL | null = null;
  try {
    url = new URL(text);
  } catch {
    // The error of the parser repeats the text.
  }
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    const found = url ? `a URL of scheme ${url.protocol}` : 'something else';
    throw new UpdateError(
      'invalidArgument',
      `found ${found}, expected a URL that begins with http:// or https://`,
    );
  }
  return url;
}
