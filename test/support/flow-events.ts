/** Every kind of event, in each of its variants, as it would come to the work of the present step. */
import type { EventBody, EventKind } from '../../src/core/event.ts';
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
          },
          failure: null,
        },
      ];
    case 'TimerFired':
      return [{ kind, workId }];
    case 'SaveFailed':
      return [{ kind, failure: { name: 'Storage', message: 'disk full', details: {} } }];
    case 'CheckRequested':
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
      return [{ kind, ticket: state.wait?.ticket ?? 'f'.repeat(32), uid: 1000, comment: '' }];
    case 'AbortRequested':
    case 'RollbackRequested':
      return [{ kind, uid: 1000, reason: 'not today' }];
    case 'PauseRequested':
    case 'ResumeRequested':
      return [{ kind, uid: 1000 }];
    case 'UpdatesSwitched':
      return [true, false].map((isEnabled) => ({ kind, isEnabled, uid: 0 }));
  }
}
