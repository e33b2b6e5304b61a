import type { ArtifactLocation, Installed } from './artifact.ts';
import type { Failure } from './errors.ts';
import type { UnmetCondition } from './control/condition.ts';
import type { ControlMap } from './control/control-map.ts';
import type { HealthVerdict } from './control/health.ts';
import type { GivenMap } from './server-map.ts';
import type { FlowSettings } from './settings.ts';
import type { HoldPoint, OnExpire } from './hold-point.ts';
import type { ArtifactSummary, RebootMode, ServerStanding, Waiver } from './state.ts';

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
      /** The server could not be reached at all. */
      readonly isLinkDown?: true;
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
        /** JSON text of the update control map that came with it; null = none. */
        readonly controlMapText: string | null;
        /** JSON text of the releases announced beside it; absent = none. */
        readonly mapReleasesText?: string;
      } | null;
      readonly failure: Failure | null;
    }
  | { readonly kind: 'TimerFired'; readonly workId: number }
  /**
   * The state after the previous event could not be stored. `isStart`: it was the start of the service itself.
   * `isWithinWork`: the event has begun nothing, and the work that was stored goes on.
   */
  | {
      readonly kind: 'SaveFailed';
      readonly failure: Failure;
      readonly isStart?: true;
      readonly isWithinWork?: true;
    }
  | { readonly kind: 'CheckRequested' }
  | { readonly kind: 'InventoryRequested' }
  /** A deployment that failed is to be tried again. */
  | ({ readonly kind: 'RetryRequested'; readonly deploymentId: string } & Caller)
  | { readonly kind: 'InventorySent'; readonly workId: number; readonly failure: Failure | null }
  /** Wall clock of the next check; 0 = none. */
  | { readonly kind: 'CheckPlanned'; readonly nextCheckWallMs: number }
  | { readonly kind: 'ServerStandingChanged'; readonly standing: ServerStanding }
  | {
      readonly kind: 'InstallRequested';
      readonly deploymentId: string;
      readonly location: ArtifactLocation;
      readonly requiredDigest: string;
      readonly uid: number;
      readonly artifact: ArtifactSummary | null;
      readonly sizeBytes: number;
    }
  | ({
      readonly kind: 'ContinueGiven';
      readonly ticket: string;
      readonly comment: string;
      /** Beyond the consent: not to wait for others. */
      readonly waiver: Waiver['kind'] | null;
      /** At the reboot gate; null = as always. */
      readonly rebootMode: RebootMode | null;
    } & Caller)
  | ({ readonly kind: 'SnoozeGiven'; readonly ticket: string; readonly seconds: number } & Caller)
  | ({ readonly kind: 'SnoozeEndRequested' } & Caller)
  | ({ readonly kind: 'AbortRequested'; readonly reason: string } & Caller)
  | ({ readonly kind: 'RollbackRequested'; readonly reason: string } & Caller)
  | ({ readonly kind: 'PauseRequested' } & Caller)
  | ({ readonly kind: 'ResumeRequested' } & Caller)
  | ({ readonly kind: 'UpdatesSwitched'; readonly isEnabled: boolean } & Caller)
  | ({ readonly kind: 'HoldAdded'; readonly holdId: string } & HoldWish & Caller)
  | ({ readonly kind: 'HoldRefreshed'; readonly holdId: string } & Caller)
  | ({ readonly kind: 'HoldReleased'; readonly holdId: string } & Caller)
  /** The owner of bound holds has left the bus, or the bus has been away for too long to know. */
  | { readonly kind: 'HolderVanished'; readonly connection: string }
  /** A map without points deletes the one with its id and priority. */
  | ({ readonly kind: 'ControlMapGiven'; readonly map: ControlMap | null } & Caller)
  /** The answer to a refresh of the server's map. */
  | {
      readonly kind: 'ControlMapFetched';
      readonly workId: number;
      readonly answer:
        | ({ readonly kind: 'map' } & GivenMap)
        | { readonly kind: 'deployment-gone' }
        | { readonly kind: 'failed'; readonly failure: Failure; readonly retryAfterSeconds: number };
    }
  /** What is not met at the gate the update is at: first when all has been looked at, then at each change. */
  | {
      readonly kind: 'ConditionsReported';
      readonly workId: number;
      readonly unmet: readonly UnmetCondition[];
    }
  /** Why the wall clock is not believed, '' = it is: first when asked for, then at each change and step of the clock. */
  | { readonly kind: 'WallClockJudged'; readonly workId: number; readonly problem: string }
  | ({
      readonly kind: 'HealthReported';
      readonly checker: string;
      readonly verdict: HealthVerdict;
      readonly message: string;
    } & Caller)
  /** The time that the state said something of holds or maps would end at. */
  | { readonly kind: 'AlarmRang' }
  /** The journal file has everything up to this number. */
  | { readonly kind: 'JournalWritten'; readonly seq: number };

/** Who asked for something. */
export interface Caller {
  readonly uid: number;
  /** Name of the program, for people; absent = unknown. Decides nothing. */
  readonly app?: string;
  /** The bus's id and the caller's unique name there; absent = not by the bus. */
  readonly connection?: string;
}

/** What a client says about a hold it wants. Checked by command.ts. */
export interface HoldWish {
  readonly points: readonly HoldPoint[];
  readonly why: string;
  /** 0 = bound to the caller's connection. */
  readonly timeoutSeconds: number;
  readonly onExpire: OnExpire;
  readonly priority: number;
  readonly appId: string;
  readonly deploymentId: string;
  readonly action: 'pause' | 'fail';
  readonly isOnce: boolean;
  readonly owner: string;
  readonly pid: number;
}

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
  'InventoryRequested',
  'RetryRequested',
  'InventorySent',
  'CheckPlanned',
  'ServerStandingChanged',
  'InstallRequested',
  'ContinueGiven',
  'SnoozeGiven',
  'SnoozeEndRequested',
  'AbortRequested',
  'RollbackRequested',
  'PauseRequested',
  'ResumeRequested',
  'UpdatesSwitched',
  'HoldAdded',
  'HoldRefreshed',
  'HoldReleased',
  'HolderVanished',
  'ControlMapGiven',
  'ControlMapFetched',
  'ConditionsReported',
  'WallClockJudged',
  'HealthReported',
  'AlarmRang',
  'JournalWritten',
] as const satisfies readonly EventKind[];
