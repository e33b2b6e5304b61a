/**
 * What a device and its server answer to the work that the flow orders, as a scenario scripts it. Pure: no process
 * is started, nothing is kept but counters. Shorthand of calls: spec/update-flow.md section 1.
 */
import type { Effect } from '../../src/core/effect.ts';
import type { Failure } from '../../src/core/errors.ts';
import type { ModuleAction } from '../../src/core/module-action.ts';
import type { ScriptFamily } from '../../src/core/state-script.ts';

export interface Fault {
  /** kill: the process ends while this runs. aborted, unreachable: what the server does with a status. */
  readonly kind: 'error' | 'hang' | 'kill' | 'aborted' | 'unreachable';
  /** A call (`I+`, `VRR`, `SR?`), `header`, `device-type`, `authorize`, `check`, or `status:installing:2` (2nd try). */
  readonly where: string;
  /** How often it strikes; 1 when absent. */
  readonly times?: number;
}

export interface DeviceScript {
  readonly needsReboot: 'No' | 'Yes' | 'Automatic';
  readonly supportsRollback: boolean;
  readonly payload?: 'empty';
  /** ArtifactReboot and ArtifactRollbackReboot take the host down instead of returning. */
  readonly rebootsTakeHostDown?: boolean;
}

const FAMILY: Readonly<Record<ScriptFamily, string>> = {
  Idle: 'Idle',
  Sync: 'Sync',
  Download: 'D',
  ArtifactInstall: 'I',
  ArtifactReboot: 'R',
  ArtifactCommit: 'C',
  ArtifactRollback: 'RB',
  ArtifactRollbackReboot: 'RR',
  ArtifactFailure: 'F',
};
const SIGN = { Enter: '+', Leave: '-', Error: '!' } as const;
const MODULE: Readonly<Record<ModuleAction, string>> = {
  ArtifactInstall: 'I',
  ArtifactReboot: 'R',
  ArtifactVerifyReboot: 'VR',
  ArtifactCommit: 'C',
  ArtifactRollback: 'RB',
  ArtifactRollbackReboot: 'RR',
  ArtifactVerifyRollbackReboot: 'VRR',
  ArtifactFailure: 'F',
  Cleanup: 'CL',
};

/** The call an effect amounts to, in shorthand; '' = nothing is called. */
export function callOf(effect: Effect): string {
  switch (effect.kind) {
    case 'runScripts':
      return FAMILY[effect.family] + SIGN[effect.action];
    case 'runModule':
      return effect.payloadType === null ? '' : MODULE[effect.action];
    case 'askNeedsReboot':
      return 'NR?';
    case 'askSupportsRollback':
      return 'SR?';
    case 'rebootHost':
      return 'reboot';
    case 'authorize':
      return 'authorize';
    case 'checkScriptVersion':
      return 'script-version';
    case 'checkForDeployment':
      return 'check';
    case 'sendInventory':
      return 'inventory';
    case 'fetchControlMap':
      return 'map';
    case 'watchConditions':
      return 'conditions';
    case 'watchWallClock':
      return 'clock';
    default:
      return '';
  }
}

/** Calls that a scenario's chain does not list. */
export function isUnlisted(call: string): boolean {
  return ['', 'authorize', 'script-version', 'check', 'inventory', 'map', 'conditions', 'clock'].includes(
    call,
  );
}

export class SimulatedDevice {
  readonly script: DeviceScript;
  readonly #faults: { readonly fault: Fault; left: number }[];
  readonly #statuses = new Map<string, number>();

  constructor(script: DeviceScript, faults: readonly Fault[]) {
    this.script = script;
    this.#faults = faults.map((fault) => ({ fault, left: fault.times ?? 1 }));
  }

  /** The fault that strikes this call, used up by it; null = it goes well. */
  meet(call: string): Fault | null {
    return this.#strike(({ where }) => where === call);
  }

  /** The same for a status report; the attempts at each status are counted from 1. */
  meetStatus(status: string): Fault | null {
    const attempt = (this.#statuses.get(status) ?? 0) + 1;
    this.#statuses.set(status, attempt);
    return this.#strike(({ where }) => {
      const [kind, name, first] = where.split(':');
      return kind === 'status' && name === status && attempt >= Number(first);
    });
  }

  /** Faults that never struck: a scenario that has some does not test what it says. */
  get unused(): readonly Fault[] {
    return this.#faults.filter(({ left }) => left > 0).map(({ fault }) => fault);
  }

  #strike(matches: (fault: Fault) => boolean): Fault | null {
    const found = this.#faults.find(({ fault, left }) => left > 0 && matches(fault));
    if (!found) return null;
    found.left -= 1;
    return found.fault;
  }
}

export function failureOfFault(fault: Fault, call: string): Failure {
  const name = fault.kind === 'hang' ? 'Timeout' : /[+\-!]$/.test(call) ? 'StateScript' : 'UpdateModule';
  return { name, message: `${call} failed as scripted`, details: { call } };
}
