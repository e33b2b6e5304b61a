/** The manifest: whatever is accepted is its own canonical text. */
import { parseManifest } from '../../../src/adapters/artifact/manifest.ts';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { sha256 } from '../../support/artifact-builder.ts';
import { demand, type FuzzTarget } from '../target.ts';

const line = (name: string): string => `${sha256(name)}  ${name}\n`;

export const target: FuzzTarget = {
  maxBytes: 8 * 1024,
  dictionary: [
    'version',
    'header.tar',
    'header.tar.gz',
    'header.tar.xz',
    'data/0000/',
    '..',
    '  ',
    '\n',
    'manifest',
  ],
  seeds: () =>
    [
      line('data/0000/one') + line('data/0000/two') + line('header.tar.gz') + line('version'),
      line('header.tar') + line('version'),
      line('version') + line('header.tar') + line('data/0000/one'),
    ].map((text) => Buffer.from(text)),
  run(input) {
    try {
      const { versionSum, headerName, headerSum, fileSums } = parseManifest(input);
      const lines = [
        [versionSum, 'version'],
        [headerSum, headerName],
        ...[...fileSums].map(([name, sum]) => [sum, `data/0000/${name}`]),
      ].map(([sum, name]) => `${sum}  ${name}\n`);
      const found = Buffer.from(input)
        .toString('latin1')
        .split(/(?<=\n)/);
      demand(
        lines.toSorted().join('') === found.toSorted().join(''),
        () => 'accepted is not what was written',
      );
      for (const name of fileSums.keys()) {
        demand(!/[/\0]|^\.\.?$|^$/.test(name), () => `accepted the file name ${JSON.stringify(name)}`);
      }
    } catch (error) {
      if (!(error instanceof ArtifactError)) throw error;
    }
  },
};
