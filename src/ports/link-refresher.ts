/** Fresh links to an artifact, for a download whose link has expired (design/faults.md R15, R16). */
export interface LinkRefresher {
  /**
   * Another link to the same artifact, of the same deployment that `expiredUrl` came with; null = there is none: the
   * link did not come from a server, or the server offers this deployment no longer. Rejects with an UpdateError of
   * kind `server` when it could not be asked (to be tried again), of kind `cancelled` when the signal aborts.
   */
  refresh(expiredUrl: string, signal: AbortSignal): Promise<string | null>;
}
