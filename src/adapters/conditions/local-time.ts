/**
 * Local time of a zone and real time, in both directions. Local times are milliseconds of a clock that shows local
 * time, as Date.UTC makes of its fields ("local ms"); real times are milliseconds since 1970. Knows nothing of
 * windows. The rules of the zones are those inside Node's ICU.
 */
import { tzOffset } from '@date-fns/tz/tzOffset';

export const MINUTE_MS = 60_000;
export const DAY_MS = 24 * 60 * MINUTE_MS;
/** Between these distances around a local time, read as UTC, lies every real time it can stand for (UTC-12 to +14). */
const EARLIEST_MS = 15 * 60 * MINUTE_MS;
const LATEST_MS = 13 * 60 * MINUTE_MS;

/** Whether the zone is one we have rules for. */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** What the clock on the wall shows, local ms. */
export function localOf(timeZone: string, wallMs: number): number {
  return wallMs + offsetMs(timeZone, wallMs);
}

/** The first moment at which the clock shows this local time, or, where it is skipped, a later one. */
export function firstReading(timeZone: string, localMs: number): number {
  const { before, after, jumpMs } = around(timeZone, localMs);
  if (before < jumpMs) return before;
  return Math.max(after, jumpMs);
}

/** The last moment at which the clock shows this local time, or, where it is skipped, the moment of the jump. */
export function lastReading(timeZone: string, localMs: number): number {
  const { before, after, jumpMs } = around(timeZone, localMs);
  if (after >= jumpMs) return after;
  return Math.min(before, jumpMs);
}

/** For people: `2027-03-28 03:00 +02:00 Europe/Berlin`. */
export function localText(timeZone: string, wallMs: number): string {
  const minutes = offsetMs(timeZone, wallMs) / MINUTE_MS;
  const local = new Date(localOf(timeZone, wallMs)).toISOString();
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  const offset = `${minutes < 0 ? '-' : '+'}${two(Math.abs(minutes) / 60)}:${two(Math.abs(minutes) % 60)}`;
  return `${local.slice(0, 10)} ${local.slice(11, 16)} ${offset} ${timeZone}`;
}

interface Candidates {
  /** The real time, were the offset still the one from before the jump. */
  readonly before: number;
  /** The real time, were it already the one after it. */
  readonly after: number;
  /** First moment with the new offset; Infinity = there is no jump near. */
  readonly jumpMs: number;
}

/** No zone jumps twice within the 28 hours looked at. */
function around(timeZone: string, localMs: number): Candidates {
  let low = localMs - EARLIEST_MS;
  let high = localMs + LATEST_MS;
  const lowOffset = offsetMs(timeZone, low);
  const highOffset = offsetMs(timeZone, high);
  const before = localMs - lowOffset;
  if (lowOffset === highOffset) return { before, after: -Infinity, jumpMs: Infinity };
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetMs(timeZone, middle) === lowOffset) low = middle;
    else high = middle;
  }
  return { before, after: localMs - highOffset, jumpMs: high };
}

function offsetMs(timeZone: string, wallMs: number): number {
  return Math.round(tzOffset(timeZone, new Date(wallMs)) * MINUTE_MS);
}
