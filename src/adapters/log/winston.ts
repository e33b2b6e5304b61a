/**
 * The service log: one line per record on standard error, for journald (`<6>text`, sd-daemon(3)) or for people
 * (`time level text`). Source: design/style.md section 9.
 */
import type { Writable } from 'node:stream';
import { createLogger, format, transports } from 'winston';
import type { Log, LogFields } from '../../ports/log.ts';
import { describeError } from './describe-error.ts';

export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Priorities of syslog(3). */
const PRIORITIES: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7 };
/** journald splits lines at 48 KiB. */
const MAX_LINE_LENGTH = 32 * 1024;
const MAX_VALUE_LENGTH = 8 * 1024;
const SECRET_NAME = /token|password|passphrase|secret|authorization|cookie|privatekey/i;

export interface ServiceLogSettings {
  readonly level: LogLevel;
  /** Lines with priority prefix and without time. Default: whether systemd has connected us to the journal. */
  readonly isForJournal?: boolean;
  /** Default: standard error. */
  readonly stream?: Writable;
}

/** The one logger of the process; components get a `child` of it. */
export function createServiceLog(settings: ServiceLogSettings): Log {
  const isForJournal = settings.isForJournal ?? process.env['JOURNAL_STREAM'] !== undefined;
  const stream = settings.stream ?? process.stderr;
  // A reader that went away must not end the service.
  stream.on('error', () => {});
  const logger = createLogger({
    level: settings.level,
    levels: { error: 0, warn: 1, info: 2, debug: 3 },
    format: format.printf((record) => lineOf(record as unknown as LogRecord, isForJournal)),
    transports: [new transports.Stream({ stream, eol: '\n' })],
  });
  return new ServiceLog((level, sentence, fields) => {
    // Fields travel as one value: winston glues a field called `message` onto the text.
    logger.log({ level, message: sentence, fields });
  });
}

type Sink = (level: LogLevel, sentence: string, fields: LogFields) => void;

class ServiceLog implements Log {
  readonly #sink: Sink;
  readonly #fixed: LogFields;

  constructor(sink: Sink, fixed: LogFields = {}) {
    this.#sink = sink;
    this.#fixed = fixed;
  }
  error(sentence: string, fields: LogFields = {}): void {
    this.#sink('error', sentence, { ...this.#fixed, ...fields });
  }
  warn(sentence: string, fields: LogFields = {}): void {
    this.#sink('warn', sentence, { ...this.#fixed, ...fields });
  }
  info(sentence: string, fields: LogFields = {}): void {
    this.#sink('info', sentence, { ...this.#fixed, ...fields });
  }
  debug(sentence: string, fields: LogFields = {}): void {
    this.#sink('debug', sentence, { ...this.#fixed, ...fields });
  }
  child(fields: { readonly component: string }): Log {
    return new ServiceLog(this.#sink, { ...this.#fixed, ...fields });
  }
}

interface LogRecord {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

function lineOf(record: LogRecord, isForJournal: boolean): string {
  const { level } = record;
  const start = isForJournal ? `<${PRIORITIES[level]}>` : `${new Date().toISOString()} ${level.padEnd(5)} `;
  let text = start + escapeText(record.message);
  for (const [name, value] of Object.entries(fieldsOf(record.fields))) {
    if (value !== undefined) text += ` ${escapeText(name)}=${valueText(name, value)}`;
  }
  return cut(text, MAX_LINE_LENGTH);
}

/** With errors (`err` above all) spelled out. */
function fieldsOf(fields: LogFields): LogFields {
  const all: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (name === 'err') Object.assign(all, describeError(value));
    else if (value instanceof Error) all[name] = describeError(value);
    else all[name] = value;
  }
  return all;
}

function valueText(name: string, value: unknown): string {
  if (SECRET_NAME.test(name)) return '[withheld]';
  const text = cut(withoutSecrets(typeof value === 'string' ? value : jsonOf(value)), MAX_VALUE_LENGTH);
  if (typeof value !== 'string') return escapeText(text);
  return /^[^\s"=\\\p{C}]+$/u.test(text) ? text : escapeText(JSON.stringify(text));
}

function jsonOf(value: unknown): string {
  if (typeof value === 'bigint') return String(value);
  try {
    const text = JSON.stringify(value, (name, inner: unknown) => {
      if (SECRET_NAME.test(name)) return '[withheld]';
      return typeof inner === 'bigint' ? String(inner) : inner;
    });
    return text ?? String(value);
  } catch {
    return '[not representable]';
  }
}

/** Query and credentials of a URL may be what makes it a signed or private one. */
function withoutSecrets(text: string): string {
  return text
    .replace(/(\bhttps?:\/\/)[^\s/"'@]+@/gi, '$1')
    .replace(/(\bhttps?:\/\/[^\s"'?]+)\?[^\s"']*/gi, '$1?[withheld]');
}

function cut(text: string, maxLength: number): string {
  return text.length <= maxLength ? text : `${text.slice(0, maxLength)}[cut]`;
}

/** Line ends and control characters as escapes: a record is one line, and cannot drive a terminal. */
function escapeText(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (char) => {
    if (char === '\n') return '\\n';
    if (char === '\t') return '\\t';
    if (char === '\r') return '\\r';
    return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
