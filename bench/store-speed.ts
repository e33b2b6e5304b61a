/** What keeping a state costs: one save of a state as it is in the middle of an update, and a line of its log. */
import { join } from 'node:path';
import { FileDeploymentLog } from '../src/adapters/log/deployment-log.ts';
import { FileStore } from '../src/adapters/store/file-store.ts';
import { documentOf, parseStateDocument, type StateDocument } from '../src/adapters/store/state-document.ts';
import { SystemClock } from '../src/adapters/system/clock.ts';
import { initialState, NOTHING_INSTALLED } from '../src/core/state.ts';
import { RecordingLog } from '../test/support/recording-log.ts';
import type { BenchOptions } from './options.ts';
import type { Row } from './report.ts';
import type { Scratch } from './scratch.ts';
import { percentile } from './statistics.ts';
import { timed } from './turns.ts';

const LOG_LINES = 10_000;

export async function benchStore(
  options: BenchOptions,
  scratch: Scratch,
  say: (text: string) => void,
): Promise<readonly Row[]> {
  say(`store: ${options.saves} saves`);
  const directory = join(scratch.folder, 'store');
  const store = new FileStore<StateDocument>({ directory, name: 'state', parse: parseStateDocument });
  await store.load();
  const document = documentOf(initialState(NOTHING_INSTALLED));
  const times: number[] = [];
  for (let count = 0; count < options.saves; count++) times.push(await timed(() => store.save(document)));

  const log = new FileDeploymentLog(
    { folder: join(scratch.folder, 'logs'), minFreeBytes: 0 },
    new SystemClock(),
    new RecordingLog(),
  );
  await log.open('00000000-0000-4000-8000-000000000000');
  const logMs = await timed(async () => {
    for (let count = 0; count < LOG_LINES; count++) {
      log.write('info', `Running state script ArtifactInstall_Enter_${count}`);
      if (count % 100 === 0) await log.flush();
    }
    await log.flush();
  });
  await log.close();
  const row = (name: string, ours: number, note?: string): Row => ({
    name,
    unit: 'ms',
    ours,
    peer: null,
    target: null,
    ...(note === undefined ? {} : { note }),
  });
  return [
    row('a stored transition, p50', percentile(times, 0.5), 'written over the older of two files, synced'),
    row('a stored transition, p99', percentile(times, 0.99)),
    row('1000 lines of the deployment log', (logMs / LOG_LINES) * 1000, 'flushed after every hundred'),
  ];
}
