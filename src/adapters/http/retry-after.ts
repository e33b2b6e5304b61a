/** Source: spec/server-api.md section 8; design/faults.md R7, R18. */

const MAX_SECONDS = 10 * 365 * 86_400;

/**
 * What a `Retry-After` header asks for, in whole seconds rounded up, at least 0; null = nothing that can be
 * understood. The form with a date is measured against the server's own `Date`: the device's clock may be years off.
 */
export function retryAfterSeconds(
  value: string | undefined,
  serverDate: string | undefined,
  nowMs: number,
): number | null {
  const text = value?.trim();
  if (!text) return null;
  if (/^[0-9]{1,9}$/.test(text)) return Math.min(Number(text), MAX_SECONDS);
  // A date has letters; without this "-5" or "1.5" would be taken for years.
  if (!/^[A-Za-z]{3,9},? /.test(text)) return null;
  const dueMs = Date.parse(text);
  if (Number.isNaN(dueMs)) return null;
  const serverMs = serverDate === undefined ? Number.NaN : Date.parse(serverDate);
  const seconds = Math.ceil((dueMs - (Number.isNaN(serverMs) ? nowMs : serverMs)) / 1000);
  return Math.min(Math.max(0, seconds), MAX_SECONDS);
}
