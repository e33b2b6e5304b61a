/** The device type file. Source: spec/configuration.md section 2.1. */
import { open } from 'node:fs/promises';
import { UpdateError } from '../../core/errors.ts';

const MAX_BYTES = 64 * 1024;

function unknown(path: string, found: string, expected: string, cause?: unknown): UpdateError {
  return new UpdateError('config', `device type in ${path}: found ${found}, expected ${expected}`, {
    cause,
    failureName: 'Incompatible',
    details: { path, found, expected },
  });
}

/**
 * The superset both clients accept: `key=value` lines, lines that start with `#` and blank lines skipped, blanks
 * around key and value trimmed, exactly one `device_type`. Throws (kind `config`) naming what was found; `path` is
 * for that message.
 */
export function parseDeviceType(text: string, path: string): string {
  let deviceType: string | undefined;
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    const where = `${path}:${index + 1}`;
    if (at < 0) throw unknown(where, JSON.stringify(line.slice(0, 100)), 'key=value');
    if (line.slice(0, at).trim() !== 'device_type') continue;
    if (deviceType !== undefined) throw unknown(where, 'a second device_type', 'exactly one');
    deviceType = line.slice(at + 1).trim();
    if (deviceType === '') throw unknown(where, 'an empty device_type', 'a name');
  }
  if (deviceType === undefined) throw unknown(path, 'no device_type', 'a line device_type=NAME');
  return deviceType;
}

/** Rejects (kind `config`) when the file is missing, unreadable or says nothing usable. */
export async function readDeviceType(path: string): Promise<string> {
  let text: string;
  try {
    const handle = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_BYTES + 1), 0, MAX_BYTES + 1, 0);
      if (bytesRead > MAX_BYTES) throw new Error(`it is longer than ${MAX_BYTES} bytes`);
      text = buffer.toString('utf8', 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw unknown(path, `no readable file (${why})`, 'a line device_type=NAME', cause);
  }
  return parseDeviceType(text, path);
}
