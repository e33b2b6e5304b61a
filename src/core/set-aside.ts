import { announce, change, order, type Draft } from './draft.ts';
import type { EventBody } from './event.ts';
import type { Deployment, SetAside, UpdateState } from './state.ts';

/**
 * Deployments of the server that failed here, and what becomes of them when they are offered again (design/faults.md R31,
 * docs/decisions/0030). A device must not go round in circles with an update that does not work on it:
 *
 * - Once its installation was begun, or a person has said no, a deployment is tried again only when a person asks for it.
 * - One that failed before (a broken download, no space) is tried again by itself, each time after twice as many offers
 *   have been passed over. Offers come with the checks, so that this needs no clock.
 * - Another deployment, also of the same artifact, is another order: it is tried.
 */
type Offer = Pick<SetAside, 'deploymentId' | 'artifactName'>;

/** Remembered; the oldest go first. */
const KEPT = 20;
/** A day of checks every half hour. */
const MOST_SKIPPED = 47;

/** What is done with the offer: `taken`, or passed over because it failed or was refused. */
export type OfferVerdict = 'taken' | 'set-aside' | 'refused';

export function judgeOffer(draft: Draft, offer: Offer): OfferVerdict {
  const entry = draft.state.setAside.find((one) => isOf(one, offer));
  if (entry === undefined) return wasRefused(draft.state, offer) ? 'refused' : 'taken';
  if (entry.isRetryWanted) {
    replace(draft, entry, { isRetryWanted: false, offeredWallMs: 0 });
    return 'taken';
  }
  if (!entry.needsPerson && entry.offersToSkip === 0) return 'taken';
  // The server has not heard of it, or its word has been lost: said once more, and not at each offer.
  if (entry.needsPerson && !entry.isToldAgain && entry.failure.name !== 'AbortedByUser') {
    order(draft, {
      kind: 'reportStatus',
      workId: draft.state.workId,
      deploymentId: entry.deploymentId,
      status: 'failure',
      substate: '',
    });
  }
  replace(draft, entry, {
    offeredWallMs: draft.event.at.wallMs,
    offersToSkip: Math.max(0, entry.offersToSkip - 1),
    isToldAgain: entry.needsPerson,
  });
  return entry.failure.name === 'AbortedByUser' ? 'refused' : 'set-aside';
}

/** Nothing is offered any more: what was set aside is nobody's concern at present. */
export function forgetOffers(draft: Draft): void {
  const { setAside } = draft.state;
  if (setAside.every(({ offeredWallMs }) => offeredWallMs === 0)) return;
  change(draft, {
    setAside: setAside.map((entry) => ({ ...entry, offeredWallMs: 0 })),
    serial: draft.state.serial + 1,
  });
}

/** A deployment is over: remembered if it failed, forgotten if it did not. */
export function rememberEnd(draft: Draft, deployment: Deployment, hasBegunInstalling: boolean): void {
  const { failure } = deployment;
  if (deployment.source !== 'server') return;
  const offer: Offer = { deploymentId: deployment.id, artifactName: deployment.announcedName };
  const before = draft.state.setAside.find((one) => isOf(one, offer));
  const others = draft.state.setAside.filter((one) => one !== before);
  // What the server has ended is its own affair.
  if (failure === null || failure.name === 'AbortedByServer') {
    if (before !== undefined) change(draft, { setAside: others });
    return;
  }
  const tries = (before?.tries ?? 0) + 1;
  const entry: SetAside = {
    ...offer,
    tries,
    needsPerson: hasBegunInstalling || deployment.endRequest !== null,
    offersToSkip: Math.min(2 ** (tries - 1) - 1, MOST_SKIPPED),
    isRetryWanted: false,
    isToldAgain: false,
    failure,
    failedWallMs: draft.event.at.wallMs,
    offeredWallMs: 0,
  };
  change(draft, { setAside: [entry, ...others].slice(0, KEPT) });
}

/** A person wants it tried again at the next offer. */
export function wantRetry(draft: Draft, event: Extract<EventBody, { kind: 'RetryRequested' }>): void {
  const entry = draft.state.setAside.find(({ deploymentId }) => deploymentId === event.deploymentId);
  if (entry !== undefined) replace(draft, entry, { isRetryWanted: true });
}

/** What a check that found nothing to do is told as. */
export function announceSetAside(draft: Draft, offer: Offer): void {
  const name = draft.state.setAside.find((one) => isOf(one, offer))?.failure.name ?? '';
  announce(draft, { kind: 'CheckFinished', result: 'set-aside', errorName: name });
}

/** Another artifact under the same id is another order. */
function isOf(entry: SetAside, { deploymentId, artifactName }: Offer): boolean {
  return entry.deploymentId === deploymentId && entry.artifactName === artifactName;
}

/** Of before this was remembered: the history has it. */
function wasRefused({ history }: UpdateState, { deploymentId }: Offer): boolean {
  return history.some(
    ({ deploymentId: id, result, failure }) =>
      id === deploymentId &&
      (result === 'aborted' ||
        failure?.name === 'AbortedByUser' ||
        failure?.details['cause-name'] === 'AbortedByUser'),
  );
}

function replace(draft: Draft, entry: SetAside, changes: Partial<SetAside>): void {
  const { setAside, serial } = draft.state;
  change(draft, {
    setAside: setAside.map((one) => (one === entry ? { ...entry, ...changes } : one)),
    serial: serial + 1,
  });
}
