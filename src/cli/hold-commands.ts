/**
 * The subcommands about holds and control maps. Each resolves with the exit status, and rejects with what the one line on
 * standard error is made of.
 */
import { createReadStream } from 'node:fs';
import type { RemoteHoldWish } from '../adapters/dbus/update-client.ts';
import { UpdateError } from '../core/errors.ts';
import { durationWords } from './duration.ts';
import { currentSnapshot } from './follow.ts';
import { holdAsJson, holdLines, isMap, mapAsJson, mapLines } from './hold-view.ts';
import { EXIT, type ServiceContext } from './service-commands.ts';
import { line } from './terminal.ts';
import { jsonLine } from './update-view.ts';
import { waitSentence } from './wait-text.ts';

/** Without a command: prints the id. */
export async function addTimedHold(
  { client, terminal }: ServiceContext,
  wish: RemoteHoldWish,
): Promise<number> {
  const { id } = await client.addHold(wish);
  line(terminal.out, id);
  return EXIT.done;
}

export async function showHolds(
  { client, terminal, signal }: ServiceContext,
  options: { readonly json: boolean; readonly only: 'all' | 'maps' },
): Promise<number> {
  // So that a missing service is told as such.
  await currentSnapshot(client, signal);
  const nowUsec = Date.now() * 1000;
  const holds = (await client.holds()).filter((hold) => options.only === 'all' || isMap(hold));
  // For people: a program that counts lines finds none.
  if (holds.length === 0 && !options.json && terminal.out.isTerminal) {
    line(terminal.out, options.only === 'all' ? 'Nobody holds updates.' : 'There is no control map.');
  }
  for (const hold of holds) {
    if (options.only === 'maps') {
      if (options.json) terminal.out.write(`${jsonLine(mapAsJson(hold))}\n`);
      else for (const text of mapLines(hold, nowUsec)) line(terminal.out, text);
    } else if (options.json) terminal.out.write(`${jsonLine(holdAsJson(hold))}\n`);
    else for (const text of holdLines(hold, nowUsec)) line(terminal.out, text);
  }
  return EXIT.done;
}

export async function releaseHold({ client, terminal, signal }: ServiceContext, id: string): Promise<number> {
  await client.releaseHold(id);
  line(terminal.out, `Released ${id}.`);
  const snapshot = await currentSnapshot(client, signal);
  if (snapshot.waitPoint !== '') line(terminal.out, waitSentence(snapshot));
  return EXIT.done;
}

export async function refreshHold({ client, terminal }: ServiceContext, id: string): Promise<number> {
  const seconds = await client.refreshHold(id);
  const next = seconds === 0 ? 'it needs no refresh' : `refresh it again within ${durationWords(seconds)}`;
  line(terminal.out, `Refreshed ${id}; ${next}.`);
  return EXIT.done;
}

/** Source: design/dbus-api.md section 4 "Limits". One more is read, to see that there is more. */
const MAX_MAP_BYTES = 64 * 1024;

/** `-` = standard input. Rejects with kind invalidArgument: not readable, or longer than any map may be. */
export async function readMapText(
  source: string,
  input: () => AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<string> {
  const what = source === '-' ? 'standard input' : source;
  const chunks: Uint8Array[] = [];
  let size = 0;
  const take = (chunk: Uint8Array): void => {
    size += chunk.length;
    if (size > MAX_MAP_BYTES) {
      throw new UpdateError('invalidArgument', `${what}: a control map has at most ${MAX_MAP_BYTES} bytes`);
    }
    chunks.push(chunk);
  };
  const read = source === '-' ? readAll(input(), take) : readFileInto(source, take);
  await Promise.race([read, interruptionOf(signal)]);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    throw new UpdateError('invalidArgument', `${what}: a control map is UTF-8 text`, { cause });
  }
}

async function readAll(input: AsyncIterable<Uint8Array>, take: (chunk: Uint8Array) => void): Promise<void> {
  for await (const chunk of input) take(chunk);
}

async function readFileInto(path: string, take: (chunk: Uint8Array) => void): Promise<void> {
  try {
    await readAll(createReadStream(path), take);
  } catch (error) {
    if (error instanceof UpdateError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new UpdateError('invalidArgument', why, { cause: error });
  }
}

function interruptionOf(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = (): void => reject(new UpdateError('cancelled', 'interrupted'));
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

export async function setMap({ client, terminal }: ServiceContext, text: string): Promise<number> {
  const seconds = await client.setControlMap(text);
  line(terminal.out, `Accepted; to keep it, set it again within ${seconds} s.`);
  return EXIT.done;
}
