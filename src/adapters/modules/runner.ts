/**
 * Update modules, protocol version 3: external programs that install one payload type each. Knows the calls, the
 * file tree and the hand-shake; which action is due when is the update flow's business.
 * Source: spec/update-modules.md.
 */
import { UpdateError } from '../../core/errors.ts';
import type { ArtifactInfo } from '../../core/artifact.ts';
import type { PayloadFile } from '../../ports/artifact-reader.ts';
import type { Clock } from '../../ports/clock.ts';
import type { DeploymentLog, Log } from '../../ports/log.ts';
import type { DeviceFacts, ModuleAction, RebootAnswer, UpdateModules } from '../../ports/update-module.ts';
import {
  abortsSoon,
  headSink,
  lineSink,
  startProcess,
  type OutputSink,
  type ProcessEnd,
  type ProcessRequest,
  type RunningProcess,
} from '../system/process.ts';
import { findModule } from './discover.ts';
import { endError, moduleError, storageError, textOf, type Call } from './errors.ts';
import { buildTree, hasTree, removeTree, syncTree } from './file-tree.ts';
import { stopped, storeFiles } from './payload-store.ts';
import { streamPayload } from './stream-payload.ts';
import { ToldReason } from './told-reason.ts';

/** A query answers in one word; whoever prints more than this is stopped. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** Output of one call and stream that reaches the log; the rest is counted. */
const MAX_LOGGED_BYTES = 1024 * 1024;

export interface ModuleSettings {
  /** Folder of the programs: `<data folder>/modules/v3`. */
  readonly modulesDir: string;
  /** Absolute: `<data store>/modules/v3/payloads/0000/tree`. */
  readonly treeDir: string;
  /** Longest run of one call, seconds, > 0 (ModuleTimeoutSeconds). */
  readonly timeoutSeconds: number;
  /** SIGTERM to SIGKILL, milliseconds; default 10 000. */
  readonly graceMs?: number;
  /** Where a run is noted while it is under way. */
  readonly ledger?: ProcessRequest['ledger'];
}

export class ModuleRunner implements UpdateModules {
  readonly #settings: ModuleSettings;
  readonly #clock: Clock;
  readonly #deploymentLog: DeploymentLog;
  readonly #log: Log;

  constructor(settings: ModuleSettings, clock: Clock, deploymentLog: DeploymentLog, log: Log) {
    this.#settings = settings;
    this.#clock = clock;
    this.#deploymentLog = deploymentLog;
    this.#log = log;
  }

  async requireModule(payloadType: string): Promise<void> {
    await findModule(this.#settings.modulesDir, payloadType);
  }

  async prepareTree(info: ArtifactInfo, device: DeviceFacts): Promise<void> {
    try {
      await buildTree(this.#settings.treeDir, info, device);
    } catch (error) {
      throw storageError(`cannot build the file tree ${this.#settings.treeDir}`, error);
    }
  }

  async download(payloadType: string, files: AsyncIterable<PayloadFile>, signal: AbortSignal): Promise<void> {
    const answer = await this.#query(payloadType, 'ProvidePayloadFileSizes', ['No', 'Yes'], signal);
    const withSizes = answer === 'Yes';
    const call = newCall(payloadType, withSizes ? 'DownloadWithFileSizes' : 'Download');
    const tree = this.#settings.treeDir;
    const outcome = await streamPayload({
      tree,
      call,
      withSizes,
      timeoutSeconds: this.#settings.timeoutSeconds,
      start: () => this.#start(call, this.#logSink(call, 'stdout'), signal),
      files,
      signal,
    });
    if (outcome === 'files-not-wanted') await storeFiles(tree, files, call, signal);
    try {
      await syncTree(tree);
    } catch (error) {
      throw storageError(`cannot flush the file tree ${tree}`, error);
    }
  }

  async run(payloadType: string, action: ModuleAction, signal: AbortSignal): Promise<void> {
    const call = newCall(payloadType, action);
    if (!(await hasTree(this.#settings.treeDir))) {
      if (action === 'Cleanup') return;
      throw moduleError(call, `its file tree ${this.#settings.treeDir} is missing`);
    }
    const running = await this.#start(call, this.#logSink(call, 'stdout'), signal);
    await this.#requireSuccess(call, await running.ended, signal);
    if (action === 'Cleanup') return;
    try {
      await syncTree(this.#settings.treeDir);
    } catch (error) {
      // The action itself is done; what the module keeps for a rollback is merely not proven to be on disk.
      this.#log.warn('file tree of the update module could not be flushed', {
        module: payloadType,
        action,
        reason: textOf(error),
      });
    }
  }

  async needsReboot(payloadType: string, signal: AbortSignal): Promise<RebootAnswer> {
    return await this.#query(payloadType, 'NeedsArtifactReboot', ['No', 'Yes', 'Automatic'], signal);
  }

  async supportsRollback(payloadType: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#query(payloadType, 'SupportsRollback', ['No', 'Yes'], signal)) === 'Yes';
  }

  async removeTree(): Promise<void> {
    try {
      await removeTree(this.#settings.treeDir);
    } catch (error) {
      throw storageError(`cannot remove the file tree ${this.#settings.treeDir}`, error);
    }
  }

  /** Asks a question; no output = the first of the answers. Anything but one of them is an error. */
  async #query<Answer extends string>(
    payloadType: string,
    action: string,
    answers: readonly [Answer, ...Answer[]],
    signal: AbortSignal,
  ): Promise<Answer> {
    const call = newCall(payloadType, action);
    let running: RunningProcess | undefined;
    let isTooLong = false;
    const output = headSink(MAX_ANSWER_BYTES, () => {
      isTooLong = true;
      running?.stop();
    });
    running = await this.#start(call, output, signal);
    if (isTooLong) running.stop();
    const end = await running.ended;
    if (isTooLong && !signal.aborted) {
      throw moduleError(call, `it printed more than ${MAX_ANSWER_BYTES} bytes, expected one line`);
    }
    await this.#requireSuccess(call, end, signal);
    const text = output.text().replace(/\n$/, '');
    if (text === '') return answers[0];
    const expected = answers.join(', ');
    if (text.includes('\n')) {
      throw moduleError(call, `it printed more than one line, expected one of: ${expected}`);
    }
    const answer = answers.find((known) => known === text);
    if (answer !== undefined) return answer;
    const shown = JSON.stringify(text.slice(0, 100));
    throw moduleError(call, `it answered ${shown}, expected one of: ${expected}`, {
      answer: text.slice(0, 100),
    });
  }

  async #start(call: Call, stdout: OutputSink, signal: AbortSignal): Promise<RunningProcess> {
    const { modulesDir, treeDir, timeoutSeconds, graceMs, ledger } = this.#settings;
    // Looked up at every call: a module may have been removed, or replaced, since the last one.
    const program = await findModule(modulesDir, call.module).catch((error: unknown) => {
      throw moduleError(call, textOf(error), {}, error);
    });
    if (!(await hasTree(treeDir))) throw moduleError(call, `its file tree ${treeDir} is missing`);
    this.#deploymentLog.write('info', `Calling Update Module ${call.module}: ${call.action}`);
    this.#log.debug('calling update module', { module: call.module, action: call.action });
    try {
      return await startProcess({
        command: program,
        args: [call.action, treeDir],
        cwd: treeDir,
        timeoutMs: timeoutSeconds * 1000,
        ...(graceMs === undefined ? {} : { graceMs }),
        clock: this.#clock,
        signal,
        stdout,
        stderr: this.#logSink(call, 'stderr'),
        errorKind: 'module',
        ...(ledger && { ledger }),
      });
    } catch (error) {
      if (!(error instanceof UpdateError)) throw error;
      if (error.kind === 'cancelled') throw stopped(call);
      throw moduleError(call, error.message, error.details, error);
    }
  }

  async #requireSuccess(call: Call, end: ProcessEnd, signal: AbortSignal): Promise<void> {
    if (end.reason === 'itself' && end.exitCode === 0) return;
    if (end.reason === 'itself' && (await abortsSoon(signal))) throw stopped(call);
    throw endError(call, end, this.#settings.timeoutSeconds);
  }

  #logSink(call: Call, stream: 'stdout' | 'stderr'): OutputSink {
    const write = (text: string): void => {
      this.#deploymentLog.write('info', `Update Module output (${stream}): ${text}`);
    };
    return lineSink({
      maxTotalBytes: MAX_LOGGED_BYTES,
      onLine: (line, isCut) => {
        if (stream === 'stderr') call.reason?.hear(line);
        const text = isCut ? `${line} (line cut)` : line;
        write(text);
        this.#log.debug('update module output', {
          module: call.module,
          action: call.action,
          stream,
          line: text,
        });
      },
      onDropped: (bytes) => write(`(${bytes} bytes more are not logged)`),
    });
  }
}

function newCall(module: string, action: string): Call {
  return { module, action, reason: new ToldReason() };
}
