/**
 * What a 3.x client logged last about where it was. A wait at a gate is nowhere in its store, but each step it takes is
 * a line in the deployment's log: `State transition: A [tag] -> B [tag]`, written before B is entered.
 * Source: observed with Debian's 3.4; file names: spec/configuration.md section 2.5.
 */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Enough for hours of a client that waits and asks again at every change. */
const TAIL_BYTES = 256 * 1024;
const TRANSITION = /^State transition: \S+ \[[^\]]*\] -> (\S+) \[/;

/** The last state entered in this deployment, by its newest log; null = no log, or it does not say. */
export async function lastLoggedState(
  directories: readonly string[],
  deploymentId: string,
): Promise<string | null> {
  for (const directory of directories) {
    const names = await readdir(directory).catch(() => []);
    const [newest] = names
      .filter((name) => /^deployments\.\d{4}\./.test(name) && name.slice(17) === `${deploymentId}.log`)
      .sort();
    if (newest === undefined) continue;
    const lines = await tailOf(join(directory, newest)).catch(() => []);
    for (const line of lines.reverse()) {
      const entered = TRANSITION.exec(messageOf(line))?.[1];
      if (entered !== undefined) return entered;
    }
  }
  return null;
}

async function tailOf(path: string): Promise<string[]> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const from = Math.max(0, size - TAIL_BYTES);
    const buffer = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, from);
    return buffer.subarray(0, bytesRead).toString('utf8').split('\n');
  } finally {
    await handle.close();
  }
}

function messageOf(line: string): string {
  try {
    const value = JSON.parse(line) as { readonly message?: unknown } | null;
    return typeof value?.message === 'string' ? value.message : '';
  } catch {
    return '';
  }
}
