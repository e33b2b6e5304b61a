/** What every reader of answers looks at in their header. */
import type { Dispatcher } from 'undici';

/** Statuses that send the asker elsewhere; 300 and 304 do not. */
export const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Of a header that came several times the first. `name`: lower case. */
export function headerOf(response: Dispatcher.ResponseData, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Lower case, without parameters; '' = none given. */
export function mediaTypeOf(response: Dispatcher.ResponseData): string {
  return headerOf(response, 'content-type')?.split(';')[0]?.trim().toLowerCase() ?? '';
}

export function isWebPageType(mediaType: string): boolean {
  return mediaType === 'text/html' || mediaType === 'application/xhtml+xml';
}

/** Where a redirect leads, without credentials and fragment; a string = why it leads nowhere, for a message. */
export function redirectTarget(response: Dispatcher.ResponseData, from: URL): URL | string {
  const location = headerOf(response, 'location');
  if (location === undefined) return 'without a Location';
  let to: URL;
  try {
    to = new URL(location, from);
  } catch {
    return 'leads to something that is no URL';
  }
  if (!['http:', 'https:'].includes(to.protocol) || to.hostname === '') {
    return `leads to a URL of scheme ${to.protocol}`;
  }
  to.username = '';
  to.password = '';
  to.hash = '';
  return to;
}
