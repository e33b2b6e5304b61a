import { change, changeDeployment, logDeployment, order, recordFailure, type Draft } from './draft.ts';
import type { EventBody } from './event.ts';
import { countTime, expireHolds, holdsAfterBoot } from './control/hold.ts';
import { reviveMaps } from './control/map-pool.ts';
import { holdContextOf } from './holding.ts';
import { choose, countCheckpoint, enter } from './walk.ts';
import { FLOW } from './transition-table.ts';
import { NOTHING_PLANNED, type UpdateState } from './state.ts';
import { waitedMs } from './wait-time.ts';
import { recordPassage } from './waiting.ts';

/** More changes than are ever published between two saves: the serial must not go back after a crash. */
const UNSAVED_SERIALS = 1_000_000;

/**
 * Where the flow goes on after the process or the device has been restarted: the `restart` column of the table.
 * Source: spec/update-flow.md section 6.3, design/compatibility.md "A wait", "Loop limit".
 */
export function restart(draft: Draft, event: Extract<EventBody, { kind: 'ServiceStarted' }>): void {
  const before = draft.state;
  const isSameBoot = before.bootId === event.bootId;
  // Tickets die with the process that gave them out.
  change(draft, {
    settings: event.settings,
    passedTickets: [],
    workId: before.workId + 1,
    serial: before.serial + UNSAVED_SERIALS,
    installed: event.bootstrap ?? before.installed,
    visit: null,
    schedule: NOTHING_PLANNED,
    isStartUnstored: false,
    isCommitUnstored: false,
  });
  reviveControl(draft, before, isSameBoot);

  const { deployment, wait } = before;
  if (deployment === null) {
    change(draft, { bootId: event.bootId, wait: null });
    enter(draft, 'idle-enter');
    return;
  }

  const row = FLOW[before.step];
  order(draft, { kind: 'openDeploymentLog', deploymentId: deployment.id });
  logDeployment(
    draft,
    'warning',
    `The ${isSameBoot ? 'service' : 'device'} was restarted in ${row.step} (${before.step})`,
  );
  if (row.isRestartFailure) {
    recordFailure(draft, {
      name: 'PowerLoss',
      message: `the ${isSameBoot ? 'service' : 'device'} was restarted during ${row.step}`,
      details: { step: row.step, 'same-boot': isSameBoot },
    });
  }

  const target = choose(draft, row.restart).to;
  const to = row.work.kind === 'gate' ? target : countCheckpoint(draft, target);

  if (wait !== null) {
    changeDeployment(draft, {
      carriedWait: {
        point: wait.point,
        spentMs: isSameBoot ? waitedMs(wait, draft.event.at.bootMs) : wait.waitedMs,
        snoozedMs: wait.snoozedMs,
        notice:
          !isSameBoot && wait.point === 'ArtifactCommit_Enter' ? 'rebooted-while-uncommitted' : wait.notice,
      },
    });
  }
  change(draft, { bootId: event.bootId, wait: null });
  if (row.work.kind === 'gate' && to !== before.step && to !== 'commit-reverify') {
    recordPassage(draft, row.work.point, ['rebooted-by-hand']);
  }
  // The same step again, or the way out of a loop: both have been counted just now or before.
  enter(draft, to, to === before.step || to !== target);
}

/** Holds, maps and proofs that were stored. Source: design/compatibility.md, design/dbus-api.md "After the reboot". */
function reviveControl(draft: Draft, before: UpdateState, isSameBoot: boolean): void {
  const { settings, journal } = draft.state;
  const { bootMs } = draft.event.at;
  const bootExpiryMs = settings.controlMapBootExpirationSeconds * 1000;
  const context = holdContextOf(before);
  change(draft, {
    holds: isSameBoot
      ? // What ran out while nobody was there is over before anything is decided.
        expireHolds(countTime(before.holds, context, bootMs), context, bootMs).holds
      : holdsAfterBoot(before.holds, bootMs, bootExpiryMs),
    controlMaps: reviveMaps(before.controlMaps, bootMs, bootExpiryMs),
  });
  // What was found well before the reboot says nothing about what runs now.
  if (!isSameBoot) changeDeployment(draft, { healthReports: [] });
  if (journal.unwritten.length > 0) order(draft, { kind: 'writeJournal', entries: journal.unwritten });
}
