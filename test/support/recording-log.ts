/** A service log and a deployment log that keep what they are told. */
import type { DeploymentLog, DeploymentLogLevel, Log, LogFields } from '../../src/ports/log.ts';

export interface LogRecord {
  readonly level: string;
  readonly sentence: string;
  readonly fields: LogFields;
}

export class RecordingLog implements Log {
  readonly records: LogRecord[];
  readonly #fixed: LogFields;

  constructor(records: LogRecord[] = [], fixed: LogFields = {}) {
    this.records = records;
    this.#fixed = fixed;
  }
  #add(level: string, sentence: string, fields: LogFields = {}): void {
    this.records.push({ level, sentence, fields: { ...this.#fixed, ...fields } });
  }
  error(sentence: string, fields?: LogFields): void {
    this.#add('error', sentence, fields);
  }
  warn(sentence: string, fields?: LogFields): void {
    this.#add('warn', sentence, fields);
  }
  info(sentence: string, fields?: LogFields): void {
    this.#add('info', sentence, fields);
  }
  debug(sentence: string, fields?: LogFields): void {
    this.#add('debug', sentence, fields);
  }
  child(fields: { readonly component: string }): Log {
    return new RecordingLog(this.records, { ...this.#fixed, ...fields });
  }
}

export class RecordingDeploymentLog implements DeploymentLog {
  readonly entries: { readonly level: DeploymentLogLevel; readonly message: string }[] = [];

  get messages(): readonly string[] {
    return this.entries.map((entry) => entry.message);
  }
  async open(): Promise<void> {}
  write(level: DeploymentLogLevel, message: string): void {
    this.entries.push({ level, message });
  }
  async flush(): Promise<void> {}
  async close(): Promise<void> {}
  async read(): Promise<null> {
    return null;
  }
}
