/** `header-info`: name, group, compatible devices, payload type. Source: spec/artifact.md section 5.1. */
import { ArtifactError } from '../../core/artifact-error.ts';
import { quoted } from '../../core/printable.ts';
import {
  complaints,
  describe,
  field,
  isObject,
  objectField,
  parseJsonObject,
  requireKnownKeys,
  requireText,
  requireTexts,
  type JsonObject,
} from './json.ts';

export interface HeaderInfo {
  readonly artifactName: string;
  readonly artifactGroup: string;
  readonly payloadType: string | null;
  readonly compatibleDevices: readonly string[];
  /** `artifact_name` and `artifact_group`, where given. */
  readonly depends: ReadonlyMap<string, readonly string[]>;
  readonly json: string;
}

const complain = complaints('bad-header-info', 'header-info');

/** Codes: `bad-header-info`, `multiple-payloads`, `bad-payload-type`. Unknown keys are refused at every level. */
export function parseHeaderInfo(bytes: Uint8Array): HeaderInfo {
  const { text, value } = parseJsonObject(bytes, complain);
  requireKnownKeys(value, ['payloads', 'artifact_provides', 'artifact_depends'], complain);
  const provides = objectField(value, 'artifact_provides', complain);
  if (provides === null) throw complain('nothing', 'an artifact name', 'artifact_provides');
  requireKnownKeys(provides, ['artifact_name', 'artifact_group'], complain, 'artifact_provides');
  const artifactName = requireText(field(provides, 'artifact_name'), complain, 'artifact_name');
  if (artifactName === '') throw complain('an empty name', 'an artifact name', 'artifact_name');
  const group = field(provides, 'artifact_group');
  const { compatibleDevices, depends } = parseDepends(value);
  return {
    artifactName,
    artifactGroup: group === undefined ? '' : requireText(group, complain, 'artifact_group'),
    payloadType: parsePayloadType(field(value, 'payloads')),
    compatibleDevices,
    depends,
    json: text,
  };
}

function parseDepends(value: JsonObject): Pick<HeaderInfo, 'compatibleDevices' | 'depends'> {
  const object = objectField(value, 'artifact_depends', complain);
  if (object === null) throw complain('nothing', 'compatible device types', 'artifact_depends');
  const path = 'artifact_depends';
  requireKnownKeys(object, ['device_type', 'artifact_name', 'artifact_group'], complain, path);
  const compatibleDevices = requireTexts(field(object, 'device_type'), complain, `${path}.device_type`);
  if (compatibleDevices.length === 0) {
    throw complain('an empty list', 'at least one device type', `${path}.device_type`);
  }
  const depends = new Map<string, readonly string[]>();
  for (const key of ['artifact_name', 'artifact_group']) {
    const values = field(object, key);
    if (values !== undefined) depends.set(key, requireTexts(values, complain, `${path}.${key}`));
  }
  return { compatibleDevices, depends };
}

function parsePayloadType(payloads: unknown): string | null {
  if (!Array.isArray(payloads)) throw complain(describe(payloads), 'a list of one payload', 'payloads');
  if (payloads.length === 0) throw complain('an empty list', 'one payload', 'payloads');
  if (payloads.length > 1) {
    throw new ArtifactError('multiple-payloads', {
      where: 'header-info, payloads',
      found: `${payloads.length} payloads`,
      expected: 'one payload',
    });
  }
  const payload: unknown = payloads[0];
  if (!isObject(payload)) throw complain(describe(payload), 'an object', 'payloads[0]');
  requireKnownKeys(payload, ['type'], complain, 'payloads[0]');
  const type = field(payload, 'type');
  if (type === null) return null;
  const badType = complaints('bad-payload-type', 'header-info');
  const name = requireText(type, badType, 'payloads[0].type');
  // It becomes the file name of a program.
  if (name === '' || name === '.' || name === '..' || name.includes('/')) {
    throw badType(quoted(name), 'a single safe name, or null', 'payloads[0].type');
  }
  return name;
}
