import {
  catchError,
  concatMap,
  defer,
  distinctUntilChanged,
  EMPTY,
  filter,
  map,
  type Observable,
} from 'rxjs';
import type { Installed } from '../core/artifact.ts';
import { UpdateError } from '../core/errors.ts';
import { isTakenOver, takeOver, type MenderTakeover } from '../core/mender-takeover.ts';
import type { StandaloneRecord } from '../core/standalone.ts';
import type { UpdateState } from '../core/state.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { MenderStore, MenderStoreExport } from '../ports/mender-store.ts';
import type { LoadResult, Store } from '../ports/store.ts';
import type { Tick } from './machine.ts';

/**
 * Coming from a Mender client, and going back to it. Its store is read once, when this service has no state of its own
 * and never had; it is written only when an update that the client began is committed, and on request.
 * Source: design/compatibility.md "Store".
 */
export interface TakeoverTools {
  readonly menderStore: MenderStore;
  readonly states: Store<UpdateState>;
  readonly records: Store<StandaloneRecord | null>;
  readonly clock: Pick<Clock, 'now'>;
  readonly bootId: string;
  readonly log: Log;
}

/**
 * To be called with what `states` loaded, before anything else is made of it, under the lock of the datastore. What is
 * taken over is stored when this resolves, so that a later start does not look at the Mender store again.
 * @returns null = not a first start, or nothing to take over: go on as without a Mender client
 * @throws UpdateError of kind `store`: the start is to be refused; nothing was changed
 */
export async function takeOverFromMender(
  tools: TakeoverTools,
  loaded: LoadResult<UpdateState>,
): Promise<MenderTakeover | null> {
  const { menderStore, states, records, clock, bootId, log } = tools;
  // A damaged state of ours is no first start: what the Mender store says was true before all that was lost.
  if (loaded.document !== null || loaded.generation > 0 || loaded.complaints.length > 0) return null;
  const content = await menderStore.read();
  if (content === null) return null;
  const result = takeOver(content, { ...clock.now(), bootId });
  for (const { key, message } of result.complaints) {
    log.error('A value in the Mender store is not taken over', { key, complaint: message });
  }
  const { seed, installed, standalone } = result;
  if (installed === null && standalone === null && seed.deployment === null) return null;
  // First the record of the command line: a cut in between, and all of it is read once more.
  if (standalone !== null && (await records.load()).document === null) await records.save(standalone);
  await states.save(seed);
  log.info('Taken over from the Mender client', {
    artifactName: seed.installed.artifactName,
    deploymentId: seed.deployment?.id ?? '',
    step: seed.step,
    standalone: standalone?.inState ?? '',
    controlMaps: seed.controlMaps.length,
  });
  for (const note of result.notes) log.info(note);
  return result;
}

/**
 * Writes the Mender store anew once an update that the client began is committed, and again if what is installed turns
 * out otherwise (a failing ArtifactCommit_Leave). Emits nothing and never fails: an update does not depend on it.
 * `remember`: told of each writing; whoever lets go of the datastore waits for it.
 */
export function renewMenderStore(
  tick$: Observable<Pick<Tick, 'after'>>,
  menderStore: MenderStore,
  log: Log,
  remember: (writing: Promise<void>) => void,
): Observable<never> {
  return tick$.pipe(
    map(({ after }) => after),
    filter(({ deployment }) => deployment !== null && deployment.isCommitted && isTakenOver(deployment)),
    map(({ installed }) => installed),
    distinctUntilChanged((one, other) => JSON.stringify(one) === JSON.stringify(other)),
    // In order: the last one is what is true.
    concatMap((installed) =>
      defer(() => {
        const writing = writeAndTell(installed, menderStore, log);
        remember(writing);
        return writing;
      }).pipe(
        catchError(() => EMPTY),
        concatMap(() => EMPTY),
      ),
    ),
  );
}

async function writeAndTell(installed: Installed, menderStore: MenderStore, log: Log): Promise<void> {
  try {
    const { keptAs } = await menderStore.write(installed);
    log.info('The Mender store was written anew', {
      artifactName: installed.artifactName,
      keptAs: keptAs ?? '',
    });
  } catch (error) {
    log.error('The Mender store could not be written anew; export-mender-store does it later', {
      err: error,
    });
  }
}

/**
 * For going back to the Mender client; under the lock of the datastore, so with the service stopped. Rejects (kind
 * `wrongState`) while an update is under way or not committed: the client would neither finish it nor roll it back.
 */
export async function exportMenderStore(
  tools: Pick<TakeoverTools, 'menderStore' | 'states' | 'records'>,
): Promise<MenderStoreExport & { readonly installed: Installed }> {
  const { document: state } = await tools.states.load();
  if (state === null) {
    throw new UpdateError(
      'wrongState',
      'there is nothing to export: no state of this service is stored here',
      {
        details: { reason: 'no-state' },
      },
    );
  }
  if (state.deployment !== null) {
    const { id } = state.deployment;
    throw new UpdateError(
      'wrongState',
      `the deployment ${id} is under way (${state.step}): let it end first`,
      {
        details: { reason: 'update-in-progress', 'deployment-id': id },
      },
    );
  }
  const { document: record } = await tools.records.load();
  if (record !== null) {
    throw new UpdateError(
      'wrongState',
      `the installation of ${record.artifactName} is not over: use 'commit' or 'rollback' first`,
      { details: { reason: 'standalone-pending', 'artifact-name': record.artifactName } },
    );
  }
  return { ...(await tools.menderStore.write(state.installed)), installed: state.installed };
}
