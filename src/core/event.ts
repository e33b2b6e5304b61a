import type { ArtifactLocation, Installed } from './artifact.ts';
import type { Failure } from './errors.ts';
import type { FlowSettings } from './settings.ts';
import type { ArtifactSummary } from './state.ts';

/**
 * Everything that can happen. Events are the only way into the update flow; a recorded stream of them replays
 * to the identical stream of steps. Time and random values arrive inside them.
 */
export type EventBody =
  /** The process has started; the state is what the store held. `bootstrap` = what a first start installs. */
  | {
      readonly kind: 'ServiceStarted';
      readonly bootId: string;
      readonly settings: FlowSettings;
      readonly bootstrap: Installed | null;
    }
  | { readonly kind: 'ScriptsFinished'; readonly workId: number; readonly failure: Failure | null }
  | { readonly kind: 'ModuleFinished'; readonly workId: number; readonly failure: Failure | null }
  | {
      readonly kind: 'RebootNeedAnswered';
      readonly workId: number;
      readonly answer: 'No' | 'Yes' | 'Automatic';
    }
  | { readonly kind: 'RollbackSupportAnswered'; readonly workId: number; readonly isSupported: boolean }
  /** A question to the module went wrong. */
  | { readonly kind: 'QuestionFailed'; readonly workId: number; readonly failure: Failure }
  /** The header of the artifact being downloaded has been verified and found fit for this device. */
  | {
      readonly kind: 'ArtifactVerified';
      readonly workId: number;
      readonly artifact: ArtifactSummary;
      readonly sizeBytes: number;
    }
  | { readonly kind: 'DownloadProgressed'; readonly workId: number; readonly downloadedBytes: number }
  | { readonly kind: 'DownloadFinished'; readonly workId: number; readonly failure: Failure | null }
  | {
      readonly kind: 'StatusReported';
      readonly workId: number;
      readonly outcome: 'accepted' | 'aborted' | 'unreachable';
      /** What the server asked to wait before the next attempt; 0 = nothing said. */
      readonly retryAfterSeconds: number;
    }
  | { readonly kind: 'AuthorizationFinished'; readonly workId: number; readonly failure: Failure | null }
  | { readonly kind: 'ScriptVersionChecked'; readonly workId: number; readonly failure: Failure | null }
  /** The host did not go down although it was asked to. */
  | { readonly kind: 'HostRebootFailed'; readonly workId: number; readonly failure: Failure }
  | {
      readonly kind: 'DeploymentCheckFinished';
      readonly workId: number;
      readonly offer: {
        readonly deploymentId: string;
        readonly artifactName: string;
        readonly location: ArtifactLocation;
      } | null;
      readonly failure: Failure | null;
    }
  | { readonly kind: 'TimerFired'; readonly workId: number }
  /** The state after the previous event could not be stored. */
  | { readonly kind: 'SaveFailed'; readonly failure: Failure }
  | { readonly kind: 'CheckRequested' }
  | {
      readonly kind: 'InstallRequested';
      readonly deploymentId: string;
      readonly location: ArtifactLocation;
      readonly requiredDigest: string;
      readonly uid: number;
      readonly artifact: ArtifactSummary | null;
      readonly sizeBytes: number;
    }
  | {
      readonly kind: 'ContinueGiven';
      readonly ticket: string;
      readonly uid: number;
      readonly comment: string;
    }
  | { readonly kind: 'AbortRequested'; readonly uid: number; readonly reason: string }
  | { readonly kind: 'RollbackRequested'; readonly uid: number; readonly reason: string }
  | { readonly kind: 'PauseRequested'; readonly uid: number }
  | { readonly kind: 'ResumeRequested'; readonly uid: number }
  | { readonly kind: 'UpdatesSwitched'; readonly isEnabled: boolean; readonly uid: number };

export type EventKind = EventBody['kind'];

/** An event as it goes through the loop. */
export type UpdateEvent = EventBody & {
  readonly at: {
    /** Milliseconds since 1970; not trusted for durations. */
    readonly wallMs: number;
    /** Milliseconds since boot, suspend included. */
    readonly bootMs: number;
  };
  /** 32 random hex digits; becomes the ticket of a wait that this event begins. */
  readonly nonce: string;
};

export const EVENT_KINDS = [
  'ServiceStarted',
  'ScriptsFinished',
  'ModuleFinished',
  'RebootNeedAnswered',
  'RollbackSupportAnswered',
  'QuestionFailed',
  'ArtifactVerified',
  'DownloadProgressed',
  'DownloadFinished',
  'StatusReported',
  'AuthorizationFinished',
  'ScriptVersionChecked',
  'HostRebootFailed',
  'DeploymentCheckFinished',
  'TimerFired',
  'SaveFailed',
  'CheckRequested',
  'InstallRequested',
  'ContinueGiven',
  'AbortRequested',
  'RollbackRequested',
  'PauseRequested',
  'ResumeRequested',
  'UpdatesSwitched',
] as const satisfies readonly EventKind[];
