/** The engine for gzip: any number of gzip members, each with its check value, and nothing behind them. */
import { createGunzip } from 'node:zlib';
import { damaged, type Engine, type UnpackContext } from './engine.ts';

/** With the library's default of 16 KiB unpacking is four times slower. */
const CHUNK_BYTES = 256 * 1024;

export function startGunzip(context: UnpackContext): Engine {
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  const failed = new Promise<never>((_resolve, reject) => {
    gunzip.on('error', (error) => {
      reject(
        damaged(context.member, `a gzip stream with "${error.message}"`, 'a complete gzip stream', error),
      );
    });
  });
  return {
    sink: gunzip,
    output: gunzip,
    failed,
    settle: async (input) => {
      // Zero bytes behind the last gzip member make the library stop there without a word.
      if (input.isEnded && gunzip.bytesWritten === input.bytes) return;
      throw damaged(
        context.member,
        `data behind byte ${gunzip.bytesWritten}, the end of the gzip stream`,
        'its end',
      );
    },
    stop: async () => {
      gunzip.destroy();
    },
  };
}
