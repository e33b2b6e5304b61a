import type { Installed, Provides } from './artifact.ts';
import type { UnmetCondition } from './control/condition.ts';
import type { Hold } from './control/hold.ts';
import { EMPTY_JOURNAL, type DecisionEntry, type Journal } from './control/journal.ts';
import type { MapPool } from './control/map-pool.ts';
import type { Consent, Deployment, Passage } from './deployment.ts';
import type { Failure } from './errors.ts';
import type { HoldPoint, OnExpire } from './hold-point.ts';
import { DEFAULT_FLOW_SETTINGS, type FlowSettings } from './settings.ts';
import type { FlowStep } from './steps.ts';

export * from './deployment.ts';
export * from './steps.ts';

/** One reason why a gate does not open. Published as is. */
export interface Blocker {
  readonly id: string;
  /** Open set: consent, hold, map, pause, updates-disabled, snooze, health, reboot, and kinds of conditions. */
  readonly kind: string;
  readonly owner: string;
  readonly reasonCode: string;
  readonly sinceWallMs: number;
  /** When it ends by itself, in boot time and as wall clock for display; 0 = it does not. */
  readonly endsBootMs: number;
  readonly endsWallMs: number;
  /** What its end means for the update. */
  readonly onEnd: OnExpire;
  readonly details: Readonly<Record<string, string | number | boolean>>;
}

/** A stored wait at a hold point. */
export interface Wait {
  readonly point: HoldPoint;
  /** Single use; 32 hex digits. Dead after a restart. '' = snoozed: nobody is asked at present. */
  readonly ticket: string;
  readonly startedWallMs: number;
  /** Waiting time used up at the moment `asOfBootMs` of the present boot, milliseconds. */
  readonly waitedMs: number;
  /** Part of it that was snoozed, as of the same moment. */
  readonly snoozedMs: number;
  readonly asOfBootMs: number;
  readonly blockers: readonly Blocker[];
  /** When the wait ends by itself, in boot time and as wall clock for display; 0 = never. */
  readonly deadlineBootMs: number;
  readonly deadlineWallMs: number;
  readonly onExpire: OnExpire;
  /** Why the flow is asking again after an unexpected reboot, else ''. */
  readonly notice: string;
  /** The present ticket has been answered with a yes, and others still block. Not stored: tickets are not either. */
  readonly isContinued?: true;
}

/** A ticket by which a point was passed. */
export interface PassedTicket {
  readonly ticket: string;
  readonly point: HoldPoint;
}

/** What is being found out, or has been, for the decision at the gate the update is at. */
export interface GateVisit {
  readonly point: HoldPoint;
  /** null = the conditions of the point are still being looked at. */
  readonly unmet: readonly UnmetCondition[] | null;
  /** Of the server's control map. first: nothing is decided before the answer. retrying: it failed, which blocks. */
  readonly refresh: 'none' | 'first' | 'retrying';
  readonly failedRefreshes: number;
  /** When the server's map is to be fetched again, boot time; null = not. */
  readonly refreshAtBootMs: number | null;
  /** When the server is told again that the update waits, boot time. Absent = it is not told again. */
  readonly tellAgainAtBootMs?: number;
  /**
   * Why the wall clock, which a release at a time goes by, is not believed; '' = it is, null = being found out. Absent =
   * no map here has such a release.
   */
  readonly clockProblem?: string | null;
  /** Keys of the maps that have been asked in this visit; each moves on once when the gate is passed. */
  readonly askedMaps: readonly string[];
}

export interface Progress {
  /** 0…100 over the whole deployment, −1 unknown; never goes back, 100 = committed. */
  readonly overall: number;
  /** 0…100 of the present step, −1 unknown. */
  readonly step: number;
  readonly downloadedBytes: number;
  /** −1 = unknown. */
  readonly sizeBytes: number;
  /** Recent (boot time, bytes) pairs for rate and remaining time. */
  readonly samples: readonly (readonly [bootMs: number, bytes: number])[];
}

export const RESULTS = ['success', 'failure', 'aborted', 'rolled-back', 'inconsistent'] as const;
export type Result = (typeof RESULTS)[number];

/** A deployment that has ended. */
export interface HistoryEntry {
  readonly deploymentId: string;
  readonly source: 'local' | 'server';
  readonly artifactName: string;
  readonly digest: string;
  readonly result: Result;
  readonly failure: Failure | null;
  readonly startedWallMs: number;
  readonly finishedWallMs: number;
  readonly initiatorUid: number;
  readonly consents: readonly Consent[];
  readonly passages: readonly Passage[];
  readonly decisions: readonly DecisionEntry[];
}

/** Deployments kept in the history; the oldest go first. */
export const HISTORY_LIMIT = 50;

/** A deployment of the server that failed here: see set-aside.ts. */
export interface SetAside {
  readonly deploymentId: string;
  /** As the server announced it. */
  readonly artifactName: string;
  /** That failed. */
  readonly tries: number;
  /** It is tried again only when a person asks for it. */
  readonly needsPerson: boolean;
  /** Offers to be passed over before it is tried again by itself. */
  readonly offersToSkip: number;
  readonly isRetryWanted: boolean;
  /** The server, which offered it again, has been told once more that it failed. */
  readonly isToldAgain: boolean;
  readonly failure: Failure;
  readonly failedWallMs: number;
  /** When the server last offered it in vain; 0 = it does not offer it now. */
  readonly offeredWallMs: number;
}

/** How the device stands with its server; none = no server, or nothing known yet. */
export const SERVER_STATUSES = ['none', 'pending', 'authorized', 'rejected', 'unreachable'] as const;
export type ServerStanding = (typeof SERVER_STATUSES)[number];

/**
 * Why the last check got no answer of the server. waiting-for-clock: this device's clock cannot be right, so that no
 * certificate is good. no-internet: somebody else answers, as the log-in page of a network does. none: it got one.
 */
export const LINK_TROUBLES = ['none', 'unreachable', 'waiting-for-clock', 'no-internet'] as const;
export type LinkTrouble = (typeof LINK_TROUBLES)[number];

/** What the schedules have asked for and planned. Begun afresh at every start. */
export interface Schedule {
  /** To be done as soon as the device is idle. */
  readonly isCheckWanted: boolean;
  readonly isInventoryWanted: boolean;
  /** Wall clock; 0 = none planned. */
  readonly nextCheckWallMs: number;
  readonly serverStanding: ServerStanding;
  readonly linkTrouble: LinkTrouble;
}

export const NOTHING_PLANNED: Schedule = {
  isCheckWanted: false,
  isInventoryWanted: false,
  nextCheckWallMs: 0,
  serverStanding: 'none',
  linkTrouble: 'none',
};

/** The whole state of the service. There is no update state anywhere else. */
export interface UpdateState {
  /** +1 with every change a client may care about; never reset. */
  readonly serial: number;
  readonly settings: FlowSettings;
  readonly bootId: string;
  readonly installed: Installed;
  /** null = nobody has switched it; the configured default holds. */
  readonly updatesSwitch: boolean | null;
  readonly step: FlowStep;
  /** Identifies the work of the present step; outcomes of other work are stale and change nothing. */
  readonly workId: number;
  /** Attempts the present step has made at reporting, or at storing the commit. */
  readonly attempts: number;
  readonly deployment: Deployment | null;
  readonly wait: Wait | null;
  /** null = at no gate. Begun afresh after a restart. */
  readonly visit: GateVisit | null;
  readonly holds: readonly Hold[];
  readonly controlMaps: MapPool;
  readonly journal: Journal;
  /** Tickets of this run whose point was passed by them: a repeated Continue is answered the same. */
  readonly passedTickets: readonly PassedTicket[];
  readonly progress: Progress;
  /** Newest first. The first entry is the last result, unless a deployment has started since. */
  readonly history: readonly HistoryEntry[];
  /** Newest failure first. */
  readonly setAside: readonly SetAside[];
  readonly lastCheckWallMs: number;
  readonly schedule: Schedule;
  /** This start of the service could not be stored: a reboot would not be remembered, nor has the last one helped. */
  readonly isStartUnstored: boolean;
  /** The module has committed, and the store does not know it: a restart would go back. */
  readonly isCommitUnstored: boolean;
}

export const NO_PROGRESS: Progress = {
  overall: -1,
  step: -1,
  downloadedBytes: -1,
  sizeBytes: -1,
  samples: [],
};

/** A device that has never run Holdpoint. */
export function initialState(installed: Installed): UpdateState {
  return {
    serial: 0,
    settings: DEFAULT_FLOW_SETTINGS,
    bootId: '',
    installed,
    updatesSwitch: null,
    step: 'idle',
    workId: 0,
    attempts: 0,
    deployment: null,
    wait: null,
    visit: null,
    holds: [],
    controlMaps: [],
    journal: EMPTY_JOURNAL,
    passedTickets: [],
    progress: NO_PROGRESS,
    history: [],
    setAside: [],
    lastCheckWallMs: 0,
    schedule: NOTHING_PLANNED,
    isStartUnstored: false,
    isCommitUnstored: false,
  };
}

export const NOTHING_INSTALLED: Installed = {
  artifactName: 'unknown',
  artifactGroup: '',
  provides: {} as Provides,
};

export function areUpdatesEnabled(state: UpdateState): boolean {
  return state.updatesSwitch ?? state.settings.updatesEnabledByDefault;
}
