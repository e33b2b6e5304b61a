/** The whole reader: front, header, payload to its end. */
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { buildArtifact, sha256, typeInfo } from '../../support/artifact-builder.ts';
import { judge } from '../../support/artifact-verdict.ts';
import { repairArtifact } from '../tar-repair.ts';
import { demand, type FuzzTarget } from '../target.ts';

export const target: FuzzTarget = {
  maxBytes: 64 * 1024,
  dictionary: [
    'header.tar',
    'header.tar.gz',
    'data/0000.tar',
    'manifest',
    'manifest.sig',
    'version',
    'header-info',
  ],
  seeds: () => [
    buildArtifact({ suffix: '' }),
    buildArtifact({ suffix: '.gz' }),
    buildArtifact({
      suffix: '',
      files: [],
      scripts: [{ name: 'ArtifactInstall_Enter_00', content: '#!/bin/sh\n' }],
    }),
    buildArtifact({
      suffix: '',
      typeInfo: typeInfo({ artifact_depends: { key: ['a', 'b'] } }),
      metaData: { a: [1] },
    }),
  ],
  repair: repairArtifact,
  async run(input) {
    const verdict = await judge(input, { chunkBytes: 700 });
    const { error } = verdict;
    if (error !== null) {
      if (error instanceof ArtifactError || (error instanceof UpdateError && error.kind !== 'internal'))
        return;
      throw error;
    }
    // What was accepted is what was said.
    const text = Buffer.from(input).toString('latin1');
    for (const [name, sum] of Object.entries(verdict.files)) {
      demand(text.includes(`${sum}  data/0000/${name}\n`), () => `${name} is not what the manifest promises`);
    }
    demand(
      text.includes(sha256('{"format":"mender","version":3}')),
      () => 'accepted without the sum of its version',
    );
  },
};
