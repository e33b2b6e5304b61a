/** Every kind of event, in each of its variants, as it would come to the work of the present step. */
import type { UnmetCondition } from '../../src/core/control/condition.ts';
import {
  controlMapJson,
  MAP_ACTIONS,
  MAP_POINTS,
  type ControlMap,
  type MapAction,
} from '../../src/core/control/control-map.ts';
import type { EventBody, EventKind } from '../../src/core/event.ts';
import { HOLD_POINTS } from '../../src/core/hold-point.ts';
import type { UpdateState } from '../../src/core/state.ts';
import { ARTIFACT, DEPLOYMENT_ID, NEW_NAME, SERVER_SETTINGS } from './flow-simulator.ts';

const FAILURE = { name: 'UpdateModule', message: 'failed', details: {} } as const;

export function variantsOf(kind: EventKind, state: UpdateState): readonly EventBody[] {
  const { workId } = state;
  switch (kind) {
    case 'ServiceStarted':
      return [{ kind, bootId: 'boot-9', settings: SERVER_SETTINGS, bootstrap: null }];
    case 'ScriptsFinished':
    case 'ModuleFinished':
    case 'DownloadFinished':
    case 'AuthorizationFinished':
    case 'ScriptVersionChecked':
    case 'InventorySent':
      return [
        { kind, workId, failure: null },
        { kind, workId, failure: FAILURE },
      ];
    case 'RebootNeedAnswered':
      return (['No', 'Yes', 'Automatic'] as const).map((answer) => ({ kind, workId, answer }));
    case 'RollbackSupportAnswered':
      return [true, false].map((isSupported) => ({ kind, workId, isSupported }));
    case 'QuestionFailed':
    case 'HostRebootFailed':
      return [{ kind, workId, failure: FAILURE }];
    case 'ArtifactVerified':
      return [{ kind, workId, artifact: ARTIFACT, sizeBytes: 10 }];
    case 'DownloadProgressed':
      return [{ kind, workId, downloadedBytes: 7 }];
    case 'StatusReported':
      return (['accepted', 'aborted', 'unreachable'] as const).map((outcome) => ({
        kind,
        workId,
        outcome,
        retryAfterSeconds: 0,
      }));
    case 'DeploymentCheckFinished':
      return [
        { kind, workId, offer: null, failure: null },
        { kind, workId, offer: null, failure: FAILURE },
        {
          kind,
          workId,
          offer: {
            deploymentId: DEPLOYMENT_ID,
            artifactName: NEW_NAME,
            location: { kind: 'url', url: 'http://server/release-2.mender' },
            controlMapText: null,
          },
          failure: null,
        },
      ];
    case 'TimerFired':
      return [{ kind, workId }];
    case 'CheckPlanned':
      return [{ kind, nextCheckWallMs: 1_900_000_000_000 }];
    case 'ServerStandingChanged':
      return [{ kind, standing: 'unreachable' }];
    case 'SaveFailed':
      return [{ kind, failure: { name: 'Storage', message: 'disk full', details: {} } }];
    case 'RetryRequested':
      return [{ kind, deploymentId: DEPLOYMENT_ID, uid: 1000 }];
    case 'CheckRequested':
    case 'InventoryRequested':
      return [{ kind }];
    case 'InstallRequested':
      return [
        {
          kind,
          deploymentId: DEPLOYMENT_ID,
          location: { kind: 'file', path: '/media/usb/release-2.mender' },
          requiredDigest: '',
          uid: 1000,
          artifact: ARTIFACT,
          sizeBytes: 10,
        },
      ];
    case 'ContinueGiven':
      return ([null, 'now', 'override'] as const).map((waiver) => ({
        kind,
        ticket: ticketOf(state),
        uid: 1000,
        comment: '',
        waiver,
        rebootMode: null,
      }));
    case 'SnoozeGiven':
      return [{ kind, ticket: ticketOf(state), uid: 1000, seconds: 600 }];
    case 'SnoozeEndRequested':
      return [{ kind, uid: 1000 }];
    case 'AbortRequested':
    case 'RollbackRequested':
      return [{ kind, uid: 1000, reason: 'not today' }];
    case 'PauseRequested':
    case 'ResumeRequested':
      return [{ kind, uid: 1000 }];
    case 'UpdatesSwitched':
      return [true, false].map((isEnabled) => ({ kind, isEnabled, uid: 0 }));
    case 'HoldAdded':
      return [
        holdAdded({ holdId: 'b'.repeat(12) }),
        holdAdded({ holdId: 'c'.repeat(12), timeoutSeconds: 60 }),
      ];
    case 'HoldRefreshed':
    case 'HoldReleased':
      return [{ kind, holdId: state.holds[0]?.id ?? 'd'.repeat(12), uid: 1000 }];
    case 'HolderVanished':
      return [
        { kind, connection: state.holds.find(({ connection }) => connection !== '')?.connection ?? ':1.9' },
      ];
    case 'ControlMapGiven':
      return [
        { kind, uid: 0, map: null },
        { kind, uid: 0, map: { id: LOCAL_MAP_ID, priority: 0, states: {} } },
        ...MAP_ACTIONS.map((action) => ({ kind, uid: 0, map: mapOf(action) }) as const),
      ];
    case 'ControlMapFetched':
      return [
        { kind, workId, answer: { kind: 'map', text: '{}' } },
        {
          kind,
          workId,
          answer: {
            kind: 'map',
            text: controlMapJson({ ...mapOf('pause'), id: state.deployment?.id ?? '' }),
          },
        },
        {
          kind,
          workId,
          answer: {
            kind: 'map',
            text: controlMapJson({ ...mapOf('pause'), id: state.deployment?.id ?? '' }),
            mapReleasesText: JSON.stringify({
              releases: [{ point: 'ArtifactInstall_Enter', release_at: '2031-02-03T00:10:00Z' }],
            }),
          },
        },
        { kind, workId, answer: { kind: 'deployment-gone' } },
        { kind, workId, answer: { kind: 'failed', failure: FAILURE, retryAfterSeconds: 0 } },
      ];
    case 'ConditionsReported':
      return [
        { kind, workId, unmet: [] },
        { kind, workId, unmet: [unmetCondition({})] },
      ];
    case 'WallClockJudged':
      return ['', 'before-build'].map((problem) => ({ kind, workId, problem }));
    case 'HealthReported':
      return (['ok', 'failed'] as const).map((verdict) => ({
        kind,
        checker: 'app',
        verdict,
        message: '',
        uid: 0,
      }));
    case 'AlarmRang':
      return [{ kind }];
    case 'JournalWritten':
      return [{ kind, seq: state.journal.lastSeq }];
  }
}

export const LOCAL_MAP_ID = '01234567-89ab-cdef-0123-456789abcdef';

function ticketOf({ wait }: UpdateState): string {
  return wait === null || wait.ticket === '' ? 'f'.repeat(32) : wait.ticket;
}

/** A map that says the same at all three points. */
function mapOf(action: MapAction): ControlMap {
  const rule = {
    action,
    onMapExpire: action === 'pause' ? 'fail' : action,
    onActionExecuted: action,
  } as const;
  return {
    id: LOCAL_MAP_ID,
    priority: 0,
    states: Object.fromEntries(MAP_POINTS.map((point) => [point, rule])),
  };
}

/** A hold everywhere, bound to `bus/:1.7`, unless told otherwise. */
export function holdAdded(
  changes: Partial<Extract<EventBody, { kind: 'HoldAdded' }>>,
): Extract<EventBody, { kind: 'HoldAdded' }> {
  const isBound = (changes.timeoutSeconds ?? 0) === 0;
  return {
    kind: 'HoldAdded',
    holdId: 'a'.repeat(12),
    points: HOLD_POINTS,
    why: 'brewing',
    timeoutSeconds: 0,
    onExpire: 'continue',
    priority: 0,
    appId: '',
    deploymentId: '',
    action: 'pause',
    isOnce: false,
    owner: 'CoffeeApp',
    pid: 77,
    uid: 1000,
    app: 'coffee',
    ...(isBound && { connection: 'bus/:1.7' }),
    ...changes,
  };
}

export function unmetCondition(changes: Partial<UnmetCondition>): UnmetCondition {
  return {
    id: 'window',
    kind: 'window',
    owner: '',
    reasonCode: 'outside-window',
    sinceWallMs: 5,
    endsWallMs: 0,
    isSkippable: true,
    details: {},
    ...changes,
  };
}
