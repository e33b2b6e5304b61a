import type { Observable } from 'rxjs';

/** Whether clients are still on the bus. */
export interface Holders {
  /**
   * Emits once and completes when the client has left, or was not there in the first place, or when the bus has been
   * away for longer than the grace, so that nobody knows. Never fails.
   * @param connection the bus's id, a slash and the client's unique name, as Caller.connection
   */
  gone$(connection: string): Observable<void>;
}
