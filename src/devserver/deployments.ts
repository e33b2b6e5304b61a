/**
 * Deployments: who gets which artifact, what each device has made of it, and what the maps say. Knows no HTTP beyond
 * the status of a refusal.
 *
 * Rules for a device that asks (spec/server-api.md section 4.2): the oldest unfinished deployment first; once given it
 * is given again until it is finished; a device that has become another one meanwhile has failed; one that has the
 * artifact already, or is of another type, is finished without being given anything.
 */
import { randomUUID } from 'node:crypto';
import { isMapPoint, type MapPoint } from '../core/control/control-map.ts';
import type { EventHub } from './events.ts';
import { HttpError } from './http-error.ts';
import type { Change } from './journal.ts';
import type { DeploymentLogs } from './deployment-logs.ts';
import { acceptedMap, isHeld, mapAnswer, type MapAnswer } from './map-release.ts';
import {
  isFinished,
  runKey,
  type ArtifactRecord,
  type DeploymentRecord,
  type DeviceRecord,
  type Records,
  type Release,
  type ReportedStatus,
  type RunRecord,
} from './records.ts';

/** Finished ones beyond this are forgotten, the oldest first, with their logs. */
export const MAX_DEPLOYMENTS = 200;
const MAX_RUNS = 20_000;
const MAX_HISTORY = 64;

/** What a device says about itself when it asks. */
export interface Asking {
  readonly artifactName: string;
  readonly deviceType: string;
  /** Whether it can be given control maps. */
  readonly followsMaps: boolean;
}

export interface Offer {
  readonly deployment: DeploymentRecord;
  readonly artifact: ArtifactRecord;
  /** null = none, or the device cannot follow it. */
  readonly map: MapAnswer | null;
}

export interface NewDeployment {
  readonly name: string;
  readonly artifactId: string;
  readonly deviceIds: readonly string[];
  /** As given; undefined = none. */
  readonly controlMap?: unknown;
  readonly isForced: boolean;
}

type RunChange = Partial<Pick<RunRecord, 'offered' | 'followsMaps' | 'substate' | 'status'>>;

export class Deployments {
  readonly #records: Records;
  readonly #logs: DeploymentLogs;
  readonly #events: EventHub;
  readonly #nowMs: () => number;
  /** Ids of unfinished deployments of a device, the oldest first. */
  readonly #open = new Map<string, Set<string>>();
  /** Ids of the devices of a deployment. */
  readonly #members = new Map<string, Set<string>>();

  constructor(records: Records, logs: DeploymentLogs, events: EventHub, nowMs: () => number) {
    this.#records = records;
    this.#logs = logs;
    this.#events = events;
    this.#nowMs = nowMs;
    for (const run of records.runs.values()) this.#index(run);
  }

  async create(wanted: NewDeployment): Promise<DeploymentRecord> {
    const artifact = this.#records.artifacts.get(wanted.artifactId);
    if (!artifact) throw new HttpError(404, 'no such artifact');
    if (wanted.deviceIds.length === 0)
      throw new HttpError(400, 'no accepted device fits: expected at least one');
    const pruning = this.#pruning(wanted.deviceIds.length);
    const id = randomUUID();
    const nowMs = this.#nowMs();
    const deployment: DeploymentRecord = {
      id,
      name: wanted.name,
      artifactId: artifact.id,
      artifactName: artifact.name,
      controlMap: wanted.controlMap === undefined ? null : acceptedMap(wanted.controlMap, id),
      releases: {},
      isForced: wanted.isForced,
      createdMs: nowMs,
      abortedMs: null,
    };
    const runs = wanted.deviceIds.map((deviceId): RunRecord => ({
      deploymentId: id,
      deviceId,
      status: 'pending',
      substate: '',
      sinceMs: nowMs,
      offered: null,
      followsMaps: null,
      finishedMs: null,
      hasLog: false,
      history: [{ atMs: nowMs, status: 'pending', substate: '' }],
    }));
    await this.#save(id, [
      ...pruning,
      this.#records.deployments.put(id, deployment),
      ...runs.map((run) => this.#put(run)),
    ]);
    return deployment;
  }

  /** What to give to a device that asks; null = nothing. Throws HttpError 409 when it is not what it was. */
  async next(device: DeviceRecord, asking: Asking): Promise<Offer | null> {
    for (const deploymentId of this.#open.get(device.id) ?? []) {
      const run = this.#run(deploymentId, device.id);
      const deployment = this.#records.deployments.get(deploymentId);
      const artifact = deployment && this.#records.artifacts.get(deployment.artifactId);
      if (!run || !deployment) continue;
      if (!artifact || !artifact.deviceTypes.includes(asking.deviceType)) {
        await this.#change(run, { status: 'noartifact' });
        return null;
      }
      if (run.offered === null) {
        if (artifact.name === asking.artifactName && !deployment.isForced) {
          await this.#change(run, { status: 'already-installed' });
          return null;
        }
      } else if (
        run.offered.artifactName !== asking.artifactName ||
        run.offered.deviceType !== asking.deviceType
      ) {
        await this.#change(run, { status: 'failure', substate: 'the device had become another one' });
        throw new HttpError(
          409,
          'the device reports other data than when the deployment began; the deployment has failed',
        );
      }
      if (run.offered === null || run.followsMaps !== asking.followsMaps) {
        const { artifactName, deviceType, followsMaps } = asking;
        const offered = run.offered ?? { artifactName, deviceType, atMs: this.#nowMs() };
        await this.#change(run, { offered, followsMaps });
      }
      const map = asking.followsMaps ? mapAnswer(deployment, this.#nowMs()) : null;
      return { deployment, artifact, map };
    }
    return null;
  }

  /**
   * What a device reports. Throws HttpError 404 for no such run, 409 when it is over: aborted, or finished with
   * another result. Saying the same again changes nothing. Source: spec/server-api.md section 5.
   */
  async report(
    device: DeviceRecord,
    deploymentId: string,
    status: ReportedStatus,
    substate: string,
  ): Promise<void> {
    const run = this.#run(deploymentId, device.id);
    if (!run) throw new HttpError(404, 'the device has no such deployment');
    if (run.status === status && (run.substate === substate || isFinished(status))) return;
    if (run.status === 'aborted') throw new HttpError(409, 'the deployment was aborted');
    if (isFinished(run.status)) throw new HttpError(409, `the deployment is over with ${run.status}`);
    await this.#change(run, { status, substate });
  }

  /** The map as it is now. Throws HttpError 404 when the device's deployment is over or has none. */
  mapFor(device: DeviceRecord, deploymentId: string): MapAnswer {
    const run = this.#run(deploymentId, device.id);
    const deployment = this.#records.deployments.get(deploymentId);
    if (!run || !deployment || isFinished(run.status)) {
      throw new HttpError(404, 'the device has no such deployment');
    }
    const answer = mapAnswer(deployment, this.#nowMs());
    if (!answer) throw new HttpError(404, 'the deployment has no control map');
    return answer;
  }

  async saveLog(device: DeviceRecord, deploymentId: string, text: string): Promise<void> {
    const run = this.#run(deploymentId, device.id);
    if (!run) throw new HttpError(404, 'the device has no such deployment');
    await this.#logs.write(deploymentId, device.id, text);
    // Read again: it may have reported something while the log was written.
    const now = this.#run(deploymentId, device.id);
    if (now) await this.#save(deploymentId, [this.#put({ ...now, hasLog: true })]);
  }

  /** Devices learn it at their next report. Those that are finished stay what they are. */
  async abort(deploymentId: string): Promise<void> {
    const deployment = this.deployment(deploymentId);
    if (deployment.abortedMs !== null || this.isOver(deploymentId)) return;
    await this.#save(deploymentId, [
      this.#records.deployments.put(deploymentId, { ...deployment, abortedMs: this.#nowMs() }),
      ...this.runs(deploymentId)
        .filter((run) => !isFinished(run.status))
        .map((run) => this.#put(this.#changed(run, { status: 'aborted' }))),
    ]);
  }

  /**
   * Sets or replaces the map of a running deployment, and takes releases back. Throws HttpError 409 for one whose
   * devices began without a map: they never ask for one (spec/update-control.md section 6).
   */
  async setMap(deploymentId: string, controlMap: unknown): Promise<void> {
    const deployment = this.#running(deploymentId);
    if (deployment.controlMap === null && this.runs(deploymentId).some(({ offered }) => offered !== null)) {
      throw new HttpError(409, 'devices have begun this deployment without a map and will not ask for one');
    }
    const text = acceptedMap(controlMap, deploymentId);
    await this.#save(deploymentId, [
      this.#records.deployments.put(deploymentId, { ...deployment, controlMap: text, releases: {} }),
    ]);
  }

  /** `atMs` null = now. Throws HttpError 409 when there is no map that could be changed. */
  async release(
    deploymentId: string,
    point: string,
    atMs: number | null,
    isForced: boolean,
  ): Promise<DeploymentRecord> {
    const deployment = this.#running(deploymentId);
    if (!isMapPoint(point)) throw new HttpError(400, `point: found ${JSON.stringify(point.slice(0, 60))}`);
    if (deployment.controlMap === null) {
      throw new HttpError(409, 'the deployment has no control map: the server holds nobody');
    }
    const release: Release = { atMs: atMs ?? this.#nowMs(), isForced };
    const released: DeploymentRecord = {
      ...deployment,
      releases: { ...deployment.releases, [point]: release },
    };
    await this.#save(deploymentId, [this.#records.deployments.put(deploymentId, released)]);
    return released;
  }

  /** Ends what the device has open. For whoever removes it. */
  decommission(deviceId: string): readonly Change[] {
    return [...(this.#open.get(deviceId) ?? [])].flatMap((deploymentId) => {
      const run = this.#run(deploymentId, deviceId);
      return run ? [this.#put(this.#changed(run, { status: 'decommissioned' }))] : [];
    });
  }

  /** Throws HttpError 404. */
  deployment(id: string): DeploymentRecord {
    const deployment = this.#records.deployments.get(id);
    if (!deployment) throw new HttpError(404, 'no such deployment');
    return deployment;
  }

  runs(deploymentId: string): readonly RunRecord[] {
    return [...(this.#members.get(deploymentId) ?? [])].flatMap(
      (deviceId) => this.#run(deploymentId, deviceId) ?? [],
    );
  }

  /** The device's part in what it has begun, or is to begin next; null = nothing open. */
  currentRun(deviceId: string): RunRecord | null {
    const [first] = this.#open.get(deviceId) ?? [];
    return first === undefined ? null : (this.#run(first, deviceId) ?? null);
  }

  isOver(deploymentId: string): boolean {
    return this.runs(deploymentId).every(({ status }) => isFinished(status));
  }

  isArtifactNeeded(artifactId: string): boolean {
    return this.#records.deployments
      .values()
      .some((deployment) => deployment.artifactId === artifactId && !this.isOver(deployment.id));
  }

  isHeldByServer(run: RunRecord, point: MapPoint): boolean {
    const deployment = this.#records.deployments.get(run.deploymentId);
    return deployment !== undefined && run.followsMaps === true && isHeld(deployment, point, this.#nowMs());
  }

  #running(id: string): DeploymentRecord {
    const deployment = this.deployment(id);
    if (deployment.abortedMs !== null || this.isOver(id)) throw new HttpError(409, 'the deployment is over');
    return deployment;
  }

  #run(deploymentId: string, deviceId: string): RunRecord | undefined {
    return this.#records.runs.get(runKey(deploymentId, deviceId));
  }

  #changed(run: RunRecord, change: RunChange): RunRecord {
    const nowMs = this.#nowMs();
    const status = change.status ?? run.status;
    const substate = change.substate ?? (change.status === undefined ? run.substate : '');
    const isNews = status !== run.status || substate !== run.substate;
    const isEnd = isFinished(status) && run.finishedMs === null;
    return {
      ...run,
      ...change,
      status,
      substate,
      sinceMs: status === run.status ? run.sinceMs : nowMs,
      finishedMs: isEnd ? nowMs : run.finishedMs,
      history: isNews ? [...run.history, { atMs: nowMs, status, substate }].slice(-MAX_HISTORY) : run.history,
    };
  }

  async #change(run: RunRecord, change: RunChange): Promise<void> {
    await this.#save(run.deploymentId, [this.#put(this.#changed(run, change))]);
  }

  #put(run: RunRecord): Change {
    this.#index(run);
    return this.#records.runs.put(runKey(run.deploymentId, run.deviceId), run);
  }

  #index(run: RunRecord): void {
    const { deploymentId, deviceId } = run;
    setAt(this.#members, deploymentId).add(deviceId);
    if (!isFinished(run.status)) {
      setAt(this.#open, deviceId).add(deploymentId);
      return;
    }
    const open = this.#open.get(deviceId);
    open?.delete(deploymentId);
    if (open?.size === 0) this.#open.delete(deviceId);
  }

  /** Makes room for one more with so many devices. Throws HttpError 507 when too much is unfinished. */
  #pruning(devices: number): readonly Change[] {
    const changes: Change[] = [];
    let deployments = this.#records.deployments.size;
    let runs = this.#records.runs.size;
    for (const { id } of this.#records.deployments.values()) {
      if (deployments < MAX_DEPLOYMENTS && runs + devices <= MAX_RUNS) break;
      if (!this.isOver(id)) continue;
      for (const run of this.runs(id)) changes.push(this.#records.runs.remove(runKey(id, run.deviceId)));
      changes.push(this.#records.deployments.remove(id));
      runs -= this.#members.get(id)?.size ?? 0;
      deployments--;
      this.#members.delete(id);
      this.#logs.removeOf(id);
    }
    if (deployments >= MAX_DEPLOYMENTS || runs + devices > MAX_RUNS) {
      throw new HttpError(507, 'too many deployments are unfinished: abort some first');
    }
    return changes;
  }

  async #save(deploymentId: string, changes: readonly Change[]): Promise<void> {
    const saved = this.#records.commit(changes);
    this.#events.publish({ kind: 'deployment', id: deploymentId });
    await saved;
  }
}

function setAt<K>(map: Map<K, Set<string>>, key: K): Set<string> {
  let found = map.get(key);
  if (!found) map.set(key, (found = new Set()));
  return found;
}
