/**
 * `holdpoint-flash`: writes an image to a partition, with the options of `mender-flash`. The program around flash.ts:
 * reads the command line, says in one line what went wrong. Exit: 0 written and read back, 1 not, 2 the target is in use.
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { VERSION } from '../version.ts';
import { flash, FlashError, type FlashOrder } from './flash.ts';

const EXIT = { written: 0, failed: 1, targetBusy: 2 } as const;

interface CommandLine {
  readonly inputSize: number;
  readonly input: string;
  readonly output: string;
}

function readCommandLine(argv: readonly string[]): FlashOrder {
  const program = new Command('holdpoint-flash')
    .description(
      'Writes an image to a block device that nobody else uses, flushes it, and compares what is there.',
    )
    .version(VERSION)
    .requiredOption('-s, --input-size <bytes>', 'so many bytes must come, not more and not less', parseSize)
    .requiredOption('-i, --input <path>', 'file or named pipe to read')
    .requiredOption('-o, --output <path>', 'block device to write')
    .showHelpAfterError('(--help lists the options)')
    .allowExcessArguments(false)
    .exitOverride();
  const { inputSize, input, output } = program.parse([...argv]).opts<CommandLine>();
  return { inputSizeBytes: inputSize, input, output };
}

function parseSize(given: string): number {
  if (!/^(0|[1-9]\d{0,15})$/.test(given) || !Number.isSafeInteger(Number(given))) {
    throw new InvalidArgumentError('Expected a number of bytes.');
  }
  return Number(given);
}

async function main(): Promise<number> {
  const order = readCommandLine(process.argv);
  const { bytes, sha256 } = await flash(order);
  process.stdout.write(`holdpoint-flash: ${bytes} bytes are on ${order.output}, SHA-256 ${sha256}\n`);
  return EXIT.written;
}

main()
  .then((exitCode) => process.exit(exitCode))
  .catch((error: unknown) => {
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.written : EXIT.failed);
    // In the form in which the service takes an update module's reason: this is run by one.
    const code = error instanceof FlashError ? error.code : 'internal';
    const text = error instanceof Error ? error.message : String(error);
    process.stderr.write(`holdpoint-reason: ${code}: ${text}\n`);
    process.exit(code === 'target-busy' ? EXIT.targetBusy : EXIT.failed);
  });
