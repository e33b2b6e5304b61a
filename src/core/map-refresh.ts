import { recordFailure, change, changeVisit, logDeployment, type Draft } from './draft.ts';
import type { Failure } from './errors.ts';
import type { EventBody } from './event.ts';
import { isReleaseKnown, MIN_REFRESH_MS, nextRefreshMs, watchClockForRelease } from './gate-maps.ts';
import { retryDelayMs } from './retry.ts';
import { insertServerMap } from './server-map.ts';
import { endWait, reconsiderGate, type GateResult } from './waiting.ts';

/** The server's answer to a refresh of its control map. Source: spec/update-control.md sections 5 and 6. */
export function takeFetchedMap(
  draft: Draft,
  answer: Extract<EventBody, { kind: 'ControlMapFetched' }>['answer'],
): GateResult {
  const { visit, deployment, settings } = draft.state;
  if (visit === null || deployment === null) return 'waiting';
  const { at } = draft.event;
  if (answer.kind === 'deployment-gone') {
    recordFailure(draft, {
      name: 'AbortedByServer',
      message: 'the server does not know the deployment any more',
      details: { point: visit.point },
    });
    endWait(draft, 'aborted', { reason: 'deployment-gone' });
    return 'failed';
  }
  const outcome = answer.kind === 'map' ? insertServerMap(draft, deployment.id, answer) : null;
  if (outcome?.kind === 'pool') {
    change(draft, { controlMaps: outcome.pool, serial: draft.state.serial + 1 });
    changeVisit(draft, {
      refresh: 'none',
      failedRefreshes: 0,
      refreshAtBootMs: nextRefreshMs(draft, outcome.pool, deployment.id),
    });
    watchClockForRelease(draft);
    return reconsiderGate(draft, null);
  }
  const failedRefreshes = visit.failedRefreshes + 1;
  const why =
    answer.kind === 'failed'
      ? answer.failure.message
      : outcome?.kind === 'refused'
        ? outcome.message
        : 'there is none';
  logDeployment(draft, 'warning', `The control map could not be refreshed: ${why}`);
  const delayMs = retryDelayMs(
    failedRefreshes,
    {
      maxIntervalSeconds: settings.updatePollIntervalSeconds,
      maxRetries: settings.retryPollCount,
    },
    answer.kind === 'failed' ? answer.retryAfterSeconds : 0,
  );
  // What it knows has an end of its own, and the server has said that it need not be there then.
  if (isReleaseKnown(draft, visit)) {
    const afterMs = delayMs ?? Math.max(MIN_REFRESH_MS, settings.updatePollIntervalSeconds * 1000);
    changeVisit(draft, { refresh: 'none', failedRefreshes, refreshAtBootMs: at.bootMs + afterMs });
    return reconsiderGate(draft, null);
  }
  if (delayMs === null) {
    const failure: Failure = {
      name: 'ControlMap',
      message: `the control map could not be refreshed in ${failedRefreshes} attempts: ${why}`,
      details: { point: visit.point, reason: 'map-not-refreshed', attempts: failedRefreshes },
    };
    recordFailure(draft, failure);
    endWait(draft, 'aborted', { reason: 'map-not-refreshed' });
    return 'failed';
  }
  changeVisit(draft, { refresh: 'retrying', failedRefreshes, refreshAtBootMs: at.bootMs + delayMs });
  return reconsiderGate(draft, null);
}
