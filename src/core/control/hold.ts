import type { HoldPoint, OnExpire } from '../hold-point.ts';

/**
 * A client's reason why an update must wait. Bound: lives with the client's connection. Timed: lives for a time that
 * counts while the update waits at one of its points, or while no update is under way; never during other work.
 * Source: design/dbus-api.md section 4.
 */
export interface Hold {
  /** 12 hex digits. */
  readonly id: string;
  readonly lifetime: 'bound' | 'timed';
  readonly points: readonly HoldPoint[];
  /** For people: the application id, else the name of the program. */
  readonly owner: string;
  readonly why: string;
  readonly uid: number;
  /** −1 = unknown (for example after a restart). */
  readonly pid: number;
  /** '' = none: nobody can adopt it. */
  readonly appId: string;
  /** Of a bound hold whose owner is there: the bus's id and the owner's unique name; '' = no owner at present. */
  readonly connection: string;
  readonly priority: number;
  readonly action: 'pause' | 'fail';
  readonly onExpire: OnExpire;
  /** '' = any deployment. */
  readonly deploymentId: string;
  /** Gone after the first passage of one of its points. */
  readonly isOnce: boolean;
  readonly sinceWallMs: number;
  /** Timed: how long it was asked for. Bound: 0. */
  readonly timeoutMs: number;
  /**
   * Time until it ends by itself, counted as said above, as of `asOfBootMs`; null = it does not run: bound, and the
   * owner is there.
   */
  readonly remainingMs: number | null;
  readonly asOfBootMs: number;
  /**
   * What `remainingMs` counts. time: the timeout. linger: the owner's connection has gone a moment ago (runs in every
   * state). return: the owner is expected back after a reboot.
   */
  readonly countdown: 'none' | 'time' | 'linger' | 'return';
  /** Its time is over and it goes on blocking (`keep-waiting`). */
  readonly isExpired: boolean;
}

/** Source: design/dbus-api.md section 4 "Limits". */
export const HOLD_LIMITS = { perUid: 16, inAll: 64 } as const;

/** Where the update is, as far as the time of holds depends on it. */
export interface HoldContext {
  readonly hasDeployment: boolean;
  /** null = not waiting. */
  readonly waitPoint: HoldPoint | null;
}

export function isSameContext(one: HoldContext, other: HoldContext): boolean {
  return one.hasDeployment === other.hasDeployment && one.waitPoint === other.waitPoint;
}

/** Whether the time of a hold runs at present. */
function isRunning(hold: Hold, context: HoldContext): boolean {
  if (hold.countdown === 'none' || hold.isExpired) return false;
  if (hold.countdown === 'linger' || !context.hasDeployment) return true;
  return context.waitPoint !== null && hold.points.includes(context.waitPoint);
}

/** Milliseconds until the hold ends by itself if nothing changes; null = never so. */
export function remainingMs(hold: Hold, context: HoldContext, nowBootMs: number): number | null {
  if (hold.remainingMs === null || !isRunning(hold, context)) return null;
  return Math.max(0, hold.remainingMs - Math.max(0, nowBootMs - hold.asOfBootMs));
}

/** Counts what has passed in the context that ends now. The same array when no hold has a time that ran. */
export function countTime(holds: readonly Hold[], ending: HoldContext, nowBootMs: number): readonly Hold[] {
  if (holds.every(({ countdown }) => countdown === 'none')) return holds;
  return holds.map((hold) => {
    if (hold.remainingMs === null) return hold;
    const left = remainingMs(hold, ending, nowBootMs);
    return { ...hold, remainingMs: left ?? hold.remainingMs, asOfBootMs: nowBootMs };
  });
}

export interface Expiries {
  readonly holds: readonly Hold[];
  /** What has just ended, or run out and goes on blocking. Empty: `holds` is the array it was. */
  readonly over: readonly Hold[];
}

/**
 * Takes in that time has passed: a hold that is over goes, unless the update waits at one of its points and it says
 * `fail` or `keep-waiting`: then it stays, expired, for the decision at the gate.
 */
export function expireHolds(holds: readonly Hold[], context: HoldContext, nowBootMs: number): Expiries {
  const over = holds.filter((hold) => remainingMs(hold, context, nowBootMs) === 0);
  if (over.length === 0) return { holds, over };
  const isKept = (hold: Hold): boolean =>
    hold.countdown !== 'linger' && hold.onExpire !== 'continue' && context.waitPoint !== null;
  const kept = holds.flatMap((hold): readonly Hold[] => {
    if (!over.includes(hold)) return [hold];
    return isKept(hold) ? [{ ...hold, isExpired: true, remainingMs: 0, asOfBootMs: nowBootMs }] : [];
  });
  return { holds: kept, over };
}

/** Boot time at which the next hold is over, if nothing changes; null = none. */
export function nextHoldEndMs(
  holds: readonly Hold[],
  context: HoldContext,
  nowBootMs: number,
): number | null {
  const left = holds.flatMap((hold) => remainingMs(hold, context, nowBootMs) ?? []);
  return left.length === 0 ? null : nowBootMs + Math.min(...left);
}

/** What remains of the holds after the machine was booted again. Source: design/dbus-api.md "After the reboot". */
export function holdsAfterBoot(
  holds: readonly Hold[],
  nowBootMs: number,
  bootExpiryMs: number,
): readonly Hold[] {
  return holds.flatMap((hold): readonly Hold[] => {
    if (hold.isExpired) return [{ ...hold, asOfBootMs: nowBootMs }];
    if (hold.lifetime === 'timed') {
      return [
        { ...hold, remainingMs: Math.min(hold.timeoutMs, bootExpiryMs), asOfBootMs: nowBootMs, pid: -1 },
      ];
    }
    if (hold.appId === '') return [];
    return [
      {
        ...hold,
        connection: '',
        pid: -1,
        countdown: 'return',
        remainingMs: bootExpiryMs,
        asOfBootMs: nowBootMs,
      },
    ];
  });
}

/** The owner's connection has gone: with an application id it may come back within the linger. */
export function holdsWithoutOwner(
  holds: readonly Hold[],
  connection: string,
  facts: { readonly nowBootMs: number; readonly lingerMs: number },
): readonly Hold[] {
  return holds.flatMap((hold): readonly Hold[] => {
    if (hold.lifetime !== 'bound' || hold.connection !== connection) return [hold];
    if (facts.lingerMs === 0 || hold.appId === '') return [];
    return [
      {
        ...hold,
        connection: '',
        countdown: 'linger',
        remainingMs: facts.lingerMs,
        asOfBootMs: facts.nowBootMs,
      },
    ];
  });
}

/** A hold whose owner has gone, which the same application may take over. */
export function adoptable(
  holds: readonly Hold[],
  claim: { readonly uid: number; readonly appId: string; readonly points: readonly HoldPoint[] },
): Hold | undefined {
  if (claim.appId === '') return undefined;
  const wanted = [...claim.points].sort().join();
  return holds.find(
    (hold) =>
      hold.lifetime === 'bound' &&
      hold.connection === '' &&
      hold.uid === claim.uid &&
      hold.appId === claim.appId &&
      [...hold.points].sort().join() === wanted,
  );
}

/** Releases what a Continue of this connection releases: its bound holds at the point. */
export function withoutOwnAt(holds: readonly Hold[], connection: string, point: HoldPoint): readonly Hold[] {
  if (connection === '') return holds;
  return releasedAt(holds, point, (hold) => hold.lifetime === 'bound' && hold.connection === connection);
}

/** Releases everything that only waits there; a refusal stays one. */
export function withoutPausesAt(holds: readonly Hold[], point: HoldPoint): readonly Hold[] {
  return releasedAt(holds, point, (hold) => hold.action === 'pause');
}

/** A hold goes on at its other points. */
function releasedAt(
  holds: readonly Hold[],
  point: HoldPoint,
  isMeant: (hold: Hold) => boolean,
): readonly Hold[] {
  const isReleased = (hold: Hold): boolean => hold.points.includes(point) && isMeant(hold);
  if (!holds.some(isReleased)) return holds;
  return holds.flatMap((hold): readonly Hold[] => {
    if (!isReleased(hold)) return [hold];
    const points = hold.points.filter((other) => other !== point);
    return points.length === 0 ? [] : [{ ...hold, points }];
  });
}
