/** The log of what a command does by itself. Errors are told in one line anyway; the rest is for whoever asks for it. */
import type { Writable } from 'node:stream';
import { createServiceLog } from '../adapters/log/winston.ts';
import { LOG_LEVELS } from '../config/defaults.ts';
import type { Log } from '../ports/log.ts';

/** `level`: a name of `LOG_LEVELS`; undefined or another word = errors alone. `stream`: default standard error. */
export function openCommandLog(level: string | undefined, stream?: Writable): Log {
  return createServiceLog({
    level: level !== undefined && isLevel(level) ? LOG_LEVELS[level] : 'error',
    isForJournal: false,
    ...(stream && { stream }),
  });
}

function isLevel(text: string): text is keyof typeof LOG_LEVELS {
  return Object.hasOwn(LOG_LEVELS, text);
}
