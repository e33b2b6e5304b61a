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
import { HttpError } from './http-error.ts';
import type { DeploymentRecord, Release } from './records.ts';

export interface MapAnswer {
  readonly update_control_map: unknown;
  /** Beside the map, where clients that do not know it pass over it. */
  readonly holdpoint?: { readonly release_at: string; readonly release_points: readonly MapPoint[] };
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
  const coming: [MapPoint, Release][] = [];
  for (const point of MAP_POINTS) {
    const release = deployment.releases[point];
    if (!release) continue;
    if (release.atMs > nowMs) {
      coming.push([point, release]);
      continue;
    }
    delete states[point];
    if (release.isForced) {
      const action = 'force_continue';
      states[point] = { action, onMapExpire: action, onActionExecuted: action };
    }
  }
  const answer: MapAnswer = { update_control_map: JSON.parse(controlMapJson({ ...map, states })) as unknown };
  const first = coming.sort(([, one], [, other]) => one.atMs - other.atMs)[0];
  if (!first) return answer;
  // One time at a time: the next one is told when this one has passed.
  const points = coming.filter(([, { atMs }]) => atMs === first[1].atMs).map(([point]) => point);
  return {
    ...answer,
    holdpoint: { release_at: new Date(first[1].atMs).toISOString(), release_points: points },
  };
}

/** Whether the server itself holds everybody at the point, now. */
export function isHeld(deployment: DeploymentRecord, point: MapPoint, nowMs: number): boolean {
  const release = deployment.releases[point];
  if (release && release.atMs <= nowMs) return false;
  return mapOf(deployment)?.states[point]?.action === 'pause';
}
