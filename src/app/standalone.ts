import type { ArtifactLocation, Installed } from '../core/artifact.ts';
import { failureOf, UpdateError, type Failure } from '../core/errors.ts';
import {
  beginRun,
  followRun,
  INSTALL_RUN,
  isStopHere,
  recordToStore,
  settle,
  type StandaloneCommand,
  type StandaloneRecord,
  type StandaloneRun,
} from '../core/standalone.ts';
import { STANDALONE_FLOW, type StandaloneOutcome, type StopPoint } from '../core/standalone-table.ts';
import type { UpdateState } from '../core/state.ts';
import { applyProvides } from '../core/provides.ts';
import { FLOW } from '../core/transition-table.ts';
import type { OpenArtifact } from '../ports/artifact-reader.ts';
import type { Store } from '../ports/store.ts';
import { beginDownload, receivePayload } from './download.ts';
import type { Ports } from './ports.ts';

/**
 * Drives the standalone flow over the ports: stores the record, does the work of the step, follows the outcome.
 * Whoever calls this holds the lock of the datastore. Source: spec/update-flow.md section 9.2.
 */
export interface StandaloneTools extends Pick<
  Ports,
  'source' | 'reader' | 'modules' | 'scripts' | 'system' | 'verifyKeyPaths' | 'log'
> {
  /** null stored = no update is pending. */
  readonly records: Store<StandaloneRecord | null>;
  /** The document of the service: what is installed is recorded there, whoever installed it. */
  readonly states: Store<UpdateState>;
}

export type StandaloneRequest = { readonly stops: readonly StopPoint[] } & (
  | { readonly command: StandaloneCommand }
  | { readonly command: 'install'; readonly location: ArtifactLocation }
);

/** Ctrl-C: the first ends the work, the second also what clears up behind it. */
export interface Interrupts {
  readonly first: AbortSignal;
  readonly second: AbortSignal;
}

export interface StandaloneWatcher {
  /** The artifact is open; nothing has been verified. `sizeBytes`: −1 = unknown. */
  onOpen?(sizeBytes: number): void;
  onBytes(downloadedBytes: number, sizeBytes: number): void;
}

export interface StandaloneResult {
  /** `refused`: the command is not possible now; nothing was done. */
  readonly kind: 'ended' | 'interrupted' | 'nothing-pending' | 'already-pending' | 'refused';
  readonly deeds: StandaloneRun['deeds'];
  readonly failure: Failure | null;
  /** What the next command will find; null = nothing pending. */
  readonly record: StandaloneRecord | null;
}

/** Rejects only for what came before any work: stores that cannot be read, an update of the service under way. */
export async function runStandalone(
  tools: StandaloneTools,
  request: StandaloneRequest,
  interrupts: Interrupts,
  watcher: StandaloneWatcher,
): Promise<StandaloneResult> {
  const stored = await tools.records.load();
  for (const complaint of stored.complaints) tools.log.error('Stored standalone update', { complaint });
  const pending = stored.document;
  if (request.command === 'install') {
    if (pending !== null) return notRun('already-pending', pending);
    const state = await requireIdle(tools);
    return drive(tools, { run: INSTALL_RUN, stored: null, state, request }, interrupts, watcher);
  }
  if (pending === null) return notRun('nothing-pending', null);
  const run = beginRun(pending, request.command, tools.system.bootId());
  if (run === null) return notRun('refused', pending);
  const state = await requireIdle(tools);
  return drive(tools, { run, stored: pending, state, request }, interrupts, watcher);
}

interface Drive {
  readonly run: StandaloneRun;
  readonly stored: StandaloneRecord | null;
  readonly state: UpdateState;
  readonly request: StandaloneRequest;
}

async function drive(
  tools: StandaloneTools,
  from: Drive,
  interrupts: Interrupts,
  watcher: StandaloneWatcher,
): Promise<StandaloneResult> {
  const { request } = from;
  let { run, stored, state } = from;
  let artifact: OpenArtifact | null = null;
  let isInterrupted = false;

  async function save(record: StandaloneRecord | null): Promise<Failure | null> {
    try {
      await tools.records.save(record);
      stored = record;
      return null;
    } catch (error) {
      tools.log.error('The standalone update could not be stored', { err: error });
      return failureOf(error);
    }
  }

  async function saveInstalled(installed: Installed): Promise<void> {
    const next = { ...state, installed, serial: state.serial + 1 };
    await tools.states.save(next);
    state = next;
  }

  async function work(signal: AbortSignal): Promise<StandaloneOutcome> {
    const { work: todo } = STANDALONE_FLOW[run.step];
    const payloadType = run.record?.payloadType ?? '';
    switch (todo.kind) {
      case 'none':
        return 'done';
      case 'open': {
        if (request.command !== 'install') throw new UpdateError('internal', 'nothing to open');
        const { location } = request;
        let sizeBytes = -1;
        const opened = await beginDownload(
          tools,
          { location, requiredDigest: '', announcedName: '', installed: state.installed },
          {
            onOpen: (bytes) => watcher.onOpen?.(bytes),
            onBytes: (bytes) => watcher.onBytes(bytes, sizeBytes),
            mayContinue: () => null,
          },
          signal,
        );
        artifact = opened.artifact;
        sizeBytes = opened.sizeBytes;
        run = { ...run, record: firstRecord(artifact) };
        return artifact.info.payloadType === null ? 'empty' : 'done';
      }
      case 'finish-empty': {
        if (artifact === null) throw new UpdateError('internal', 'no artifact is open');
        await artifact.finish();
        await saveInstalled(applyProvides(state.installed, artifact.info));
        run = { ...run, record: null };
        return 'done';
      }
      case 'download': {
        if (artifact === null) throw new UpdateError('internal', 'no artifact is open');
        const sizeBytes = await receivePayload(tools, artifact, signal);
        watcher.onBytes(sizeBytes, sizeBytes);
        return 'done';
      }
      case 'scripts': {
        const { family, action, runsAll } = todo;
        await tools.scripts.run({ family, action, runsAll }, signal);
        return 'done';
      }
      case 'module':
        await tools.modules.run(payloadType, todo.action, signal);
        return 'done';
      case 'ask-needs-reboot':
        if ((await tools.modules.needsReboot(payloadType, signal)) === 'No') return 'done';
        run = { ...run, record: run.record && { ...run.record, rebootAskedIn: tools.system.bootId() } };
        return 'reboot';
      case 'ask-supports-rollback':
        return (await tools.modules.supportsRollback(payloadType, signal)) ? 'supported' : 'unsupported';
      case 'cleanup':
        return cleanUp(payloadType, signal);
    }
  }

  async function cleanUp(payloadType: string, signal: AbortSignal): Promise<StandaloneOutcome> {
    let problem: unknown;
    const note = (error: unknown): void => {
      problem ??= error;
    };
    await tools.modules.run(payloadType, 'Cleanup', signal).catch(note);
    // Stopped, so it is to be done again: the record and the tree stay for that.
    if (signal.aborted) throw problem ?? new UpdateError('cancelled', 'the clean-up was stopped');
    await tools.modules.removeTree().catch(note);
    if (run.record !== null) {
      const installed = settle(state.installed, run.record);
      // What is installed first, the record after it: in between, the clean-up is done once more.
      if (installed !== state.installed) await saveInstalled(installed);
    }
    // Not only when one was stored by us: a save that was reported as failed may yet have reached the disk.
    const unsaved = await save(null);
    if (unsaved !== null) {
      throw new UpdateError(
        'store',
        `the update is done, but its record could not be removed: ${unsaved.message}`,
      );
    }
    run = { ...run, record: null };
    if (problem !== undefined) throw problem;
    return 'done';
  }

  try {
    while (run.step !== 'end') {
      const row = STANDALONE_FLOW[run.step];
      const record = recordToStore(run);
      let outcome: StandaloneOutcome | null = null;
      let failure: Failure | null = null;
      if (record !== null) {
        run = { ...run, record };
        failure = await save(record);
        if (failure !== null && row.whenNotStored !== 'proceed') outcome = 'not-stored';
      }
      const signal = isInterrupted ? interrupts.second : interrupts.first;
      if (outcome === null && isStopHere(run, request.stops) && stored !== null) break;
      if (outcome === null && row.work.kind === 'none' && !signal.aborted) outcome = 'done';
      if (outcome === null) {
        try {
          signal.throwIfAborted();
          outcome = await work(signal);
          failure = null;
        } catch (error) {
          failure = failureOf(error);
          outcome = 'failed';
          if (signal.aborted) {
            const isFirst = !isInterrupted;
            isInterrupted = true;
            // Without a record the next install begins afresh, and clears away what is left now.
            if (row.interrupt !== 'undo' && (stored !== null || !isFirst)) break;
          } else if (!(error instanceof UpdateError)) {
            tools.log.error('Unexpected error', { err: error });
          } else {
            tools.log.warn('A step failed', { step: run.step, errorMessage: error.message });
          }
        }
      }
      run = followRun(run, outcome, failure);
    }
  } finally {
    await (artifact as OpenArtifact | null)?.close();
  }
  // This command tells of its failures; the next one must not tell of them again.
  const left = stored as StandaloneRecord | null;
  if (left?.hasFailed === true) await save({ ...left, hasFailed: false });
  return {
    kind: isInterrupted ? 'interrupted' : 'ended',
    deeds: run.deeds,
    failure: run.failure,
    record: stored,
  };
}

/** Two flows must not share one file tree and one set of artifact scripts. */
async function requireIdle({ states }: StandaloneTools): Promise<UpdateState> {
  const { document: state } = await states.load();
  if (state === null) throw new UpdateError('internal', 'what is installed has not been recorded');
  if (state.deployment === null) return state;
  const { step } = FLOW[state.step];
  throw new UpdateError(
    'wrongState',
    `the service was stopped in the middle of an update (${step}); start it again so that it can end it`,
    { details: { step, 'deployment-id': state.deployment.id } },
  );
}

function firstRecord({ info }: OpenArtifact): StandaloneRecord {
  return {
    artifactName: info.artifactName,
    artifactGroup: info.artifactGroup,
    provides: info.provides,
    clearsProvides: info.clearsProvides,
    payloadType: info.payloadType ?? '',
    inState: 'Before_ArtifactInstall_Enter',
    hasFailed: false,
    isRolledBack: false,
    verdict: null,
    rebootAskedIn: '',
  };
}

function notRun(kind: StandaloneResult['kind'], record: StandaloneRecord | null): StandaloneResult {
  return { kind, deeds: [], failure: null, record };
}
