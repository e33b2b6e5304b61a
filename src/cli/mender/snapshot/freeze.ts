/**
 * Keeps a file system still while it is read. Node has no ioctl, so `fsfreeze` of util-linux does it, in a helper that
 * waits for the end of its standard input and then lets go: whatever ends us, SIGKILL included, the file system does not
 * stay frozen. (Mender's own client leaves it frozen then, and warns of it.)
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { UpdateError } from '../../../core/errors.ts';

const HELPER = `trap '' HUP INT TERM
fsfreeze --freeze "$1" || exit 1
echo frozen
cat > /dev/null
fsfreeze --unfreeze "$1"
`;

export interface Freeze {
  /** Resolves once the file system goes on. Rejects when it cannot be made to; safe to call twice. */
  thaw(): Promise<void>;
}

/** Rejects with kind `config` where it cannot be frozen; then nothing is. */
export async function freeze(mountPoint: string): Promise<Freeze> {
  // A group of its own: Ctrl-C is for us.
  const child = spawn('/bin/sh', ['-c', HELPER, 'freeze', mountPoint], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
    cwd: '/',
  });
  const { stdin, stdout, stderr } = child;
  stdin.on('error', () => {});
  let said = '';
  stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-500)));
  const ended = once(child, 'close').then(([code]) => code as number | null);
  ended.catch(() => {});
  const frozen = once(stdout, 'data').then(() => 'frozen' as const);
  frozen.catch(() => {});
  const outcome = await Promise.race([frozen, ended]).catch((error: unknown) => {
    throw new UpdateError('config', `${mountPoint} cannot be frozen: ${String(error)}`);
  });
  if (outcome !== 'frozen') {
    throw new UpdateError('config', `${mountPoint} cannot be frozen: ${said.trim() || `status ${outcome}`}`);
  }
  let thawing: Promise<void> | null = null;
  return {
    thaw: () =>
      (thawing ??= (async () => {
        stdin.end();
        const code = await ended;
        if (code === 0) return;
        throw new UpdateError(
          'config',
          `${mountPoint} may still be frozen (${said.trim() || `status ${code}`}): run fsfreeze --unfreeze ${mountPoint}`,
        );
      })()),
  };
}
