/** The tar reader alone. */
import { ByteReader, ChunkSource } from '../../../src/adapters/artifact/bytes.ts';
import { TarReader } from '../../../src/adapters/artifact/tar.ts';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { base256, pax, tar, tarEntry } from '../../support/artifact-builder.ts';
import { inChunks } from '../../support/artifact-verdict.ts';
import { repairTar } from '../tar-repair.ts';
import { demand, type FuzzTarget } from '../target.ts';

export const target: FuzzTarget = {
  maxBytes: 32 * 1024,
  dictionary: [
    'ustar\0',
    'ustar  \0',
    'path=',
    'size=',
    '12 path=a\n',
    'GNU.sparse.major=1',
    '././@LongLink',
  ],
  seeds: () => [
    tar([
      { name: 'one', content: 'hello' },
      { name: 'two', content: Buffer.alloc(2_000, 7) },
    ]),
    tar([pax({ path: 'long/name', size: '05' }), { name: 'short', content: 'hello' }]),
    tar([
      { name: '././@LongLink', type: 'L', content: 'a/long/name\0' },
      { name: 'short', content: 'hello' },
    ]),
    tar([tarEntry({ name: 'big', content: 'x'.repeat(600) }), Buffer.from(base256(5n))]),
  ],
  repair(input) {
    const bytes = Buffer.from(input);
    repairTar(bytes);
    return bytes;
  },
  async run(input) {
    const source = new ChunkSource(inChunks(input, 333), new AbortController().signal);
    const reader = new TarReader(new ByteReader(source.pull), 'fuzzed');
    let members = 0;
    let bytes = 0;
    try {
      for (let member = await reader.next(); member !== null; member = await reader.next()) {
        members += 1;
        let content = 0;
        for (let piece = await reader.content(); piece !== null; piece = await reader.content()) {
          demand(piece.length > 0, () => 'an empty piece of content');
          content += piece.length;
        }
        demand(content === member.sizeBytes, () => `${content} bytes of a member of ${member.sizeBytes}`);
        bytes += content;
        demand(!member.name.includes('\0'), () => 'a name with a zero byte');
      }
    } catch (error) {
      if (!(error instanceof ArtifactError)) throw error;
    } finally {
      await source.close();
    }
    demand(members * 512 + bytes <= input.length, () => 'more came out than went in');
  },
};
