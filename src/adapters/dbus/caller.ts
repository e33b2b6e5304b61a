import { open } from 'node:fs/promises';
import { isOneLine } from '../../core/printable.ts';
import { busCall, type Link } from './link.ts';
import type { VariantMap } from './values.ts';

/**
 * Who a caller is, as the bus says it. The bus reads user and groups from the socket at the time of connecting: neither
 * can be forged, nor do they change afterwards. The process id is different: by the time it is looked at it may be
 * another program's, so it is for people's eyes and never for a decision.
 */
export interface Credentials {
  readonly uid: number;
  /** All of them, the primary one too; null = this bus does not tell (Linux before 4.13 has no SO_PEERGROUPS). */
  readonly gids: readonly number[] | null;
  /** −1 = not told. */
  readonly pid: number;
}

/** The connection a call came by. After a reconnect the same sender name may belong to somebody else. */
export type CallerConnection = Pick<Link, 'call' | 'isOpen'>;

const TIMEOUT_MS = 5_000;

/** null = the caller is gone, or the bus is, or the bus does not know its user. Never rejects. */
export async function credentialsOf(
  sender: string,
  connection: Pick<Link, 'call'>,
): Promise<Credentials | null> {
  let facts: VariantMap;
  try {
    const [reply] = await connection.call(busCall('GetConnectionCredentials', 's', [sender]), TIMEOUT_MS);
    if (!(reply instanceof Map)) return null;
    facts = reply as VariantMap;
  } catch {
    return null;
  }
  const uid = facts.get('UnixUserID')?.value;
  const gids = facts.get('UnixGroupIDs')?.value;
  const pid = facts.get('ProcessID')?.value;
  if (typeof uid !== 'number') return null;
  return {
    uid,
    gids: Array.isArray(gids) ? gids.filter((gid): gid is number => typeof gid === 'number') : null,
    pid: typeof pid === 'number' && pid > 0 ? pid : -1,
  };
}

export interface CallerDescription {
  /** −1 = not known. */
  readonly pid: number;
  /** Name of the program, one line of at most 64 characters; '' = not known. */
  readonly app: string;
}

/** For people: histories, lists of holds, logs. Whoever calls can choose both. Never rejects. */
export async function describeCaller(bus: Pick<Link, 'call'>, sender: string): Promise<CallerDescription> {
  const pid = (await credentialsOf(sender, bus))?.pid ?? -1;
  return { pid, app: pid === -1 ? '' : await programName(pid) };
}

/** The kernel keeps 15 bytes of it; a program may write whatever it likes there. */
const MAX_NAME_BYTES = 64;
const MAX_NAME_CHARACTERS = 64;

async function programName(pid: number): Promise<string> {
  try {
    const file = await open(`/proc/${pid}/comm`, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_NAME_BYTES), 0, MAX_NAME_BYTES, 0);
      return oneLine(buffer.toString('utf8', 0, bytesRead));
    } finally {
      await file.close();
    }
  } catch {
    // Gone already, or another process namespace.
    return '';
  }
}

/** Control and format characters could imitate another line or turn the text around it. */
function oneLine(text: string): string {
  const plain = [...text.trimEnd()].map((character) => (isPlain(character) ? character : '?')).join('');
  return plain.slice(0, MAX_NAME_CHARACTERS);
}

function isPlain(character: string): boolean {
  return isOneLine(character) && !/[\p{Cf}\ufffd]/u.test(character);
}
