import { DECISIONS_KEPT, MAX_UNWRITTEN, type DecisionEntry } from './control/journal.ts';
import { change, changeDeployment, order, type Draft } from './draft.ts';
import type { Caller } from './event.ts';
import type { HoldPoint } from './hold-point.ts';

/** Writes down who decided what: into the deployment, and into the journal. Source: design/stories.md 24. */
export function recordDecision(
  draft: Draft,
  kind: DecisionEntry['kind'],
  by: Caller,
  facts: { readonly point?: HoldPoint | ''; readonly seconds?: number; readonly comment?: string } = {},
): void {
  const { deployment, journal } = draft.state;
  const entry: DecisionEntry = {
    seq: journal.lastSeq + 1,
    kind,
    atWallMs: draft.event.at.wallMs,
    uid: by.uid,
    app: by.app ?? '',
    deploymentId: deployment?.id ?? '',
    artifactName: deployment?.artifact?.artifactName ?? deployment?.announcedName ?? '',
    digest: deployment?.artifact?.digest ?? '',
    point: facts.point ?? '',
    seconds: facts.seconds ?? 0,
    comment: facts.comment ?? '',
  };
  const unwritten = [...journal.unwritten, entry].slice(-MAX_UNWRITTEN);
  change(draft, { journal: { lastSeq: entry.seq, unwritten } });
  if (deployment) {
    changeDeployment(draft, { decisions: [...deployment.decisions, entry].slice(-DECISIONS_KEPT) });
  }
  // With those that an earlier write has failed: the file is always without gaps, and has no entry twice.
  order(draft, { kind: 'writeJournal', entries: unwritten });
}

export function forgetWritten(draft: Draft, seq: number): void {
  const { journal } = draft.state;
  const unwritten = journal.unwritten.filter((entry) => entry.seq > seq);
  if (unwritten.length !== journal.unwritten.length) change(draft, { journal: { ...journal, unwritten } });
}
