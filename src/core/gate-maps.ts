import {
  advanceMaps,
  hasMapOf,
  hasReleaseAt,
  nextHalfwayBootMs,
  releasesIn,
  type MapPool,
} from './control/map-pool.ts';
import { change, changeVisit, order, type Draft } from './draft.ts';
import type { HoldPoint } from './hold-point.ts';
import { chanceOf } from './pause-report.ts';
import type { GateVisit } from './state.ts';
import { FLOW } from './transition-table.ts';

/**
 * What a visit of a gate has to do for control maps: when the server's is asked for again, whose clock a release goes by,
 * and what becomes of those that were asked. Source: spec/update-control.md section 5, docs/decisions/0025.
 */

/** No map is fetched or asked again sooner, however short its lifetime. */
export const MIN_REFRESH_MS = 1_000;

/** Earlier by up to this part: a fleet that waits at one gate does not ask its server all at once. */
const REFRESH_JITTER = 0.1;

/** Whoever looks at the conditions has limits of its own; should it fall silent, the wait must show that. */
export const INQUIRY_LIMIT_MS = 60_000;

/** Whether control maps have a say at the gate the update is at. */
export function isControlled(draft: Draft): boolean {
  const { work } = FLOW[draft.state.step];
  return work.kind === 'gate' && isMapPointName(work.point);
}

export function nextRefreshMs(draft: Draft, pool: MapPool, deploymentId: string): number | null {
  if (!hasMapOf(pool, deploymentId)) return null;
  const { bootMs } = draft.event.at;
  const pollMs = draft.state.settings.updatePollIntervalSeconds * 1000;
  const halfway = nextHalfwayBootMs(pool, deploymentId);
  const latestMs = Math.min(halfway ?? bootMs + pollMs, bootMs + pollMs);
  const dueMs = latestMs - Math.floor((latestMs - bootMs) * REFRESH_JITTER * chanceOf(draft.event.nonce));
  return Math.max(dueMs, bootMs + MIN_REFRESH_MS);
}

/** A release at a time goes by the wall clock, so whoever waits for one must know whether that can be believed. */
export function watchClockForRelease(draft: Draft): void {
  const { visit, workId } = draft.state;
  if (visit === null || visit.clockProblem !== undefined || !isReleaseKnown(draft, visit)) return;
  changeVisit(draft, { clockProblem: null });
  order(draft, { kind: 'watchWallClock', workId });
}

/** While something is still being found out: not for longer than the release, and not for ever. */
export function armForRelease(draft: Draft, { point, clockProblem }: GateVisit): void {
  if (clockProblem === undefined) return;
  const { controlMaps, workId } = draft.state;
  const clock = { wallMs: draft.event.at.wallMs, problem: clockProblem ?? 'not-known' };
  const dueInMs = releasesIn(controlMaps, point, clock);
  order(draft, { kind: 'armTimer', workId, delayMs: Math.min(...dueInMs, INQUIRY_LIMIT_MS) });
}

export function isReleaseKnown(draft: Draft, { point }: GateVisit): boolean {
  return isMapPointName(point) && hasReleaseAt(draft.state.controlMaps, point);
}

/** The maps' `on_action_executed`, once for each passage: design/compatibility.md. */
export function advanceAskedMaps(draft: Draft, point: HoldPoint): void {
  const { visit, controlMaps } = draft.state;
  if (visit === null || visit.askedMaps.length === 0 || !isMapPointName(point)) return;
  change(draft, { controlMaps: advanceMaps(controlMaps, point, visit.askedMaps) });
}

function isMapPointName(
  point: HoldPoint,
): point is Exclude<HoldPoint, 'Download_Enter' | 'ArtifactRollbackReboot_Enter'> {
  return point !== 'Download_Enter' && point !== 'ArtifactRollbackReboot_Enter';
}
