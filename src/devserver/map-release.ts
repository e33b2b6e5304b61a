/**
 * The control map of a deployment as it is now: what was set, with the points everybody has been released from. Pure.
 * A release takes the server's own word back (`continue`); forced, it also overrules others of lower priority.
 * Source: spec/update-control.md sections 2, 4 and 6.
 */
import {
  controlMapJson,
  MAP_POINTS,
  parseServerMap,
  type ControlMap,
  type MapPoint,
} from '../core/control/control-map.ts';
import { releasesMember, type MapRelease } from '../core/control/map-release.ts';
import { HttpError } from './http-error.ts';
import type { DeploymentRecord } from './records.ts';

export interface MapAnswer {
  readonly update_control_map: unknown;
  /** Releases to come, beside the map, where clients that do not know it pass over it: docs/decisions/0025. */
  readonly holdpoint?: ReturnType<typeof releasesMember>;
}

/** What is stored for a map as a person wrote it; the id is filled in. Throws HttpError 400 naming the place. */
export function acceptedMap(value: unknown, deploymentId: string): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HttpError(400, 'update_control_map: expected an object');
  }
  const hasId = Object.keys(value).some((key) => key.toLowerCase() === 'id');
  const text = JSON.stringify(hasId ? value : { id: deploymentId, ...value });
  const parsed = parseServerMap(text, deploymentId);
  if (parsed.kind === 'map') return controlMapJson(parsed.map);
  const [path, message] =
    parsed.kind === 'invalid' ? [parsed.path, parsed.message] : ['$', 'found null, expected a map'];
  throw new HttpError(400, `update_control_map: ${path}: ${message}`);
}

export function mapOf(deployment: DeploymentRecord): ControlMap | null {
  if (deployment.controlMap === null) return null;
  const parsed = parseServerMap(deployment.controlMap, deployment.id);
  return parsed.kind === 'map' ? parsed.map : null;
}

/** null = the deployment has no map. */
export function mapAnswer(deployment: DeploymentRecord, nowMs: number): MapAnswer | null {
  const map = mapOf(deployment);
  if (map === null) return null;
  const states = { ...map.states };
  const coming: MapRelease[] = [];
  for (const point of MAP_POINTS) {
    const release = deployment.releases[point];
    if (!release) continue;
    if (release.atMs > nowMs) {
      coming.push({ point, atWallMs: release.atMs, isForced: release.isForced });
      continue;
    }
    delete states[point];
    if (release.isForced) {
      const action = 'force_continue';
      states[point] = { action, onMapExpire: action, onActionExecuted: action };
    }
  }
  const answer: MapAnswer = { update_control_map: JSON.parse(controlMapJson({ ...map, states })) as unknown };
  return coming.length === 0 ? answer : { ...answer, holdpoint: releasesMember(coming) };
}

/** Whether the server itself holds everybody at the point, now. */
export function isHeld(deployment: DeploymentRecord, point: MapPoint, nowMs: number): boolean {
  const release = deployment.releases[point];
  if (release && release.atMs <= nowMs) return false;
  return mapOf(deployment)?.states[point]?.action === 'pause';
}
