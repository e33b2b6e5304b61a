/**
 * The log of one deployment, kept in a file over restarts and sent to the server when the deployment failed.
 * Whatever goes wrong with it is told to the service log, never to the update: a full disk loses lines.
 */
import { mkdir, open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../ports/clock.ts';
import type { DeploymentLog, DeploymentLogLevel, Log } from '../../ports/log.ts';
import { isUsableId, listLogs, makeFirst, makeRoom, MIN_FREE_BYTES } from './deployment-log-files.ts';
import { LogFileReader } from './deployment-log-reader.ts';

/** Longest message, characters; the rest is cut and marked. */
const MAX_MESSAGE_LENGTH = 16 * 1024;
/** Text that may wait for a slow disk. */
const MAX_WAITING_BYTES = 1024 * 1024;
/** Size of one log; from there on only warnings and errors get in, up to a tenth more. */
const MAX_LOG_BYTES = 10 * 1024 * 1024;

export interface DeploymentLogSettings {
  /** UpdateLogPath. */
  readonly folder: string;
  readonly minFreeBytes?: number;
  readonly maxLogBytes?: number;
}

interface OpenLog {
  readonly deploymentId: string;
  readonly path: string;
  readonly file: FileHandle;
  bytes: number;
  isFull: boolean;
}

export class FileDeploymentLog implements DeploymentLog {
  readonly #settings: Required<DeploymentLogSettings>;
  readonly #clock: Clock;
  readonly #log: Log;
  #open: OpenLog | null = null;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #lostLines = 0;
  #isAccepting = false;
  #hasComplained = false;
  /** All file work, one thing after the other. */
  #work: Promise<void> = Promise.resolve();
  #reader: { readonly path: string; readonly reader: LogFileReader } | null = null;

  constructor(settings: DeploymentLogSettings, clock: Clock, log: Log) {
    this.#settings = { minFreeBytes: MIN_FREE_BYTES, maxLogBytes: MAX_LOG_BYTES, ...settings };
    this.#clock = clock;
    this.#log = log;
  }

  async open(deploymentId: string): Promise<void> {
    await this.#enqueue('open', async () => {
      if (this.#open?.deploymentId === deploymentId) return;
      await this.#closeFile();
      if (!isUsableId(deploymentId)) {
        this.#log.warn('deployment id cannot be a file name, its log is not kept', { deploymentId });
        return;
      }
      const { folder, minFreeBytes } = this.#settings;
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await makeRoom(folder, deploymentId, minFreeBytes).catch(() => false);
      const path = await makeFirst(folder, deploymentId);
      const file = await open(path, 'a+', 0o600);
      try {
        const { size } = await file.stat();
        this.#open = { deploymentId, path, file, bytes: size, isFull: false };
        this.#hasComplained = false;
        await this.#endTornLine(file, size);
        this.#isAccepting = true;
      } catch (error) {
        this.#open = null;
        await file.close();
        throw error;
      }
    });
  }

  /** A power cut may have left half a line; the next one must not be glued to it. */
  async #endTornLine(file: FileHandle, size: number): Promise<void> {
    if (size === 0) return;
    const last = Buffer.alloc(1);
    await file.read(last, 0, 1, size - 1);
    if (last[0] !== 0x0a) await file.appendFile('\n');
  }

  write(level: DeploymentLogLevel, message: string): void {
    if (!this.#isAccepting) return;
    const cut =
      message.length > MAX_MESSAGE_LENGTH
        ? `${message.slice(0, MAX_MESSAGE_LENGTH)} (${message.length - MAX_MESSAGE_LENGTH} characters cut)`
        : message;
    const line = lineOf(this.#clock, level, cut);
    if (this.#waitingBytes + line.length > MAX_WAITING_BYTES || !this.#hasRoomFor(level)) {
      this.#lostLines++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    if (this.#waiting.length === 1) void this.#enqueue('write', () => this.#writeWaiting());
  }

  #hasRoomFor(level: DeploymentLogLevel): boolean {
    if (!this.#open) return false;
    const bytes = this.#open.bytes + this.#waitingBytes;
    const isImportant = level === 'error' || level === 'warning';
    return bytes < this.#settings.maxLogBytes * (isImportant ? 1.1 : 1);
  }

  async #writeWaiting(): Promise<void> {
    const log = this.#open;
    const lines = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (!log) return;
    const isFull = log.bytes >= this.#settings.maxLogBytes;
    if (this.#lostLines > 0 && (!isFull || !log.isFull)) {
      log.isFull = isFull;
      const why = isFull
        ? 'the log is full: from here on only warnings and errors are kept'
        : `${this.#lostLines} lines are lost here`;
      lines.push(lineOf(this.#clock, 'warning', `(${why})`));
      this.#lostLines = 0;
    }
    if (lines.length === 0) return;
    const text = Buffer.from(lines.join(''));
    try {
      await this.#append(log, text);
    } catch (error) {
      this.#lostLines += lines.length;
      throw error;
    }
  }

  async #append(log: OpenLog, text: Buffer): Promise<void> {
    for (let at = 0, isSecondTry = false; at < text.length;) {
      try {
        const { bytesWritten } = await log.file.write(text, at);
        at += bytesWritten;
        log.bytes += bytesWritten;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        const canMakeRoom = (code === 'ENOSPC' || code === 'EDQUOT') && !isSecondTry;
        isSecondTry = true;
        const { folder, minFreeBytes } = this.#settings;
        if (canMakeRoom && (await makeRoom(folder, log.deploymentId, minFreeBytes))) continue;
        // A line cut in the middle would take the next one with it.
        await log.file.truncate(log.bytes - at).catch(() => {});
        log.bytes -= at;
        throw error;
      }
    }
  }

  async flush(): Promise<void> {
    await this.#enqueue('flush', async () => {
      await this.#writeWaiting();
      await this.#open?.file.datasync();
    });
  }

  async close(): Promise<void> {
    this.#isAccepting = false;
    await this.#enqueue('close', () => this.#closeFile());
  }

  async #closeFile(): Promise<void> {
    this.#isAccepting = false;
    const log = this.#open;
    if (!log) return;
    try {
      await this.#writeWaiting();
      await log.file.datasync();
    } finally {
      this.#open = null;
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#lostLines = 0;
      await log.file.close();
    }
  }

  async read(
    deploymentId: string,
    fromLine: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextLine: number } | null> {
    let page: { readonly lines: readonly string[]; readonly nextLine: number } | null = null;
    await this.#enqueue('read', async () => {
      await this.#writeWaiting();
      const { folder } = this.#settings;
      const found = (await listLogs(folder)).find((file) => file.deploymentId === deploymentId);
      if (!found) return;
      const path = join(folder, found.name);
      if (this.#reader?.path !== path) this.#reader = { path, reader: new LogFileReader() };
      page = await this.#reader.reader.read(path, fromLine, maxLines, this.#open?.path === path);
    });
    return page;
  }

  /** Runs after everything before it; failures end in the service log, once per open log. */
  #enqueue(what: string, work: () => Promise<void>): Promise<void> {
    this.#work = this.#work.then(work).catch((error: unknown) => {
      if (this.#hasComplained && what === 'write') return;
      this.#hasComplained = true;
      this.#log.warn('deployment log failed', { during: what, err: error });
    });
    return this.#work;
  }
}

function lineOf(clock: Clock, level: DeploymentLogLevel, message: string): string {
  return `${JSON.stringify({ timestamp: timestamp(clock.now().wallMs), level, message })}\n`;
}

/** ISO 8601 in UTC with microseconds, as the C++ client writes it. */
function timestamp(wallMs: number): string {
  const wholeMs = Math.floor(wallMs);
  const micros = Math.floor((wallMs - wholeMs) * 1000);
  const date = new Date(wholeMs);
  const iso = Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString();
  return iso.replace('Z', `${String(micros).padStart(3, '0')}Z`);
}
