/**
 * The values of a Mender store, typed. Each key is read by itself: one that makes no sense becomes a complaint, and the
 * others are taken. Source: spec/configuration.md sections 3.2 to 3.5.
 */
import * as v from 'valibot';
import type { Installed, Provides } from '../../core/artifact.ts';
import { UpdateError } from '../../core/errors.ts';
import type { MenderStoreComplaint, MenderStoreContent, MenderUpdate } from '../../core/mender-content.ts';
import { isOneLine, printable, quoted } from '../../core/printable.ts';
import type { StandaloneRecord } from '../../core/standalone.ts';
import type { Entries } from './dump.ts';

/** What the client falls back on where its store has no name: a file of the system, before 3.5. */
export interface Fallback {
  readonly artifactName: string | null;
  readonly artifactGroup: string | null;
}

export interface DocumentOptions {
  /** Members of `standalone-state`, versions 1 and 2; throws UpdateError saying what is wrong. */
  readonly parseStandalone: (value: unknown) => StandaloneRecord | null;
}

export type StoreValues = Omit<MenderStoreContent, 'writtenWallMs' | 'lastLoggedState'>;

/** Longest name of an artifact or group that is believed. */
const MAX_NAME_CHARACTERS = 1024;

const strings = v.nullish(v.array(v.string()), null);
const texts = v.record(v.string(), v.string());
const artifact = v.object({
  Source: v.nullish(v.object({ URI: v.nullish(v.string(), '') }), null),
  device_types_compatible: strings,
  PayloadTypes: strings,
  artifact_name: v.nullish(v.string(), ''),
  artifact_group: v.nullish(v.string(), ''),
  artifact_provides: v.nullish(texts, null),
  clears_artifact_provides: strings,
});
/** An unknown answer of either kind is an unknown record, not "none". */
const state = v.object({
  Version: v.picklist([0, 1, 2]),
  Name: v.pipe(v.string(), v.minLength(1)),
  UpdateInfo: v.object({
    Artifact: artifact,
    ID: v.pipe(v.string(), v.minLength(1), v.maxLength(200), v.check(isOneLine, 'one line')),
    RebootRequested: v.nullish(
      v.array(v.picklist(['', 'reboot-type-custom', 'reboot-type-automatic'])),
      null,
    ),
    SupportsRollback: v.nullish(v.picklist(['', 'rollback-supported', 'rollback-not-supported']), ''),
    StateDataStoreCount: v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 0),
    AllRollbacksSuccessful: v.nullish(v.boolean(), null),
  }),
});
/** 3.x installs several payloads at once; committing only the first would be worse than leaving it to 3.x. */
const ofOnePayload = v.object({ PayloadTypes: v.array(v.unknown()) });
const list = v.nullish(v.array(v.unknown()), []);
const maps = v.object({ active: list, expired: list });

/** Lines `key=value`; others are passed over. Source: spec/configuration.md section 2 (`artifact_info`). */
export function parseArtifactInfo(text: string): Fallback {
  const value = (key: string): string | null => {
    const line = text.split('\n').find((one) => one.split('=', 1)[0]?.trim() === key);
    const found = line?.slice(line.indexOf('=') + 1).trim() ?? '';
    return found === '' || found.length > MAX_NAME_CHARACTERS || !isOneLine(found) ? null : found;
  };
  return { artifactName: value('artifact_name'), artifactGroup: value('artifact_group') };
}

export function readDocument(entries: Entries, options: DocumentOptions): StoreValues {
  const complaints: MenderStoreComplaint[] = [];
  function read<T>(key: string, parse: (bytes: Uint8Array) => T): T | null {
    const bytes = entries.get(key);
    if (bytes === undefined) return null;
    try {
      return parse(bytes);
    } catch (error) {
      const message = error instanceof Error ? printable(error.message) : 'found nothing that can be read';
      complaints.push({ key, message });
      return null;
    }
  }
  const state = read('state', stateOf);
  return {
    artifactName: read('artifact-name', nameOf),
    artifactGroup: read('artifact-group', nameOf),
    // 3.x may store a literal null.
    provides: read('artifact-provides', (bytes) => checked(v.nullable(texts), jsonOf(bytes)) ?? {}),
    update: updateOf(state, () => read('state-uncommitted', stateOf)),
    standalone: read('standalone-state', (bytes) => {
      const { PayloadTypes: types } = checked(ofOnePayload, jsonOf(bytes));
      if (types.length > 1) throw problem(`${types.length} payloads`, 'one');
      return options.parseStandalone(jsonOf(bytes));
    }),
    controlMaps: read('update-control-maps', (bytes) => checked(maps, jsonOf(bytes))) ?? {
      active: [],
      expired: [],
    },
    complaints,
  };
}

/** What a client finds that has this installed and nothing under way. */
export function installedEntries({ artifactName, artifactGroup, provides }: Installed): Entries {
  const bytes = (text: string): Uint8Array => Buffer.from(text);
  const sorted: Provides = Object.fromEntries(
    Object.entries(provides).sort(([one], [other]) => (one < other ? -1 : 1)),
  );
  return new Map([
    ['artifact-name', bytes(artifactName)],
    ...(artifactGroup === '' ? [] : [['artifact-group', bytes(artifactGroup)] as const]),
    ['artifact-provides', bytes(JSON.stringify(sorted))],
  ]);
}

type State = v.InferOutput<typeof state>;

/**
 * The record that counts. One of a client before 2.0 is written to `state-uncommitted` in the newer form until the
 * update is committed; that one counts if it is of the same deployment. Source: spec/update-flow.md section 6.2.
 */
function updateOf(record: State | null, uncommitted: () => State | null): MenderUpdate | null {
  if (record !== null && record.Version === 2) return fromVersion2(record);
  const other = uncommitted();
  if (other !== null && other.Version === 2) {
    if (record === null || other.UpdateInfo.ID === record.UpdateInfo.ID) return fromVersion2(other);
  }
  return record === null ? null : fromVersion1(record);
}

function fromVersion2({ Name, UpdateInfo: info }: State): MenderUpdate {
  const { Artifact: found } = info;
  return {
    name: Name,
    deploymentId: info.ID,
    uri: found.Source?.URI ?? '',
    artifactName: found.artifact_name,
    artifactGroup: found.artifact_group,
    compatibleDevices: found.device_types_compatible ?? [],
    payloadTypes: found.PayloadTypes ?? [],
    provides: found.artifact_provides,
    clearsProvides: found.clears_artifact_provides,
    rebootRequested: info.RebootRequested,
    supportsRollback: info.SupportsRollback,
    storeCount: info.StateDataStoreCount,
    areAllRollbacksSuccessful: info.AllRollbacksSuccessful,
  };
}

/** Those clients knew one payload type, and all of it went without saying. */
function fromVersion1(record: State): MenderUpdate {
  return {
    ...fromVersion2(record),
    payloadTypes: ['rootfs-image'],
    rebootRequested: ['reboot-type-custom'],
    supportsRollback: 'rollback-supported',
    areAllRollbacksSuccessful: null,
  };
}

function stateOf(bytes: Uint8Array): State {
  return checked(state, jsonOf(bytes));
}

function nameOf(bytes: Uint8Array): string | null {
  const text = textOf(bytes);
  if (text === '') return null;
  if (text.length > MAX_NAME_CHARACTERS || !isOneLine(text)) {
    throw problem(quoted(text), `one line of at most ${MAX_NAME_CHARACTERS} characters`);
  }
  return text;
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw problem(`${bytes.length} bytes that are no UTF-8`, 'text');
  }
}

/** Every JSON value in the store is an object, or null. */
function jsonOf(bytes: Uint8Array): unknown {
  const text = textOf(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not shown: it may hold a signed link.
    throw problem(`${bytes.length} bytes that are no JSON`, 'an object');
  }
  if (Array.isArray(value)) throw problem('a list', 'an object');
  return value;
}

function checked<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  throw problem(`${where === null ? '' : `${where} `}${issue.received}`, issue.expected ?? 'another value');
}

function problem(found: string, expected: string): UpdateError {
  return new UpdateError('store', `found ${found}, expected ${expected}`);
}
