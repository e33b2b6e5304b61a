/** `mender snapshot dump`: an image of a file system of this device, on standard output. */
import { UpdateError } from '../../../core/errors.ts';
import { complain, createProgressView, sizeText } from '../../terminal.ts';
import { settingsOf, type MenderContext } from '../context.ts';
import { copyDevice, STALL_LIMIT_MS, standardOutput, type Compression } from './copy.ts';
import { findSource } from './source.ts';
import { freeze, type Freeze } from './freeze.ts';

export async function dumpSnapshot(
  context: MenderContext,
  { isTerminal }: { readonly isTerminal: boolean },
): Promise<number> {
  const { around, run, doing } = context;
  const { terminal } = around;
  if (isTerminal)
    throw new UpdateError('config', 'an image is not for a terminal: send the output elsewhere');
  const compression = compressionOf(run.own.text('compression') ?? 'none');
  const { paths } = await settingsOf(context);
  const source = await findSource(run.own.text('source') ?? '/', paths.datastoreDirectory);
  const output = standardOutput();
  if (output.isFile && output.deviceNumber === source.deviceNumber) {
    throw new UpdateError('config', 'the output lies on the file system the snapshot is taken of');
  }
  const view = run.own.flag('quiet') === true ? null : createProgressView(terminal.err);
  const still = source.mountPoint === null ? null : await tryToFreeze(source.mountPoint, terminal, doing);
  try {
    await copyDevice(
      {
        device: source.device,
        compression,
        output,
        stallLimitMs: STALL_LIMIT_MS,
        onBytes: (bytes) =>
          view?.show({
            percent: Math.min(100, (bytes * 100) / source.sizeBytes),
            label: 'Copying',
            details: `${sizeText(bytes)} of ${sizeText(source.sizeBytes)}`,
          }),
      },
      around.interrupts.first,
    );
  } catch (error) {
    around.abandonOutput();
    throw error;
  } finally {
    await still?.thaw();
    view?.clear();
  }
  return 0;
}

/** Without it an image is still worth something: as the disk was after a power cut. null = it goes on being written to. */
async function tryToFreeze(
  mountPoint: string,
  terminal: MenderContext['around']['terminal'],
  doing: string,
): Promise<Freeze | null> {
  try {
    return await freeze(mountPoint);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    complain(terminal, doing, `${why}; what is written meanwhile may spoil the image`);
    return null;
  }
}

function compressionOf(name: string): Compression {
  if (name === 'none' || name === 'gzip') return name;
  throw new UpdateError('config', `--compression: found ${JSON.stringify(name)}, expected none or gzip`);
}
