/**
 * Inside the real service: ends its process by SIGKILL in the save that $HOLDPOINT_TEST_STRIKE names, or fails its file
 * operations there. Saves are counted in a file, over all starts, as trial.ts counts them.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import { realStoreFiles, type StoreFiles } from '../../../src/adapters/store/store-files.ts';
import { FaultyFiles } from '../faulty-files.ts';
import { FAULTS_OF_FILES, type Strike } from './plan.ts';

export interface StrikeOrder extends Strike {
  /** Where the saves of each step are counted. */
  readonly counts: string;
  /** Made when the fault was met. */
  readonly mark: string;
}

const text = process.env['HOLDPOINT_TEST_STRIKE'];
if (text !== undefined) arm(JSON.parse(text) as StrikeOrder);

function arm(order: StrikeOrder): void {
  const real: StoreFiles = { ...realStoreFiles };
  const die = (): void => {
    writeFileSync(order.mark, '');
    process.kill(process.pid, 'SIGKILL');
  };
  const faulty = new FaultyFiles(real, die);
  Object.assign(realStoreFiles, {
    makeDirectory: faulty.makeDirectory.bind(faulty),
    create: faulty.create.bind(faulty),
    overwrite: faulty.overwrite.bind(faulty),
    read: faulty.read.bind(faulty),
    rename: faulty.rename.bind(faulty),
    remove: faulty.remove.bind(faulty),
    list: faulty.list.bind(faulty),
    syncFile: faulty.syncFile.bind(faulty),
    syncDirectory: faulty.syncDirectory.bind(faulty),
    freeBytes: faulty.freeBytes.bind(faulty),
  } satisfies StoreFiles);

  const save = Object.getOwnPropertyDescriptor(FileStore.prototype, 'save')?.value as (
    this: unknown,
    document: unknown,
  ) => Promise<void>;
  FileStore.prototype.save = async function (this: unknown, document: unknown): Promise<void> {
    const step = (document as { state?: { step?: string } }).state?.step;
    // Records of the command line are saved by the same code.
    if (step === undefined || count(order.counts, step) !== order.save) return save.call(this, document);
    if (order.fault === 'kill-before' || order.fault === 'cut-before') die();
    const fault = FAULTS_OF_FILES[order.fault];
    if (fault) faulty.setFault(order.fault === 'torn' ? { ...fault, tear: 0.05 } : fault);
    try {
      await save.call(this, document);
    } finally {
      if (fault && faulty.strikes > 0) writeFileSync(order.mark, '');
      if (order.fault === 'fsync') faulty.setFault(null);
    }
    if (order.fault === 'kill-after' || order.fault === 'cut-after') die();
  };
}

function count(path: string, step: string): string {
  const counts = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Record<string, number>) : {};
  const occurrence = (counts[step] ?? 0) + 1;
  writeFileSync(path, JSON.stringify({ ...counts, [step]: occurrence }));
  return `${step}#${occurrence}`;
}
