/** What the management API shows, as JSON. Times are RFC 3339 in UTC. */
import type { MapPoint } from '../core/control/control-map.ts';
import type { DevServer } from './dev-server.ts';
import { statusOf } from './devices.ts';
import { mapAnswer } from './map-release.ts';
import {
  isFinished,
  type ArtifactRecord,
  type DeploymentRecord,
  type DeviceRecord,
  type RunRecord,
  type RunStatus,
} from './records.ts';

/** Source: spec/update-control.md section 5. */
const PAUSES: Readonly<Partial<Record<RunStatus, MapPoint>>> = {
  pause_before_installing: 'ArtifactInstall_Enter',
  pause_before_rebooting: 'ArtifactReboot_Enter',
  pause_before_committing: 'ArtifactCommit_Enter',
};

export function timeText(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** `attributes`: of the inventory only these; null = all. */
export function deviceView(
  server: DevServer,
  device: DeviceRecord,
  attributes: readonly string[] | null = null,
): object {
  const run = server.deployments.currentRun(device.id);
  return {
    id: device.id,
    identity: device.identity,
    status: statusOf(device),
    auth_sets: device.authSets.map(({ id, status, publicKey, requestedMs }) => ({
      id,
      status,
      public_key: publicKey,
      requested_at: timeText(requestedMs),
    })),
    created_at: timeText(device.createdMs),
    /** Since the start of the server. */
    last_seen_at: timeText(server.devices.lastSeenMs(device.id)),
    inventory:
      device.inventory?.filter(({ name }) => attributes === null || attributes.includes(name)) ?? null,
    inventory_at: timeText(device.inventoryMs),
    current: run && { deployment_id: run.deploymentId, ...runView(server, run, false) },
  };
}

export function artifactView(artifact: ArtifactRecord): object {
  return {
    id: artifact.id,
    artifact_name: artifact.name,
    artifact_group: artifact.group,
    device_types_compatible: artifact.deviceTypes,
    payload_type: artifact.payloadType,
    size_bytes: artifact.sizeBytes,
    sha256: artifact.sha256,
    is_signed: artifact.isSigned,
    provides: artifact.provides,
    depends: artifact.depends,
    payload_files: artifact.payloadFiles,
    uploaded_at: timeText(artifact.uploadedMs),
  };
}

export function runView(server: DevServer, run: RunRecord, isWithHistory: boolean): object {
  return {
    device_id: run.deviceId,
    status: run.status,
    substate: run.substate,
    since: timeText(run.sinceMs),
    wait: waitView(server, run),
    offered_at: timeText(run.offered?.atMs ?? null),
    finished_at: timeText(run.finishedMs),
    /** false = it cannot be held from here; null = it has not asked yet. */
    follows_maps: run.followsMaps,
    has_log: run.hasLog,
    ...(isWithHistory && {
      history: run.history.map(({ atMs, status, substate }) => ({ at: timeText(atMs), status, substate })),
    }),
  };
}

/** What the device waits for; null = it does not wait, or does not say so. */
function waitView(server: DevServer, run: RunRecord): object | null {
  const point = PAUSES[run.status];
  if (point === undefined) return null;
  const isServers = server.deployments.isHeldByServer(run, point);
  const release = server.records.deployments.get(run.deploymentId)?.releases[point];
  return {
    point,
    since: timeText(run.sinceMs),
    /** `device`: somebody or something on the device itself, or it has not yet heard of the release. */
    held_by: isServers ? 'server' : 'device',
    release_at: timeText(release?.atMs ?? null),
    reason: run.substate,
  };
}

export function deploymentView(server: DevServer, deployment: DeploymentRecord): object {
  const runs = server.deployments.runs(deployment.id);
  const counts: Record<string, number> = {};
  for (const { status } of runs) counts[status] = (counts[status] ?? 0) + 1;
  const map = mapAnswer(deployment, server.nowMs());
  return {
    id: deployment.id,
    name: deployment.name,
    artifact_id: deployment.artifactId,
    artifact_name: deployment.artifactName,
    force: deployment.isForced,
    status: statusOfDeployment(deployment, runs),
    created_at: timeText(deployment.createdMs),
    aborted_at: timeText(deployment.abortedMs),
    device_counts: counts,
    /** What devices are given now; `holdpoint` = a release that is to come. */
    update_control_map: map?.update_control_map ?? null,
    holdpoint: map?.holdpoint ?? null,
    releases: Object.entries(deployment.releases).map(([point, { atMs, isForced }]) => ({
      point,
      at: timeText(atMs),
      force: isForced,
      has_passed: atMs <= server.nowMs(),
    })),
  };
}

function statusOfDeployment(deployment: DeploymentRecord, runs: readonly RunRecord[]): string {
  if (runs.every(({ status }) => isFinished(status))) {
    return deployment.abortedMs === null ? 'finished' : 'aborted';
  }
  return runs.some(({ offered }) => offered !== null) ? 'inprogress' : 'pending';
}
