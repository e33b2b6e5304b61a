/**
 * What the server is told of a wait. Once, when it begins; and where no control map of the deployment is looked at again
 * and again, once in each polling interval, because only the answer to a report says that the server has ended the
 * deployment. Sources: design/faults.md R33, spec/server-api.md section 5 (the present status again is nothing new).
 */
import { hasMapOf } from './control/map-pool.ts';
import { changeVisit, order, type Draft } from './draft.ts';
import type { Wait } from './state.ts';
import { FLOW } from './transition-table.ts';

const LEAST_MS = 1_000;
/** Earlier by up to this part, so that a fleet does not report all at once. */
const JITTER = 0.1;

/** Tells the server of the wait if it is time to. Call it whenever the wait has been decided. */
export function tellOfWait(draft: Draft, isFirst: boolean, blockers: Wait['blockers']): void {
  const { visit, workId, step, deployment, settings } = draft.state;
  const { work } = FLOW[step];
  if (
    visit === null ||
    work.kind !== 'gate' ||
    work.pauseStatus === null ||
    deployment?.source !== 'server'
  ) {
    return;
  }
  const { bootMs } = draft.event.at;
  const isDue = visit.tellAgainAtBootMs !== undefined && visit.tellAgainAtBootMs <= bootMs;
  if (!isFirst && !isDue) return;
  order(draft, {
    kind: 'reportStatus',
    workId,
    deploymentId: deployment.id,
    status: work.pauseStatus,
    substate: `waiting for: ${blockerNames(blockers)}`,
  });
  // Whoever refreshes a map hears there that the deployment is gone; and where each request counts, nothing is repeated.
  if (hasMapOf(draft.state.controlMaps, deployment.id) || settings.downloadReportSeconds === 0) return;
  const pollMs = settings.updatePollIntervalSeconds * 1000;
  const againMs = Math.floor(pollMs * (1 - JITTER * chanceOf(draft.event.nonce)));
  changeVisit(draft, { tellAgainAtBootMs: bootMs + Math.max(LEAST_MS, againMs) });
}

/** The server has asked not to be told again for a while. */
export function postponeTelling(draft: Draft, retryAfterSeconds: number): void {
  const { visit } = draft.state;
  if (visit?.tellAgainAtBootMs === undefined) return;
  const askedForMs = draft.event.at.bootMs + retryAfterSeconds * 1000;
  if (askedForMs > visit.tellAgainAtBootMs) changeVisit(draft, { tellAgainAtBootMs: askedForMs });
}

export function blockerNames(blockers: Wait['blockers']): string {
  return blockers.map(({ kind, owner }) => `${kind} (${owner})`).join(', ');
}

/** A number from 0 to 1, out of the random digits that came with the event. */
export function chanceOf(nonce: string): number {
  const value = Number.parseInt(nonce.slice(0, 8), 16) / 0x1_0000_0000;
  return Number.isNaN(value) ? 0 : value;
}
