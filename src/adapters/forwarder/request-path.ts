/**
 * Which request targets are forwarded. What is judged is what is sent: a path that a server could read in two ways is
 * not passed on, so that nothing gets behind the refusal of the authentication path in disguise.
 * Source: spec/dbus-mender.md section 4.
 */

/** `path`: with the query, to be put behind the server's base URL. */
export type Destination =
  | { readonly kind: 'forward'; readonly path: string }
  /** The authentication path: obtaining tokens is the service's alone. */
  | { readonly kind: 'forbidden' }
  /** Not part of the device API. */
  | { readonly kind: 'unknown' };

const PREFIX = '/api/devices/';
const AUTHENTICATION = /^\/api\/devices\/[^/]*\/authentication(\/|$)/;
/** RFC 3986, pchar, without the semicolon: some servers cut a segment there. */
const SEGMENT = /^(?:[\w.~!$&'()*+,=:@-]|%[0-9a-f]{2})*$/i;
/** What a segment must not turn into when it is decoded: other servers split, cut or decode it once more. */
// eslint-disable-next-line no-control-regex
const AMBIGUOUS = /[/\\%;?#\x00-\x1f\x7f]/;
/** What stands before a server may cut at a number sign, or choke on what is no ASCII. */
const QUERY = /^[\x21\x22\x24-\x7e]*$/;
/** Nobody encodes that often without something to hide. */
const MAX_DECODINGS = 8;

/** `target`: as in the request line, either a path or (as sent to proxies) a whole URL. */
export function destinationOf(target: string): Destination {
  const rest = target.replace(/^https?:\/\/[^/?#]*/i, '');
  const queryAt = rest.indexOf('?');
  const rawPath = queryAt < 0 ? rest : rest.slice(0, queryAt);
  const query = queryAt < 0 ? '' : rest.slice(queryAt);
  if (!rawPath.startsWith('/')) return { kind: 'unknown' };
  const worst = suspicious(rawPath);
  if (worst === null || AUTHENTICATION.test(worst)) return { kind: 'forbidden' };
  const path = cleaned(rawPath);
  if (path === null || !path.startsWith(PREFIX) || !QUERY.test(query)) return { kind: 'unknown' };
  return { kind: 'forward', path: `${path}${query}` };
}

/**
 * The path as the most lenient server would understand it, for comparison only: decoded until nothing is left to
 * decode, in lower case, with what could be cut off cut off. null = it does not come to an end.
 */
function suspicious(rawPath: string): string | null {
  let path = rawPath;
  for (let round = 0; ; round++) {
    const next = decoded(path);
    if (next === path) break;
    if (round === MAX_DECODINGS) return null;
    path = next;
  }
  const segments = path
    .toLowerCase()
    .split(/[/\\]/)
    .map((segment) => (segment.split(/[;?#\0]/, 1)[0] ?? '').replace(/[^\w.~-]/g, ''));
  return resolved(segments).join('/');
}

/** Empty and dot segments resolved; null = something in it is written so that it may mean something else. */
function cleaned(rawPath: string): string | null {
  const segments = rawPath.split('/');
  for (const segment of segments) {
    if (!SEGMENT.test(segment)) return null;
    const plain = decoded(segment);
    const isDots = plain === '.' || plain === '..';
    if (plain !== segment && (isDots || AMBIGUOUS.test(plain))) return null;
  }
  return resolved(segments).join('/');
}

/** Begins with an empty segment, and ends with one where the path named a folder. */
function resolved(segments: readonly string[]): readonly string[] {
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '' && segment !== '.') kept.push(segment);
  }
  const isFolder = ['', '.', '..'].includes(segments.at(-1) ?? '');
  return ['', ...kept, ...(isFolder || kept.length === 0 ? [''] : [])];
}

/** Bytes, not characters: an overlong encoding of a slash is not one. */
function decoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
