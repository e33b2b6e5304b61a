import { CommanderError } from 'commander';
import { VERSION } from '../version.ts';
import { createActions } from './compose.ts';
import { menderProgramNamed } from './mender/programs.ts';
import { runMenderProgram } from './mender/run.ts';
import { openCommandProcess } from './process.ts';
import { createProgram } from './program.ts';

/**
 * The command `holdpoint`: reads the command line, runs one subcommand, and ends with its exit status. One line on
 * standard error for whatever went wrong, never a stack trace. The second composition root beside main.ts. Called as
 * `mender`, `mender-update` or `mender-auth` it is that program.
 */
function runHoldpoint(): void {
  // Lists of holds and histories name the program by this.
  process.title = 'holdpoint';
  const command = openCommandProcess('holdpoint');
  const program = createProgram({
    version: VERSION,
    writeOut: command.terminal.out.write,
    writeErr: command.terminal.err.write,
    run: (doing, action, options, isForShow) =>
      command.run(doing, (around) => action(createActions(around, options)), isForShow),
  });
  try {
    if (process.argv.length <= 2) program.help({ error: true });
    program.parse();
  } catch (error) {
    // Commander has said what it had to say: 0 after --help and --version, 1 after a mistake.
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : 1;
  }
}

const [, calledAs = '', ...args] = process.argv;
const program = menderProgramNamed(calledAs);
if (program === null) runHoldpoint();
else runMenderProgram(program, calledAs, args);
