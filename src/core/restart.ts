import { change, changeDeployment, logDeployment, order, recordFailure, type Draft } from './draft.ts';
import type { EventBody } from './event.ts';
import { choose, countCheckpoint, enter } from './walk.ts';
import { FLOW } from './transition-table.ts';
import { recordPassage, waitedMs } from './waiting.ts';

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
    serial: before.serial + 1,
    installed: event.bootstrap ?? before.installed,
  });

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

  const target = choose(draft, row.restart);
  let to = target.to;
  if (row.work.kind !== 'gate') to = countCheckpoint(draft, to);

  if (wait !== null) {
    changeDeployment(draft, {
      carriedWait: {
        point: wait.point,
        spentMs: isSameBoot ? waitedMs(wait, draft.event.at.bootMs) : wait.waitedMs,
        notice: !isSameBoot && wait.point === 'ArtifactCommit_Enter' ? 'rebooted-while-uncommitted' : '',
      },
    });
  }
  change(draft, { bootId: event.bootId, wait: null });
  if (row.work.kind === 'gate' && to !== before.step && to !== 'commit-reverify') {
    recordPassage(draft, row.work.point, ['rebooted-by-hand']);
  }
  enter(draft, to, to === before.step);
}
