/** Answers the effects of a machine as a device does on which everything goes well. */
import { mergeMap, from, type Subscription } from 'rxjs';
import type { Effect } from '../../src/core/effect.ts';
import type { EventBody } from '../../src/core/event.ts';
import type { Machine } from '../../src/app/machine.ts';
import { ARTIFACT, DEPLOYMENT_ID, NEW_NAME } from './flow-simulator.ts';

export function goodAnswer(effect: Effect): readonly EventBody[] {
  switch (effect.kind) {
    case 'runScripts':
      return [{ kind: 'ScriptsFinished', workId: effect.workId, failure: null }];
    case 'runModule':
      return [{ kind: 'ModuleFinished', workId: effect.workId, failure: null }];
    case 'askNeedsReboot':
      return [{ kind: 'RebootNeedAnswered', workId: effect.workId, answer: 'Yes' }];
    case 'askSupportsRollback':
      return [{ kind: 'RollbackSupportAnswered', workId: effect.workId, isSupported: true }];
    case 'download':
      return [
        { kind: 'ArtifactVerified', workId: effect.workId, artifact: ARTIFACT, sizeBytes: 10 },
        { kind: 'DownloadProgressed', workId: effect.workId, downloadedBytes: 10 },
        { kind: 'DownloadFinished', workId: effect.workId, failure: null },
      ];
    case 'reportStatus':
      return [{ kind: 'StatusReported', workId: effect.workId, outcome: 'accepted', retryAfterSeconds: 0 }];
    case 'authorize':
      return [{ kind: 'AuthorizationFinished', workId: effect.workId, failure: null }];
    case 'checkScriptVersion':
      return [{ kind: 'ScriptVersionChecked', workId: effect.workId, failure: null }];
    case 'checkForDeployment':
      return [
        {
          kind: 'DeploymentCheckFinished',
          workId: effect.workId,
          offer: {
            deploymentId: DEPLOYMENT_ID,
            artifactName: NEW_NAME,
            location: { kind: 'url', url: 'http://server/release-2.mender' },
            controlMapText: null,
          },
          failure: null,
        },
      ];
    case 'sendInventory':
      return [{ kind: 'InventorySent', workId: effect.workId, failure: null }];
    case 'watchWallClock':
      return [{ kind: 'WallClockJudged', workId: effect.workId, problem: '' }];
    case 'watchConditions':
      return [{ kind: 'ConditionsReported', workId: effect.workId, unmet: [] }];
    case 'writeJournal':
      return [{ kind: 'JournalWritten', seq: effect.entries.at(-1)?.seq ?? 0 }];
    default:
      return [];
  }
}

/** Carries out effects by answering them at once, from within the tick that ordered them. */
export function answer(
  machine: Machine,
  how: (effect: Effect) => readonly EventBody[] = goodAnswer,
): Subscription {
  return machine.tick$
    .pipe(mergeMap(({ effects }) => from(effects)))
    .subscribe((effect) => how(effect).forEach((body) => machine.dispatch(body)));
}
