/** What a Mender client has left: the text of the dump, the documents in it, and what is made of them. */
import { isDeepStrictEqual } from 'node:util';
import { parseArtifactInfo, readDocument } from '../../../src/adapters/mender-store/document.ts';
import { parseDump } from '../../../src/adapters/mender-store/dump.ts';
import { parseStandaloneDocument } from '../../../src/adapters/store/standalone-document.ts';
import { documentOf, parseStateDocument } from '../../../src/adapters/store/state-document.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { takeOver } from '../../../src/core/mender-takeover.ts';
import { MENDER_RECORDS } from '../../../src/core/mender-records.ts';
import { transition } from '../../../src/core/transition.ts';
import { demand, type FuzzTarget } from '../target.ts';

const ARTIFACT = {
  Source: { URI: 'https://example.com/x', Expire: '' },
  device_types_compatible: ['kiosk'],
  PayloadTypes: ['single-file'],
  artifact_name: 'release-2',
  artifact_group: '',
  artifact_provides: { 'rootfs-image.version': '2' },
  clears_artifact_provides: ['rootfs-image.*'],
};

function stateOf(name: string): string {
  return JSON.stringify({
    Version: 2,
    Name: name,
    UpdateInfo: {
      Artifact: ARTIFACT,
      ID: 'deployment-1',
      RebootRequested: ['reboot-type-custom'],
      SupportsRollback: 'rollback-supported',
      StateDataStoreCount: 3,
      HasDBSchemaUpdate: false,
    },
  });
}

/** Lines `KEY TEXT`, from which the dump is made: a change then gets behind the hexadecimal digits. */
function dumpOf(input: Uint8Array): Buffer {
  const hex = (text: string): string => ` ${Buffer.from(text).toString('hex')}`;
  const lines = Buffer.from(input).toString('utf8').split('\n');
  const pairs = lines.flatMap((line) => {
    const at = line.indexOf(' ');
    return at > 0 ? [hex(line.slice(0, at)), hex(line.slice(at + 1))] : [];
  });
  const head = ['VERSION=3', 'format=bytevalue', 'type=btree', 'HEADER=END'];
  return Buffer.from([...head, ...pairs, 'DATA=END', ''].join('\n'));
}

export const target: FuzzTarget = {
  maxBytes: 32 * 1024,
  dictionary: [
    ...Object.keys(MENDER_RECORDS),
    'state',
    'state-uncommitted',
    'artifact-name',
    'artifact-group',
    'artifact-provides',
    'standalone-state',
    'update-control-maps',
    '"Version":0',
    '"Version":1',
    'null',
    '[]',
    '{}',
    'reboot-type-automatic',
  ],
  seeds: () => [
    Buffer.from('artifact-name release-1\nartifact-group kiosks\nartifact-provides {"a":"b"}\n'),
    ...Object.keys(MENDER_RECORDS).map((name) =>
      Buffer.from(`artifact-name release-1\nstate ${stateOf(name)}\n`),
    ),
    Buffer.from(
      'update-control-maps {"active":[{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1,"states":{"ArtifactInstall_Enter":{"action":"pause","on_map_expire":"fail","on_action_executed":"pause"}},"stamp":{}}],"expired":[]}\n',
    ),
  ],
  run(input) {
    refusable(() => void parseDump(input));
    parseArtifactInfo(Buffer.from(input).toString('utf8'));
    const values = refusable(() =>
      readDocument(parseDump(dumpOf(input)), { parseStandalone: parseStandaloneDocument }),
    );
    if (values === null) return;
    const content = { ...values, writtenWallMs: 1e12, lastLoggedState: null };
    const at = { wallMs: 1e12 + 5_000, bootMs: 60_000 };
    const { seed } = takeOver(content, { ...at, bootId: 'boot' });
    const document = JSON.parse(JSON.stringify(documentOf(seed))) as unknown;
    demand(isDeepStrictEqual(parseStateDocument(document), document), () => 'cannot be stored as it is');
    const { settings } = seed;
    const started = { kind: 'ServiceStarted', bootId: 'boot', settings, bootstrap: null } as const;
    transition(seed, { ...started, at, nonce: 'f'.repeat(32) });
  },
};

function refusable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof UpdateError) || error.kind === 'internal') throw error;
    return null;
  }
}
