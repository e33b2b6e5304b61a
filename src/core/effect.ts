import type { DecisionEntry } from './control/journal.ts';
import type { Details } from './errors.ts';
import type { HoldPoint } from './hold-point.ts';
import type { ModuleAction } from './module-action.ts';
import type { ScriptAction, ScriptFamily } from './state-script.ts';
import type { Blocker, Result } from './state.ts';
import type { ArtifactLocation, Installed } from './artifact.ts';

/** Statuses a device reports. Source: spec/update-flow.md section 8.1. */
export type ServerStatus =
  | 'downloading'
  | 'installing'
  | 'rebooting'
  | 'pause_before_installing'
  | 'pause_before_rebooting'
  | 'pause_before_committing'
  | 'success'
  | 'failure'
  | 'already-installed';

/** Something that clients are told; the properties already show it when it is announced. */
export type Notice =
  | { readonly kind: 'StateChanged' }
  | {
      readonly kind: 'WaitStarted';
      readonly ticket: string;
      readonly point: HoldPoint;
      readonly blockers: readonly Blocker[];
    }
  | {
      readonly kind: 'WaitEnded';
      readonly ticket: string;
      readonly outcome: WaitOutcome;
      readonly details: Details;
    }
  | { readonly kind: 'DeploymentStarted'; readonly deploymentId: string; readonly details: Details }
  | {
      readonly kind: 'DeploymentFinished';
      readonly deploymentId: string;
      readonly result: Result;
      readonly errorName: string;
      readonly details: Details;
    }
  | {
      readonly kind: 'CheckFinished';
      readonly result: 'update-found' | 'up-to-date' | 'set-aside' | 'failed';
      readonly errorName: string;
    };

/** `snoozed`: the wait goes on, and will be announced anew when the snooze is over. */
export type WaitOutcome =
  | 'continued'
  | 'forced'
  | 'snoozed'
  | 'expired-continue'
  | 'expired-fail'
  | 'aborted'
  | 'superseded'
  | 'unblocked';

/** Work the flow orders. Plain data; carried out by app/effects.ts, whose outcomes are events. */
export type Effect =
  | {
      readonly kind: 'runScripts';
      readonly workId: number;
      readonly family: ScriptFamily;
      readonly action: ScriptAction;
      readonly runsAll: boolean;
    }
  | {
      readonly kind: 'runModule';
      readonly workId: number;
      /** null = no module was ever called; only Cleanup may be ordered then. */
      readonly payloadType: string | null;
      readonly action: ModuleAction;
    }
  | { readonly kind: 'askNeedsReboot'; readonly workId: number; readonly payloadType: string }
  | { readonly kind: 'askSupportsRollback'; readonly workId: number; readonly payloadType: string }
  | {
      readonly kind: 'download';
      readonly workId: number;
      readonly location: ArtifactLocation;
      readonly requiredDigest: string;
      /** Name the server announced, which the artifact must carry; '' = any. */
      readonly announcedName: string;
      readonly installed: Installed;
      /** Begins suspended: the deployment is paused. */
      readonly isSuspended: boolean;
    }
  /** The download whose artifact was verified goes on: its module is called from here on, and not before. */
  | { readonly kind: 'takePayload'; readonly workId: number }
  | { readonly kind: 'suspendDownload' }
  | { readonly kind: 'resumeDownload' }
  | { readonly kind: 'rebootHost'; readonly workId: number; readonly isPowerOff: boolean }
  /** The answers come as ConditionsReported until told otherwise; watching another point ends this one. */
  | { readonly kind: 'watchConditions'; readonly workId: number; readonly point: HoldPoint }
  | { readonly kind: 'unwatchConditions' }
  /** The answers come as WallClockJudged until told otherwise. */
  | { readonly kind: 'watchWallClock'; readonly workId: number }
  | { readonly kind: 'unwatchWallClock' }
  | { readonly kind: 'fetchControlMap'; readonly workId: number; readonly deploymentId: string }
  /** Whether the owner of bound holds is still there: HolderVanished when not. */
  | { readonly kind: 'watchHolder'; readonly connection: string }
  | { readonly kind: 'unwatchHolder'; readonly connection: string }
  /** One alarm at a time, apart from the timer of the work; null = none. */
  | { readonly kind: 'setAlarm'; readonly delayMs: number | null }
  | { readonly kind: 'writeJournal'; readonly entries: readonly DecisionEntry[] }
  | {
      readonly kind: 'reportStatus';
      readonly workId: number;
      readonly deploymentId: string;
      readonly status: ServerStatus;
      readonly substate: string;
    }
  | { readonly kind: 'authorize'; readonly workId: number }
  | { readonly kind: 'checkScriptVersion'; readonly workId: number }
  | { readonly kind: 'checkForDeployment'; readonly workId: number }
  | { readonly kind: 'sendInventory'; readonly workId: number }
  /** Ends the work that is under way; its outcome still comes. */
  | { readonly kind: 'cancelWork' }
  /** One timer at a time; arming replaces it. */
  | { readonly kind: 'armTimer'; readonly workId: number; readonly delayMs: number }
  | { readonly kind: 'disarmTimer' }
  | { readonly kind: 'openDeploymentLog'; readonly deploymentId: string }
  | { readonly kind: 'logDeployment'; readonly level: 'error' | 'warning' | 'info'; readonly message: string }
  | { readonly kind: 'closeDeploymentLog' }
  | { readonly kind: 'announce'; readonly notice: Notice };

export type EffectKind = Effect['kind'];

/**
 * Effects that are carried out although the step they came with could not be stored and is left again: they tell what
 * has happened, or follow what is remembered of others (who holds, what runs out when). Nothing that acts on the device.
 */
const FREE_OF_THE_STORE: ReadonlySet<EffectKind> = new Set<EffectKind>([
  'announce',
  'logDeployment',
  'openDeploymentLog',
  'closeDeploymentLog',
  'disarmTimer',
  'watchHolder',
  'unwatchHolder',
  'setAlarm',
  'unwatchConditions',
  'unwatchWallClock',
]);

export function isFreeOfTheStore({ kind }: Effect): boolean {
  return FREE_OF_THE_STORE.has(kind);
}
