/**
 * Faults on order, so that a client can be tried out: an endpoint answers with a status, with a page of HTML, not at
 * all, or cuts or slows a download. Kept in memory only. Source: spec/server-api.md section 13, items 4 and 5.
 */
import * as v from 'valibot';
import { HttpError } from './http-error.ts';
import { sendText, type Exchange } from './http.ts';

export const ENDPOINTS = ['auth', 'inventory', 'next', 'status', 'log', 'map', 'download'] as const;
export type Endpoint = (typeof ENDPOINTS)[number];

const MAX_FAULTS = 100;
const SILENCE_LIMIT_MS = 600_000;

export const FaultOrder = v.pipe(
  v.strictObject({
    endpoint: v.picklist(ENDPOINTS),
    /** Only for this device; without it for all. `auth` knows no device. */
    device_id: v.optional(v.string()),
    kind: v.picklist(['status', 'html', 'silence', 'cut', 'slow']),
    /** How many requests it meets. */
    count: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000)), 1),
    /** For `status`. */
    status: v.optional(v.pipe(v.number(), v.integer(), v.minValue(400), v.maxValue(599)), 500),
    retry_after: v.optional(v.string()),
    /** For `cut`: offset in the artifact at which the connection ends. */
    after_bytes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
    /** For `slow`. */
    bytes_per_second: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1)), 65_536),
  }),
  v.check(
    ({ endpoint, kind }) => endpoint === 'download' || (kind !== 'cut' && kind !== 'slow'),
    'cut and slow are for the endpoint download only',
  ),
);
export type FaultOrder = v.InferOutput<typeof FaultOrder>;

export interface DownloadFault {
  readonly cutAfterBytes: number | null;
  readonly bytesPerSecond: number | null;
}
const NO_FAULT: DownloadFault = { cutAfterBytes: null, bytesPerSecond: null };

export class Faults {
  #orders: readonly FaultOrder[] = [];

  get orders(): readonly FaultOrder[] {
    return this.#orders;
  }
  add(order: FaultOrder): void {
    if (this.#orders.length >= MAX_FAULTS) throw new HttpError(507, `more than ${MAX_FAULTS} faults ordered`);
    this.#orders = [...this.#orders, order];
  }
  clear(): void {
    this.#orders = [];
  }

  /**
   * Lets the request meet its fault, the oldest order first. Throws HttpError for a status; does not return when the
   * request has been dealt with otherwise, but throws {@link Answered}.
   */
  async meet(endpoint: Endpoint, deviceId: string | null, exchange: Exchange): Promise<DownloadFault> {
    const order = this.#orders.find(
      (one) => one.endpoint === endpoint && (one.device_id === undefined || one.device_id === deviceId),
    );
    if (!order) return NO_FAULT;
    const left = { ...order, count: order.count - 1 };
    this.#orders = this.#orders.flatMap((one) => (one !== order ? [one] : left.count > 0 ? [left] : []));
    switch (order.kind) {
      case 'status':
        throw new HttpError(
          order.status,
          'a fault that was ordered',
          order.retry_after === undefined ? {} : { 'Retry-After': order.retry_after },
        );
      case 'html':
        sendText(exchange.response, 200, '<!doctype html><title>Log in</title><p>Please log in.', {
          'Content-Type': 'text/html; charset=utf-8',
        });
        throw new Answered();
      case 'silence':
        await silence(exchange);
        throw new Answered();
      case 'cut':
        return { ...NO_FAULT, cutAfterBytes: order.after_bytes };
      case 'slow':
        return { ...NO_FAULT, bytesPerSecond: order.bytes_per_second };
    }
  }
}

/** The request has had its answer, or has been left without one. */
export class Answered extends Error {}

/** Until the client has had enough; the connection then ends without an answer. */
function silence({ request, response }: Exchange): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => response.destroy(), SILENCE_LIMIT_MS);
    response.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    request.socket.setTimeout(0);
  });
}
