/** `unchanged`: the server has accepted exactly this before, nothing was sent. */
export type InventoryOutcome = 'sent' | 'unchanged';

export interface Inventory {
  /**
   * Collects the attributes and sends them if they differ from what the server accepted last since the last
   * authentication. Rejects with kind `server`, `script` (every inventory program failed), `config`, `cancelled`.
   * Source: spec/server-api.md section 3.
   */
  send(signal: AbortSignal): Promise<InventoryOutcome>;
}
