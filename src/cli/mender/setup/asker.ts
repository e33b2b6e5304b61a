/**
 * Asks questions and reads answers, line by line: from a person at a terminal, or from a script through a pipe. Questions
 * go to standard output, as those of Mender's own setup do.
 */
import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';
import { UpdateError } from '../../../core/errors.ts';
import type { Sink } from '../../terminal.ts';

export interface Asker {
  /** The line that was typed, without its end. Rejects with kind `config` when there is no more input. */
  ask(question: string): Promise<string>;
  /** The same; what is typed is not shown. */
  askSecretly(question: string): Promise<string>;
  close(): void;
}

/** `instead`: what somebody without a terminal can do, for the message when input ends. */
export function createAsker(
  input: NodeJS.ReadStream,
  out: Sink,
  signal: AbortSignal,
  instead: string,
): Asker {
  const isTerminal = input.isTTY === true;
  let isHidden = false;
  const echo = new Writable({
    decodeStrings: false,
    write(chunk: string, _encoding, done) {
      if (!isHidden) out.write(chunk);
      done();
    },
  });
  const lines: string[] = [];
  const waiting: { readonly resolve: (line: string) => void; readonly reject: (error: unknown) => void }[] =
    [];
  let isOver = false;
  let reader: Interface | null = null;

  function open(): Interface {
    const opened = createInterface({ input, ...(isTerminal && { output: echo }), terminal: isTerminal });
    opened.on('line', (line) => {
      const next = waiting.shift();
      if (next) next.resolve(line);
      else lines.push(line);
    });
    opened.on('close', () => {
      isOver = true;
      for (const next of waiting.splice(0)) next.reject(ended(instead));
    });
    // Raw mode makes Ctrl-C a key.
    opened.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
    signal.addEventListener(
      'abort',
      () => {
        for (const next of waiting.splice(0)) next.reject(new UpdateError('cancelled', 'interrupted'));
        opened.close();
      },
      { once: true },
    );
    return opened;
  }

  function nextLine(question: string): Promise<string> {
    reader ??= open();
    if (isTerminal) {
      reader.setPrompt(question.slice(question.lastIndexOf('\n') + 1));
      out.write(question.slice(0, question.lastIndexOf('\n') + 1));
      reader.prompt();
    } else out.write(question);
    const [line] = lines.splice(0, 1);
    if (line !== undefined) return Promise.resolve(line);
    if (isOver) return Promise.reject(ended(instead));
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  }

  return {
    ask: nextLine,
    async askSecretly(question) {
      const answer = nextLine(question);
      isHidden = true;
      try {
        return await answer;
      } finally {
        isHidden = false;
        out.write('\n');
      }
    },
    close() {
      reader?.close();
    },
  };
}

function ended(instead: string): UpdateError {
  return new UpdateError('config', `found the end of the input, expected an answer; ${instead}`);
}
