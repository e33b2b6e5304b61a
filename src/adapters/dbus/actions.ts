import type { AccessAction } from '../../core/access.ts';
import { HOLD_POINTS } from '../../core/hold-point.ts';
import type { AuthorisationRequest } from './authorise.ts';
import { INTROSPECTABLE, PEER, PROPERTIES } from './standard-interfaces.ts';
import type { Variant, VariantMap } from './values.ts';

/**
 * What each method needs. Complete over the XML (a test compares); a method without a line here is root's alone.
 * Source: design/dbus-api.md section 6.
 */
export interface AccessContext {
  /** Where the update waits; '' = nowhere. */
  readonly point: string;
  /** The point that was passed by a ticket; null = no known one was. */
  readonly passedPoint: (ticket: string) => string | null;
  /** '' = none. */
  readonly deploymentId: string;
  readonly artifactName: string;
  /** null = there is no such hold. */
  readonly hold: (holdId: string) => { readonly uid: number; readonly points: readonly string[] } | null;
  /** Whether the configuration has a key, so that nothing is installed without a good signature. */
  readonly isSignatureRequired: boolean;
}

export type Need =
  /** Reading. */
  | { readonly kind: 'everyone' }
  /** Nobody can be given it. */
  | { readonly kind: 'root' }
  | ActionNeed;

export interface ActionNeed {
  readonly kind: 'action';
  readonly action: AccessAction;
  /** Every point it is about; empty = none, or not known: then a right limited to points is none. */
  readonly points: readonly string[];
  /** '' = it is about no hold. */
  readonly holdId: string;
}

type Question = Pick<AuthorisationRequest, 'uid' | 'args'>;
type Rule = (question: Question, context: AccessContext) => Need;

export const EVERYONE: Need = { kind: 'everyone' };
export const ROOT: Need = { kind: 'root' };

const MAIN = 'io.holdpoint.Update1';
const MAX_HOLD_ID_CHARACTERS = 64;

/** It happens at no point. */
function anywhere(action: AccessAction): Rule {
  return () => ({ kind: 'action', action, points: [], holdId: '' });
}

/** It ends or turns the present wait. */
function atPresentPoint(action: AccessAction): Rule {
  return (_question, { point }) => presentNeed(action, point);
}

export function presentNeed(action: AccessAction, point: string): ActionNeed {
  return { kind: 'action', action, points: point === '' ? [] : [point], holdId: '' };
}

/**
 * Consent is to the point its ticket stands for: to repeat a Continue that has passed a point takes the right to that
 * point, not to where the update has got to since. Any other ticket is about the present wait.
 */
function pointOf({ args }: Question, { point, passedPoint }: AccessContext): string {
  return passedPoint(String(args[0])) ?? point;
}

const continuePlain: Rule = (question, context) => presentNeed('continue', pointOf(question, context));

const everyone: Rule = () => EVERYONE;

/** Whoever may only go on must not override by an option. Anything but a plain "false" counts as asking for it. */
const continueFull: Rule = (question, context) => {
  const override = (question.args[1] as VariantMap | undefined)?.get('override');
  return presentNeed(isOff(override) ? 'continue' : 'override', pointOf(question, context));
};

function isOff(option: Variant | undefined): boolean {
  return option === undefined || (option.signature === 'b' && option.value === false);
}

const holdAtPoint: Rule = ({ args }) => holdNeed([args[0]], '', 'hold');
const holdAtPoints: Rule = ({ args }) => holdNeed(Array.isArray(args[0]) ? args[0] : [], '', 'hold');

/** A hold that is there belongs to somebody; one that is not may be asked for by whoever may hold. */
const presentHold =
  (foreign: AccessAction): Rule =>
  ({ args, uid }, { hold }) => {
    const holdId = String(args[0]);
    const found = hold(holdId);
    return holdNeed(found?.points ?? [], holdId, found === null || found.uid === uid ? 'hold' : foreign);
  };

function holdNeed(points: readonly unknown[], holdId: string, action: AccessAction): Need {
  const known = points.map((point) => HOLD_POINTS.find((one) => one === point) ?? 'unknown');
  const shortId = holdId.slice(0, MAX_HOLD_ID_CHARACTERS);
  return { kind: 'action', action, points: [...new Set(known)], holdId: shortId };
}

const install: Rule = (question, context) =>
  anywhere(context.isSignatureRequired ? 'install' : 'install-untrusted')(question, context);

const NEEDS: Readonly<Record<string, Rule>> = {
  [`${PROPERTIES}.Get`]: everyone,
  [`${PROPERTIES}.GetAll`]: everyone,
  // Nothing can be set; root is told so.
  [`${PROPERTIES}.Set`]: () => ROOT,
  [`${INTROSPECTABLE}.Introspect`]: everyone,
  [`${PEER}.Ping`]: everyone,
  [`${PEER}.GetMachineId`]: everyone,

  [`${MAIN}.Continue`]: continuePlain,
  [`${MAIN}.ContinueFull`]: continueFull,
  [`${MAIN}.Snooze`]: atPresentPoint('continue'),
  [`${MAIN}.EndSnooze`]: atPresentPoint('continue'),
  [`${MAIN}.Abort`]: atPresentPoint('abort'),
  // A pause stops the update wherever it is by then.
  [`${MAIN}.Pause`]: anywhere('hold'),
  [`${MAIN}.Resume`]: anywhere('hold'),
  [`${MAIN}.Rollback`]: atPresentPoint('rollback'),
  [`${MAIN}.SetUpdatesEnabled`]: anywhere('enable'),
  [`${MAIN}.CheckForUpdate`]: anywhere('check'),
  [`${MAIN}.SendInventory`]: anywhere('check'),
  [`${MAIN}.RetryUpdate`]: anywhere('check'),
  [`${MAIN}.CanDo`]: everyone,

  [`${MAIN}.Holds.Hold`]: holdAtPoint,
  [`${MAIN}.Holds.AddHold`]: holdAtPoints,
  // Only its own user may, which the handler checks: no right makes that possible for others.
  [`${MAIN}.Holds.RefreshHold`]: presentHold('hold'),
  [`${MAIN}.Holds.ReleaseHold`]: presentHold('override'),
  [`${MAIN}.Holds.SetControlMap`]: anywhere('control-map'),
  [`${MAIN}.Holds.ReportHealth`]: atPresentPoint('health'),

  [`${MAIN}.Install.InstallPath`]: install,
  [`${MAIN}.Install.InstallUrl`]: install,
  [`${MAIN}.Install.InspectPath`]: anywhere('inspect'),

  [`${MAIN}.History.List`]: everyone,
  [`${MAIN}.History.Get`]: everyone,
  // What scripts of the device print, and who consented to what: not for every user's eyes.
  [`${MAIN}.History.GetLog`]: anywhere('read-log'),
  [`${MAIN}.History.ExportDecisions`]: anywhere('read-log'),
};

/** Keys as `io.holdpoint.Update1.Continue`. */
export const DECIDED_METHODS: ReadonlySet<string> = new Set(Object.keys(NEEDS));

/** What this call needs at this moment. Throws what reading the arguments throws. */
export function needOf(
  request: Pick<AuthorisationRequest, 'interface' | 'member' | 'uid' | 'args'>,
  context: AccessContext,
): Need {
  const key = `${request.interface}.${request.member}`;
  const rule = Object.hasOwn(NEEDS, key) ? NEEDS[key] : undefined;
  return rule === undefined ? ROOT : rule(request, context);
}
