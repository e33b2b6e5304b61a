/**
 * The client's side of the Download hand-shake. Source: spec/update-modules.md section 4.
 *
 * Rules: the module asks by opening `stream-next`. It gets one line per file, reads the FIFO named there, and
 * learns by a read of length zero that there are no more. A module that ends before that read has not downloaded;
 * one that ends well without ever having asked does not stream at all, and finds the files in `files/` later.
 * Whatever goes wrong on either side, nobody is left waiting: we never block in an open, the module's group is
 * killed, and the source is let go.
 */
import { closeSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PayloadFile } from '../../ports/artifact-reader.ts';
import { abortsSoon, makeFifos, type ProcessEnd, type RunningProcess } from '../system/process.ts';
import { codeOf, endError, moduleError, storageError, textOf, type Call } from './errors.ts';
import {
  ENDED,
  fifoWriter,
  openForWriting,
  watchModule,
  writeLineAndClose,
  type ModuleWatch,
} from './fifo.ts';
import { requireSafeFile, requireSize, stopped } from './payload-store.ts';

/** Time a module gets to say by its exit status why it stopped reading. */
const CLOSED_EARLY_GRACE_MS = 5000;

export interface StreamRequest {
  readonly tree: string;
  readonly call: Call;
  /** Whether sizes are announced (DownloadWithFileSizes). */
  readonly withSizes: boolean;
  readonly timeoutSeconds: number;
  /** Starts the module once `stream-next` is there. */
  readonly start: () => Promise<RunningProcess>;
  readonly files: AsyncIterable<PayloadFile>;
  readonly signal: AbortSignal;
}

/**
 * Runs the module and hands it the files if it asks for them. Resolves with `files-not-wanted` when it ended well
 * without asking; no file has been taken from `files` then. Rejects with the source's own error, or with one of
 * kind `module`, `timeout`, `cancelled`, `store`.
 */
export async function streamPayload(request: StreamRequest): Promise<'streamed' | 'files-not-wanted'> {
  const next = join(request.tree, 'stream-next');
  const folder = join(request.tree, 'streams');
  try {
    await rm(next, { recursive: true, force: true });
    await rm(folder, { recursive: true, force: true });
    await makeFifos([next]);
  } catch (error) {
    throw storageError(`cannot make the named pipe ${next}`, error);
  }
  let module: RunningProcess | undefined;
  try {
    module = await request.start();
    return await serve(request, module, next, folder);
  } catch (error) {
    module?.stop();
    await module?.ended;
    throw error;
  } finally {
    await rm(next, { force: true }).catch(() => {});
    await rm(folder, { recursive: true, force: true }).catch(() => {});
  }
}

async function serve(
  request: StreamRequest,
  module: RunningProcess,
  next: string,
  folder: string,
): Promise<'streamed' | 'files-not-wanted'> {
  const { call, withSizes, signal } = request;
  const watch = watchModule(module.exited);
  // Asked for only when the module asks: a generator that is begun cannot be handed to the `files/` way again.
  let iterator: AsyncIterator<PayloadFile> | undefined;
  let isFinished = false;
  let servedFiles = 0;
  try {
    for (;;) {
      const nextFd = await openOrExplain(next, watch, call);
      if (nextFd === ENDED) break;
      iterator ??= request.files[Symbol.asyncIterator]();
      const file = await takeFile(iterator, watch, nextFd);
      if (file === ENDED) break;
      if (file === null) {
        // Set before the close: the module may end at once when it reads the zero length.
        isFinished = true;
        closeSync(nextFd);
        break;
      }
      const path = join(folder, file.name);
      try {
        requireSafeFile(file, call);
        await makeStream(folder, path, servedFiles === 0);
      } catch (error) {
        closeSync(nextFd);
        throw error;
      }
      announce(nextFd, `streams/${file.name}${withSizes ? ` ${file.sizeBytes}` : ''}\n`, call);
      if ((await streamFile(path, file, watch, call)) === ENDED) break;
      servedFiles++;
    }
  } catch (error) {
    if (error instanceof ClosedEarly) throw await explainClosedEarly(error, request, module);
    throw error;
  } finally {
    if (!isFinished) letGo(iterator);
  }

  const end = await module.ended;
  if (end.reason !== 'itself' || end.exitCode !== 0) {
    if (end.reason === 'itself' && (await abortsSoon(signal))) throw stopped(call);
    throw endError(call, end, request.timeoutSeconds, iterator ? `after ${servedFiles} whole files` : '');
  }
  if (!iterator) return 'files-not-wanted';
  if (isFinished) return 'streamed';
  throw moduleError(
    call,
    `it started downloading, but did not finish: it ended after ${servedFiles} whole files, without the last read of stream-next`,
    { 'exit-status': 0 },
  );
}

/** null = there are no more. The descriptor is closed unless a file is there to be announced on it. */
async function takeFile(
  iterator: AsyncIterator<PayloadFile>,
  watch: ModuleWatch,
  nextFd: number,
): Promise<PayloadFile | null | typeof ENDED> {
  try {
    const taken = await watch.race(iterator.next());
    if (taken !== ENDED) return taken.done ? null : taken.value;
    closeSync(nextFd);
    return ENDED;
  } catch (error) {
    closeSync(nextFd);
    throw error;
  }
}

/** Not awaited: a generator in the middle of a read answers only when that read is over. */
function letGo(iterator: AsyncIterator<unknown> | undefined): void {
  iterator?.return?.()?.then(undefined, () => {});
}

async function openOrExplain(path: string, watch: ModuleWatch, call: Call): Promise<number | typeof ENDED> {
  try {
    return await openForWriting(path, watch);
  } catch (error) {
    throw moduleError(call, `cannot open ${path}: ${textOf(error)}`, { 'error-code': codeOf(error) }, error);
  }
}

async function makeStream(folder: string, path: string, isFirst: boolean): Promise<void> {
  try {
    if (isFirst) await mkdir(folder, { mode: 0o700 });
    await makeFifos([path]);
  } catch (error) {
    throw storageError(`cannot make the named pipe ${path}`, error);
  }
}

function announce(fd: number, line: string, call: Call): void {
  try {
    writeLineAndClose(fd, line);
  } catch (error) {
    if (codeOf(error) === 'EPIPE') throw new ClosedEarly('stream-next');
    throw moduleError(call, `cannot write to stream-next: ${textOf(error)}`, {}, error);
  }
}

/** The module closed a pipe before it had everything; why is in its exit status, if it comes. */
class ClosedEarly extends Error {}

async function explainClosedEarly(
  closed: ClosedEarly,
  request: StreamRequest,
  module: RunningProcess,
): Promise<Error> {
  const grace = new AbortController();
  const end = await Promise.race([
    module.ended,
    sleep(CLOSED_EARLY_GRACE_MS, null, { signal: grace.signal }).catch(() => null),
  ]);
  grace.abort();
  const { call, signal, timeoutSeconds } = request;
  if (signal.aborted) return stopped(call);
  if (end && !(end.reason === 'itself' && end.exitCode === 0)) {
    if (end.reason === 'itself' && (await abortsSoon(signal))) return stopped(call);
    return endError(call, end, timeoutSeconds, `after it closed ${closed.message} early`);
  }
  return moduleError(call, `it closed ${closed.message} before it had read all of it`, statusOf(end));
}

function statusOf(end: ProcessEnd | null): { 'exit-status'?: number } {
  return end?.exitCode == null ? {} : { 'exit-status': end.exitCode };
}

/** Copies one file into its FIFO. Rejects with ClosedEarly, or with the error of the source. */
async function streamFile(
  path: string,
  file: PayloadFile,
  watch: ModuleWatch,
  call: Call,
): Promise<'sent' | typeof ENDED> {
  const fd = await openOrExplain(path, watch, call);
  if (fd === ENDED) return ENDED;
  const writer = fifoWriter(fd);
  const content = file.content[Symbol.asyncIterator]();
  let bytes = 0;
  let isRead = false;
  try {
    for (;;) {
      const taken = await watch.race(content.next());
      if (taken === ENDED) return ENDED;
      if (taken.done) {
        isRead = true;
        requireSize(file, bytes);
        return 'sent';
      }
      bytes += taken.value.length;
      const written = writer.write(taken.value).catch((error: unknown) => {
        if (codeOf(error) === 'EPIPE') throw new ClosedEarly(`streams/${file.name}`);
        throw moduleError(call, `cannot write to streams/${file.name}: ${textOf(error)}`, {}, error);
      });
      // The next chunk is asked for only now: its buffer may be the same one.
      if ((await watch.race(written)) === ENDED) return ENDED;
    }
  } finally {
    writer.close();
    if (!isRead) letGo(content);
    await rm(path, { force: true }).catch(() => {});
  }
}
