/** header-info, type-info and meta-data: byte 0 tells which, the rest is the document. */
import { parseHeaderInfo } from '../../../src/adapters/artifact/header-info.ts';
import { parseMetaData, parseTypeInfo } from '../../../src/adapters/artifact/type-info.ts';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import { headerInfo, typeInfo } from '../../support/artifact-builder.ts';
import { demand, type FuzzTarget } from '../target.ts';

const HEADER = parseHeaderInfo(Buffer.from(JSON.stringify(headerInfo())));

export const target: FuzzTarget = {
  maxBytes: 16 * 1024,
  isJson: true,
  dictionary: [
    'payloads',
    'type',
    'artifact_provides',
    'artifact_depends',
    'artifact_name',
    'artifact_group',
    'device_type',
    'clears_artifact_provides',
    '__proto__',
    'rootfs-image',
    '../../bin/sh',
    'test-module',
  ],
  seeds: () =>
    [
      headerInfo(),
      headerInfo({ payloads: [{ type: null }] }),
      typeInfo(),
      typeInfo({ artifact_depends: { a: ['b'] } }),
    ].map((document) => Buffer.from(JSON.stringify(document))),
  run(input) {
    refusable(() => {
      const { payloadType, artifactName, compatibleDevices } = parseHeaderInfo(input);
      demand(
        payloadType === null || !/[/\0]|^\.{0,2}$/.test(payloadType),
        () => `payload type ${payloadType}`,
      );
      demand(artifactName !== '' && !/[\n\0]/.test(artifactName), () => `artifact name ${artifactName}`);
      demand(compatibleDevices.length > 0, () => 'fits no device');
    });
    refusable(() => {
      const { provides } = parseTypeInfo(input, HEADER);
      for (const [key, value] of Object.entries(provides ?? {})) {
        demand(typeof value === 'string', () => `${key} provides a ${typeof value}`);
        demand(!['artifact_name', 'artifact_group', 'device_type'].includes(key), () => `sets ${key}`);
      }
      demand(
        !Object.hasOwn(provides ?? {}, '__proto__'),
        () => 'provides a key that no object can take over',
      );
    });
    refusable(() => void parseMetaData(input));
  },
};

function refusable(read: () => void): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
  }
}
