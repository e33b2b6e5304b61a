/**
 * What a scenario of `holdpoint simulate` may say: how the device and its server behave, who holds the update up, and
 * what happens when. Times in simulated seconds. Only data: device.ts acts on it.
 */
import type { ArtifactErrorCode } from '../../core/artifact-error.ts';
import type { UnmetCondition } from '../../core/control/condition.ts';
import type { HealthVerdict } from '../../core/control/health.ts';
import type { ErrorKind, FailureName } from '../../core/errors.ts';
import type { HoldPoint, OnExpire } from '../../core/hold-point.ts';
import type { ModuleAction } from '../../core/module-action.ts';
import type { FlowStep, Result } from '../../core/state.ts';

export interface Scenario {
  /** One sentence for the list. */
  readonly about: string;
  /** What it ends with if every wait is answered with yes and nothing else is done. */
  readonly result: Result;
  readonly failure?: FailureName;
  /** It ends so only when nobody answers the waits. */
  readonly isSilent?: true;
  /** Whether somebody has to say yes for it to go on. */
  readonly asks?: readonly HoldPoint[];
  readonly consent?: { readonly timeoutSeconds: number; readonly onExpire: OnExpire };
  readonly sizeBytes?: number;
  readonly bytesPerSecond?: number;
  /** Default true: the installation is followed by a reboot of the host, and the service starts again. */
  readonly needsReboot?: boolean;
  readonly holds?: readonly ScriptedHold[];
  readonly conditions?: readonly ScriptedCondition[];
  readonly checkers?: readonly string[];
  readonly cues?: readonly Cue[];
  readonly faults?: Faults;
}

/** Another program on the device. */
export interface ScriptedHold {
  readonly point: HoldPoint;
  readonly app: string;
  readonly why: string;
  /** How long it blocks the wait; then it goes by itself. */
  readonly seconds: number;
}

/** Not met from the moment the point is reached, for so long. */
export type ScriptedCondition = Pick<UnmetCondition, 'kind' | 'reasonCode' | 'isSkippable'> & {
  readonly point: HoldPoint;
  readonly seconds: number;
  /** Whether its end is known beforehand, as that of a window is. */
  readonly isEndKnown: boolean;
  readonly owner?: string;
  readonly details?: UnmetCondition['details'];
};

/** Something that happens so long after a step was first entered, if the update is still there. */
export interface Cue {
  readonly step: FlowStep;
  readonly afterSeconds: number;
  readonly does:
    | { readonly kind: 'abort' | 'rollback'; readonly reason: string }
    | { readonly kind: 'health'; readonly checker: string; readonly verdict: HealthVerdict }
    /** The process ends without a word, and starts again: in the same boot, or in another one. */
    | { readonly kind: 'restart'; readonly isReboot: boolean };
}

/** Each at its place in the flow; absent = goes well. */
export interface Faults {
  readonly source?: 'unreachable';
  readonly artifact?: ArtifactErrorCode;
  readonly isDiskFull?: true;
  /** State script, named as it would lie in its folder. */
  readonly script?: string;
  readonly modules?: Partial<Record<ModuleAction, Extract<ErrorKind, 'module' | 'timeout'>>>;
  readonly reboot?: true;
  /** Step whose record cannot be stored. */
  readonly storeAt?: FlowStep;
  /** A defect of the service itself. */
  readonly defectAt?: ModuleAction;
  readonly isAbortedByServer?: true;
  readonly isMapInvalid?: true;
  /** So many checks find no server, before one is there again. */
  readonly failingChecks?: number;
}
