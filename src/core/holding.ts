import {
  adoptable,
  countTime,
  expireHolds,
  holdsWithoutOwner,
  isSameContext,
  nextHoldEndMs,
  type Hold,
  type HoldContext,
} from './control/hold.ts';
import { deleteMap, expireMaps, insertMap, nextExpiryBootMs } from './control/map-pool.ts';
import { change, logDeployment, order, type Draft } from './draft.ts';
import type { EventBody } from './event.ts';
import { recordDecision } from './proof.ts';
import { lookAgain } from './request.ts';
import type { UpdateState } from './state.ts';

/** Holds of clients and local control maps: how they come, run out and go. Their rules: control/. */
type Event<K extends EventBody['kind']> = Extract<EventBody, { kind: K }>;

export function addHold(draft: Draft, event: Event<'HoldAdded'>): void {
  const { holds } = draft.state;
  const { at } = draft.event;
  const isBound = event.timeoutSeconds === 0;
  const adopted = isBound ? adoptable(holds, event) : undefined;
  const hold: Hold = {
    id: adopted?.id ?? event.holdId,
    lifetime: isBound ? 'bound' : 'timed',
    points: event.points,
    owner: event.owner,
    why: event.why,
    uid: event.uid,
    pid: event.pid,
    appId: event.appId,
    connection: isBound ? (event.connection ?? '') : '',
    priority: event.priority,
    action: event.action,
    onExpire: event.onExpire,
    deploymentId: event.deploymentId,
    isOnce: event.isOnce,
    sinceWallMs: adopted?.sinceWallMs ?? at.wallMs,
    timeoutMs: event.timeoutSeconds * 1000,
    remainingMs: isBound ? null : event.timeoutSeconds * 1000,
    asOfBootMs: at.bootMs,
    countdown: isBound ? 'none' : 'time',
    isExpired: false,
  };
  const others = holds.filter(({ id }) => id !== hold.id);
  changeHolds(draft, [...others, hold]);
  logDeployment(draft, 'info', `Hold ${hold.id} at ${hold.points.join(', ')} by ${hold.owner}: ${hold.why}`);
  lookAgain(draft, null);
}

export function refreshHold(draft: Draft, event: Event<'HoldRefreshed'>): void {
  const { bootMs } = draft.event.at;
  // It may have run out a moment ago.
  if (!draft.state.holds.some(({ id, lifetime }) => id === event.holdId && lifetime === 'timed')) return;
  const renew = (hold: Hold): Hold =>
    hold.id === event.holdId && hold.lifetime === 'timed'
      ? { ...hold, remainingMs: hold.timeoutMs, asOfBootMs: bootMs, isExpired: false }
      : hold;
  changeHolds(draft, draft.state.holds.map(renew));
  lookAgain(draft, null);
}

export function releaseHold(draft: Draft, event: Event<'HoldReleased'>): void {
  const hold = draft.state.holds.find(({ id }) => id === event.holdId);
  if (!hold) return;
  changeHolds(
    draft,
    draft.state.holds.filter((other) => other !== hold),
  );
  if (hold.uid !== event.uid) recordDecision(draft, 'hold-released-by-other', event, { comment: hold.id });
  logDeployment(draft, 'info', `Hold ${hold.id} of ${hold.owner} released by uid ${event.uid}`);
  lookAgain(draft, { kind: 'person', uid: event.uid, app: event.app ?? '' });
}

export function loseHolder(draft: Draft, event: Event<'HolderVanished'>): void {
  const { holds, settings } = draft.state;
  const lost = holds.filter(
    ({ lifetime, connection }) => lifetime === 'bound' && connection === event.connection,
  );
  if (lost.length === 0) return;
  changeHolds(
    draft,
    holdsWithoutOwner(holds, event.connection, {
      nowBootMs: draft.event.at.bootMs,
      lingerMs: settings.holdLingerSeconds * 1000,
    }),
  );
  for (const hold of lost) {
    logDeployment(
      draft,
      'warning',
      `The owner of hold ${hold.id} (${hold.owner}: ${hold.why}) has left the bus`,
    );
  }
  lookAgain(draft, null);
}

/** A map without points is an order to delete: spec/update-control.md section 7. */
export function setControlMap(draft: Draft, event: Event<'ControlMapGiven'>): void {
  const { controlMaps, settings } = draft.state;
  const { map } = event;
  if (map === null) return;
  const { at } = draft.event;
  const pool =
    Object.keys(map.states).length === 0
      ? deleteMap(controlMaps, map.id, map.priority)
      : insertMap(controlMaps, map, {
          origin: 'local',
          uid: event.uid,
          nowWallMs: at.wallMs,
          nowBootMs: at.bootMs,
          lifetimeMs: settings.controlMapExpirationSeconds * 1000,
        });
  if (pool === null) return;
  change(draft, { controlMaps: pool, serial: draft.state.serial + 1 });
  lookAgain(draft, { kind: 'person', uid: event.uid, app: event.app ?? '' });
}

export function holdContextOf(state: UpdateState): HoldContext {
  return { hasDeployment: state.deployment !== null, waitPoint: state.wait?.point ?? null };
}

/** Before anything else an event says: what has run out by its time has run out. */
export function takeInTime(draft: Draft): void {
  const { state, event } = draft;
  const { holds, over } = expireHolds(state.holds, holdContextOf(state), event.at.bootMs);
  const controlMaps = expireMaps(state.controlMaps, event.at.bootMs);
  if (over.length === 0 && controlMaps === state.controlMaps) return;
  change(draft, { holds, controlMaps, serial: state.serial + 1 });
  for (const hold of over) logDeployment(draft, 'info', `Hold ${hold.id} of ${hold.owner} is over`);
  // An owner who does not come back has left; nobody's time has run out.
  const isExpiry = controlMaps !== state.controlMaps || over.some(({ countdown }) => countdown !== 'linger');
  lookAgain(draft, isExpiry ? { kind: 'expiry' } : null);
}

/** After everything else: times that ran or ran not until now, the next alarm, and whose connections matter. */
export function settleHolds(draft: Draft, before: UpdateState): void {
  const context = holdContextOf(before);
  const { bootMs } = draft.event.at;
  const isMoved = !isSameContext(context, holdContextOf(draft.state));
  if (isMoved && draft.event.kind !== 'ServiceStarted') {
    change(draft, { holds: countTime(draft.state.holds, context, bootMs) });
  }
  const { state } = draft;
  watchHolders(draft, draft.event.kind === 'ServiceStarted' ? [] : before.holds, state.holds);
  const isChanged = before.holds !== state.holds || before.controlMaps !== state.controlMaps || isMoved;
  const isOwed = draft.event.kind === 'ServiceStarted' || draft.event.kind === 'AlarmRang';
  if (!isChanged && !isOwed) return;
  const dueMs = [
    nextHoldEndMs(state.holds, holdContextOf(state), bootMs),
    nextExpiryBootMs(state.controlMaps),
  ];
  const due = dueMs.flatMap((ms) => ms ?? []);
  const hadAny = before.holds.length + before.controlMaps.length > 0;
  if (due.length === 0 && !hadAny) return;
  order(draft, {
    kind: 'setAlarm',
    delayMs: due.length === 0 ? null : Math.max(0, Math.min(...due) - bootMs),
  });
}

function watchHolders(draft: Draft, before: readonly Hold[], after: readonly Hold[]): void {
  if (before === after) return;
  const known = connectionsOf(before);
  const wanted = connectionsOf(after);
  for (const connection of wanted) {
    if (!known.has(connection)) order(draft, { kind: 'watchHolder', connection });
  }
  for (const connection of known) {
    if (!wanted.has(connection)) order(draft, { kind: 'unwatchHolder', connection });
  }
}

function connectionsOf(holds: readonly Hold[]): ReadonlySet<string> {
  return new Set(holds.flatMap(({ connection }) => (connection === '' ? [] : [connection])));
}

function changeHolds(draft: Draft, holds: readonly Hold[]): void {
  change(draft, { holds, serial: draft.state.serial + 1 });
}
