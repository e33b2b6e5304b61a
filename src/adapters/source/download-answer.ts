/**
 * Whether an answer is (the rest of) the file the download began with. Source: spec/server-api.md section 9;
 * RFC 9110 sections 8.8, 13.1.5, 14.4 and 15.5.17.
 */
import { headerOf, isWebPageType, mediaTypeOf } from '../http/answer-header.ts';
import { changedError, setback, sourceError, type Setback } from './download-error.ts';
import type { Answered, Response } from './download-request.ts';

/** What the first answer said about the file. */
export interface FileFacts {
  /** −1 = unknown: such a download cannot be continued. */
  readonly sizeBytes: number;
  /** Strong entity tag with its quotes; null = none, or a weak one, which says nothing about bytes. */
  readonly etag: string | null;
  /** Only where it can be a strong validator; null otherwise. */
  readonly lastModified: string | null;
}

/** How to take the body: from the offset that was asked for, or from the very beginning. */
export type Verdict =
  | { readonly kind: 'rest' }
  | {
      readonly kind: 'whole';
      readonly facts: FileFacts;
      /** It is not the file the download began with, unless it turns out to be a web page. */
      readonly changed: Setback | null;
    };

const ENCODINGS_WE_CANNOT_READ = new Set(['gzip', 'x-gzip', 'deflate', 'br', 'zstd', 'compress']);
/** A file may change twice within the second its date is given in. RFC 9110 section 8.8.2.2. */
const STRONG_DATE_MS = 1000;

/** The answer to a first request. */
export function judgeFirst({ response, at }: Answered): Verdict | Setback {
  if (response.statusCode !== 200) return unexpected(response, at, '200');
  return refusalOf(response, at) ?? whole(response, at);
}

/** The answer to a request for the bytes from `first` to the end of the file. */
export function judgeRest({ response, at }: Answered, known: FileFacts, first: number): Verdict | Setback {
  const range = headerOf(response, 'content-range') ?? '';
  if (response.statusCode === 416) {
    const total = /^bytes \*\/(\d{1,16})$/i.exec(range.trim())?.[1];
    if (total !== undefined && Number(total) !== known.sizeBytes) return otherSize(at, total, known);
    return unexpected(response, at, `206 for the bytes from ${first}`);
  }
  const refusal = refusalOf(response, at);
  if (refusal !== null) return refusal;
  if (response.statusCode === 200) {
    const verdict = whole(response, at);
    if (verdict.kind !== 'whole') return verdict;
    const { sizeBytes, etag } = verdict.facts;
    const changed =
      sizeBytes >= 0 && sizeBytes !== known.sizeBytes
        ? otherSize(at, String(sizeBytes), known)
        : known.etag !== null && etag !== known.etag
          ? otherTag(at, etag, known)
          : null;
    return { ...verdict, changed };
  }
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16}|\*)$/i.exec(range.trim());
  const [, from, to, total] = match ?? [];
  if (total !== undefined && total !== '*' && Number(total) !== known.sizeBytes)
    return otherSize(at, total, known);
  const etag = strongTag(response);
  if (known.etag !== null && etag !== null && etag !== known.etag) return otherTag(at, etag, known);
  const last = known.sizeBytes - 1;
  const length = contentLength(response);
  const isRight =
    Number(from) === first && Number(to) === last && (length === null || length === last - first + 1);
  if (isRight) return { kind: 'rest' };
  const found = `Content-Range ${shown(range)}, Content-Length ${shown(headerOf(response, 'content-length'))}`;
  const expected = `bytes ${first}-${last}/${known.sizeBytes}`;
  return setback(
    'refused',
    sourceError(at, `found ${found}, expected ${expected}`, { reason: 'bad-answer', status: 206 }),
  );
}

/** Looks at the first bytes of a whole body: not every log-in page says what it is (design/faults.md R20). */
export function isWebPage(start: Uint8Array): boolean {
  const text = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, 512)).toString('latin1');
  // Possibly after the UTF-8 byte order mark.
  return /^(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|!--)/i.test(text);
}

/** Transient, and no verdict on the artifact. */
export function webPageSetback(at: URL): Setback {
  return setback(
    'refused',
    sourceError(at, 'found a web page, expected an artifact; a network log-in page may be in between', {
      reason: 'web-page',
    }),
  );
}

function refusalOf(response: Response, at: URL): Setback | null {
  if (isWebPageType(mediaTypeOf(response))) return webPageSetback(at);
  const encoding = headerOf(response, 'content-encoding')?.trim().toLowerCase() ?? '';
  if (!ENCODINGS_WE_CANNOT_READ.has(encoding)) return null;
  return setback(
    'final',
    sourceError(at, `found content encoding ${encoding}, expected identity`, {
      reason: 'bad-answer',
      'content-encoding': encoding,
    }),
  );
}

function whole(response: Response, at: URL): Verdict | Setback {
  const length = contentLength(response);
  if (Number.isNaN(length)) {
    const found = shown(headerOf(response, 'content-length'));
    return setback(
      'final',
      sourceError(at, `found Content-Length ${found}, expected a number of bytes`, { reason: 'bad-answer' }),
    );
  }
  const facts = {
    sizeBytes: length ?? -1,
    etag: strongTag(response),
    lastModified: strongDate(response),
  };
  return { kind: 'whole', facts, changed: null };
}

function unexpected({ statusCode }: Response, at: URL, expected: string): Setback {
  return setback(
    'refused',
    sourceError(at, `found status ${statusCode}, expected ${expected}`, {
      reason: 'bad-answer',
      status: statusCode,
    }),
  );
}

function otherSize(at: URL, found: string, { sizeBytes }: FileFacts): Setback {
  return setback('final', changedError(at, 'a size of', `${found} bytes`, String(sizeBytes)));
}

function otherTag(at: URL, found: string | null, { etag }: FileFacts): Setback {
  return setback('final', changedError(at, 'ETag', shown(found ?? undefined), shown(etag ?? undefined)));
}

/** null = none given, NaN = not a number of bytes. */
function contentLength(response: Response): number | null {
  const text = headerOf(response, 'content-length');
  if (text === undefined) return null;
  const bytes = Number(text);
  return /^[0-9]+$/.test(text) && Number.isSafeInteger(bytes) ? bytes : Number.NaN;
}

function strongTag(response: Response): string | null {
  const tag = headerOf(response, 'etag')?.trim() ?? '';
  return /^"[\x21\x23-\x7e\x80-\xff]{1,500}"$/.test(tag) ? tag : null;
}

function strongDate(response: Response): string | null {
  const text = headerOf(response, 'last-modified')?.trim();
  if (text === undefined || Number.isNaN(Date.parse(text))) return null;
  const sentMs = Date.parse(headerOf(response, 'date') ?? '');
  return sentMs - Date.parse(text) >= STRONG_DATE_MS ? text : null;
}

function shown(text: string | undefined): string {
  return text === undefined ? 'none' : JSON.stringify(text.slice(0, 80));
}
