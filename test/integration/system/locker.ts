/**
 * Child process of the lock tests. Reads one word per line: `lock` answers `won` or `lost {details}`, `release`
 * answers `released`, `spawn` leaves a process behind that outlives this one and answers `spawned PID`.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { lockDatastore, type DatastoreLock } from '../../../src/adapters/system/lock.ts';
import { UpdateError } from '../../../src/core/errors.ts';

const directory = process.argv[2] ?? '';
let lock: DatastoreLock | undefined;

async function obey(word: string): Promise<string> {
  switch (word) {
    case 'lock':
      try {
        lock = await lockDatastore({ directory, command: 'locker' });
        return 'won';
      } catch (error) {
        if (!(error instanceof UpdateError)) throw error;
        return `lost ${JSON.stringify({ kind: error.kind, ...error.details })}`;
      }
    case 'release':
      await lock?.release();
      lock = undefined;
      return 'released';
    case 'spawn': {
      const child = spawn('sleep', ['60'], { stdio: 'ignore', detached: true });
      child.unref();
      return `spawned ${child.pid}`;
    }
    default:
      throw new Error(`unknown word ${word}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${await obey(line.trim())}\n`);
}
