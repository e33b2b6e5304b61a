/** `type-info` and `meta-data` of the one payload. Source: spec/artifact.md sections 5.2 and 5.3. */
import { ArtifactError } from '../../core/artifact-error.ts';
import { quoted } from '../../core/printable.ts';
import type { HeaderInfo } from './header-info.ts';
import {
  complaints,
  describe,
  field,
  objectField,
  parseJsonObject,
  requireText,
  requireTexts,
  type Complain,
} from './json.ts';

export interface TypeInfo {
  readonly provides: Readonly<Record<string, string>> | null;
  readonly depends: ReadonlyMap<string, readonly string[]>;
  readonly clearsProvides: readonly string[] | null;
  readonly json: string;
}

const complain = complaints('bad-type-info', 'type-info');
const ROOTFS = 'rootfs-image';

/** Codes: `bad-type-info`, `payload-type-mismatch`, `reserved-key`. Unknown keys pass, as in every known reader. */
export function parseTypeInfo(bytes: Uint8Array, header: HeaderInfo): TypeInfo {
  const { text, value } = parseJsonObject(bytes, complain);
  requireType(field(value, 'type'), header.payloadType);
  const provides = objectField(value, 'artifact_provides', complain);
  const depends = objectField(value, 'artifact_depends', complain);
  const clears = field(value, 'clears_artifact_provides');
  return {
    provides: provides === null ? null : parseProvides(Object.entries(provides)),
    depends: parseDepends(Object.entries(depends ?? {}), header),
    clearsProvides: clears === undefined ? null : requireTexts(clears, complain, 'clears_artifact_provides'),
    json: text,
  };
}

function requireType(type: unknown, expected: string | null): void {
  if (type !== null && type !== undefined && typeof type !== 'string') {
    throw complain(describe(type), 'a string or null', 'type');
  }
  if (type === expected) return;
  // mender-artifact before 4.3.1 and 4.4.0 writes an empty type for root file systems.
  if (expected === ROOTFS && type === '') return;
  throw new ArtifactError('payload-type-mismatch', {
    where: 'type-info, type',
    found: describe(type),
    expected: `${describe(expected)} as in header-info`,
  });
}

function parseProvides(entries: readonly (readonly [string, unknown])[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    entries.map(([key, value]) => {
      const path = requireKey('artifact_provides', key);
      if (key === 'artifact_name' || key === 'artifact_group' || key === 'device_type') {
        throw reserved(path, 'only header-info to set it');
      }
      return [key, requireText(value, complain, path)];
    }),
  );
}

function parseDepends(
  entries: readonly (readonly [string, unknown])[],
  header: HeaderInfo,
): TypeInfo['depends'] {
  return new Map(
    entries.map(([key, value]) => {
      const path = requireKey('artifact_depends', key);
      if (key === 'device_type' || header.depends.has(key)) {
        throw reserved(path, 'no second rule beside the one in header-info');
      }
      return [
        key,
        Array.isArray(value) ? requireTexts(value, complain, path) : [requireText(value, complain, path)],
      ];
    }),
  );
}

function requireKey(group: string, key: string): string {
  const path = `a key of ${group}`;
  requireText(key, complain, path);
  // No device can store it: it means something else in every object.
  if (key === '__proto__') throw reserved(path, 'another key');
  return `${group}, key ${quoted(key)}`;
}

function reserved(path: string, expected: string): ArtifactError {
  return new ArtifactError('reserved-key', {
    where: `type-info, ${path}`,
    found: 'a reserved key',
    expected,
  });
}

/** The JSON text; null = none, which is also what a member of zero bytes says. Code: `bad-meta-data`. */
export function parseMetaData(bytes: Uint8Array): string | null {
  if (bytes.byteLength === 0) return null;
  const about: Complain = complaints('bad-meta-data', 'meta-data');
  return parseJsonObject(bytes, about).text;
}
