/**
 * `holdpoint hold POINT -- COMMAND`: a bound hold around a command, which runs as if it had been started without us: with
 * our standard input and output, our signals, and its exit status as ours.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { RemoteHoldWish, UpdateClient } from '../adapters/dbus/update-client.ts';
import { durationWords } from './duration.ts';
import { keepHold, type KeptHold } from './kept-hold.ts';
import { helpfulMessage } from './refusal-text.ts';
import { complain, type Terminal } from './terminal.ts';

/** As env(1), nohup(1) and timeout(1): what is not the command's own exit status. */
export const WRAPPER_EXIT = { ourFault: 125, notExecutable: 126, notFound: 127 } as const;

export interface HeldRun {
  readonly open: () => Promise<UpdateClient>;
  readonly terminal: Terminal;
  /** Calls the listener for each signal that would end us; returns how to stop that. */
  readonly onSignal: (listener: (name: NodeJS.Signals) => void) => () => void;
  readonly doing: string;
  readonly wish: RemoteHoldWish;
  readonly command: readonly [string, ...string[]];
  /** The hold is given back then, and the command goes on; null = no limit. */
  readonly limitSeconds: number | null;
}

/** Resolves with the exit status: the command's, 128 + the signal that ended it, or one of WRAPPER_EXIT. */
export async function runHeld(run: HeldRun): Promise<number> {
  const { terminal, doing, command } = run;
  const say = (text: string): void => complain(terminal, doing, `${text} (${command[0]} goes on)`);
  const received: NodeJS.Signals[] = [];
  let forward: ((name: NodeJS.Signals) => void) | null = null;
  let wake: () => void = () => {};
  const interrupted = new Promise<null>((resolve) => (wake = () => resolve(null)));
  const stopListening = run.onSignal((name) => {
    if (forward !== null) return forward(name);
    received.push(name);
    wake();
  });
  let kept: KeptHold | null = null;
  try {
    const taking = keepHold(run.open, run.wish, say);
    kept = await Promise.race([taking, interrupted]).catch((error: unknown) => {
      complain(terminal, doing, `${command[0]} was not run: ${helpfulMessage(error)}`);
      return null;
    });
    const [early] = received;
    if (early !== undefined) {
      // The process ends now, and a hold that is being taken with it.
      void taking.then((late) => late.end()).catch(() => {});
      return 128 + constants.signals[early];
    }
    if (kept === null) return WRAPPER_EXIT.ourFault;
    const callOff = limit(run, kept, say);
    try {
      return await runCommand(run, (send) => (forward = send));
    } finally {
      callOff();
    }
  } finally {
    await kept?.end();
    stopListening();
  }
}

/** setTimeout fires at once above this. */
const MAX_TIMER_MS = 2_147_483_647;

/** Gives the hold back in time; returns how to call that off. */
function limit({ limitSeconds }: HeldRun, kept: KeptHold, say: (text: string) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const arm = (leftMs: number): void => {
    const stepMs = Math.min(leftMs, MAX_TIMER_MS);
    timer = setTimeout(() => {
      if (leftMs > stepMs) return arm(leftMs - stepMs);
      say(`the hold is given back after ${durationWords(limitSeconds ?? 0)}`);
      void kept.end();
    }, stepMs).unref();
  };
  if (limitSeconds !== null) arm(limitSeconds * 1000);
  return () => clearTimeout(timer);
}

function runCommand(
  { terminal, doing, command }: HeldRun,
  takeSignals: (send: (name: NodeJS.Signals) => void) => void,
): Promise<number> {
  const [file, ...args] = command;
  return new Promise((resolve) => {
    const child = spawn(file, args, { stdio: 'inherit' });
    takeSignals((name) => {
      // The terminal has told everybody in its foreground already; twice is once too often.
      if (name !== 'SIGINT' || !isInForeground()) child.kill(name);
    });
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      complain(terminal, doing, `${file} cannot be run: ${error.message}`);
      resolve(error.code === 'ENOENT' ? WRAPPER_EXIT.notFound : WRAPPER_EXIT.notExecutable);
    });
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

/** Whether we are in the foreground of a terminal, so that Ctrl-C reaches the command without us. */
function isInForeground(): boolean {
  try {
    const text = readFileSync('/proc/self/stat', 'utf8');
    // Fields behind the name in parentheses, which may have anything in it: state, ppid, pgrp, session, tty, tpgid.
    const [, , group, , , foreground] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return group !== undefined && group === foreground;
  } catch {
    return false;
  }
}
