import { generateKeyPairSync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sortedJson } from '../../../src/devserver/device-signature.ts';
import { issueToken, readToken } from '../../../src/devserver/device-token.ts';
import { rangeOf } from '../../../src/devserver/download.ts';
import { isLoopback } from '../../../src/devserver/management-api.ts';
import { acceptedMap, isHeld, mapAnswer } from '../../../src/devserver/map-release.ts';
import type { DeploymentRecord, Release } from '../../../src/devserver/records.ts';
import type { Secrets } from '../../../src/devserver/secrets.ts';

const ID = '5f0e7c1e-6f0f-4f6e-9f6c-0d6a1c2b3d4e';

function secrets(): Secrets {
  return { ...generateKeyPairSync('ed25519'), linkSecret: randomBytes(32) };
}

describe('a device token', () => {
  const ours = secrets();
  const facts = { deviceId: 'device', authSetId: 'set' };
  const token = issueToken(ours, facts, 1_000_000, 60_000);

  it('is good until the moment it expires', () => {
    expect(readToken(ours, token, 1_000_000)).toEqual(facts);
    expect(readToken(ours, token, 1_059_999)).toEqual(facts);
    expect(readToken(ours, token, 1_060_000)).toBeNull();
  });

  it('is refused when any character of it is another one, and by another server', () => {
    for (let at = 0; at < token.length; at++) {
      const other = token[at] === 'A' ? 'Q' : 'A';
      const changed = token.slice(0, at) + other + token.slice(at + 1);
      // The last character of the signature has bits that are not used: those may differ.
      if (at < token.length - 1) expect([at, readToken(ours, changed, 1_000_000)]).toEqual([at, null]);
    }
    expect(readToken(secrets(), token, 1_000_000)).toBeNull();
  });

  it('has three parts and no more', () => {
    const two = token.split('.').slice(0, 2).join('.');
    for (const text of [`${token}.`, `${token}.more`, two, `${two}.`, '']) {
      expect([text, readToken(ours, text, 1_000_000)]).toEqual([text, null]);
    }
  });
});

describe('a range', () => {
  it('is always inside of the file and as RFC 9110 says', () => {
    const number = fc.nat({ max: 3000 });
    fc.assert(
      fc.property(number, number, fc.integer({ min: 1, max: 2000 }), (first, more, size) => {
        const last = first + more;
        const closed = rangeOf(`bytes=${first}-${last}`, size);
        if (first >= size) expect(closed).toEqual({ kind: 'unsatisfiable' });
        else expect(closed).toEqual({ kind: 'part', first, last: Math.min(last, size - 1) });
        const open = rangeOf(`bytes=${first}-`, size);
        if (first >= size) expect(open).toEqual({ kind: 'unsatisfiable' });
        else expect(open).toEqual({ kind: 'part', first, last: size - 1 });
        const tail = rangeOf(`bytes=-${first}`, size);
        if (first === 0) expect(tail).toEqual({ kind: 'unsatisfiable' });
        else expect(tail).toEqual({ kind: 'part', first: Math.max(0, size - first), last: size - 1 });
      }),
    );
  });

  it('that is none is the whole file', () => {
    for (const text of [
      undefined,
      '',
      'bytes',
      'bytes=',
      'bytes=-',
      'bytes=1-2,4-5',
      'bytes=2-1',
      'rows=1-2',
    ]) {
      expect(rangeOf(text, 10)).toEqual({ kind: 'whole' });
    }
  });
});

describe('a control map', () => {
  const deployment = (
    map: object,
    releases: Partial<Record<'ArtifactReboot_Enter' | 'ArtifactCommit_Enter', Release>> = {},
  ): DeploymentRecord => ({
    id: ID,
    name: 'one',
    artifactId: 'a',
    artifactName: 'release-2',
    controlMap: acceptedMap(map, ID),
    releases,
    isForced: false,
    createdMs: 0,
    abortedMs: null,
  });
  const pauses = {
    Priority: 2,
    states: { ArtifactReboot_Enter: { action: 'pause' }, ArtifactCommit_Enter: { Action: 'pause' } },
  };
  const rule = { action: 'pause', on_map_expire: 'fail', on_action_executed: 'pause' };

  it('gets the id of its deployment, lower-case names and its defaults, and may not have another id', () => {
    expect(mapAnswer(deployment(pauses), 0)).toEqual({
      update_control_map: {
        id: ID,
        priority: 2,
        states: { ArtifactCommit_Enter: rule, ArtifactReboot_Enter: rule },
      },
    });
    for (const key of ['id', 'ID', 'Id']) {
      expect(acceptedMap({ [key]: ID, states: {} }, ID)).toContain(`"id":"${ID}"`);
      expect(() => acceptedMap({ [key]: ID.replace('5', '6'), states: {} }, ID)).toThrow(/\$\.id/i);
    }
  });

  it('tells the times that are to come beside it, and what has come in it', () => {
    const one = deployment(pauses, {
      ArtifactReboot_Enter: { atMs: 1000, isForced: false },
      ArtifactCommit_Enter: { atMs: 5000, isForced: true },
    });
    expect(mapAnswer(one, 0)).toMatchObject({
      update_control_map: { states: { ArtifactCommit_Enter: rule, ArtifactReboot_Enter: rule } },
      holdpoint: {
        releases: [
          { point: 'ArtifactReboot_Enter', release_at: '1970-01-01T00:00:01.000Z', force: false },
          { point: 'ArtifactCommit_Enter', release_at: '1970-01-01T00:00:05.000Z', force: true },
        ],
      },
    });
    const between = mapAnswer(one, 1000);
    expect(between?.update_control_map).toEqual({
      id: ID,
      priority: 2,
      states: { ArtifactCommit_Enter: rule },
    });
    expect(between?.holdpoint?.releases).toEqual([
      { point: 'ArtifactCommit_Enter', release_at: '1970-01-01T00:00:05.000Z', force: true },
    ]);
    const force = 'force_continue';
    expect(mapAnswer(one, 5000)).toEqual({
      update_control_map: {
        id: ID,
        priority: 2,
        states: { ArtifactCommit_Enter: { action: force, on_map_expire: force, on_action_executed: force } },
      },
    });
    expect([isHeld(one, 'ArtifactReboot_Enter', 999), isHeld(one, 'ArtifactReboot_Enter', 1000)]).toEqual([
      true,
      false,
    ]);
  });
});

describe('identities and addresses', () => {
  it('are the same in any order of keys', () => {
    expect(sortedJson({ b: [1, { d: null, c: 'x' }], a: true })).toBe(
      '{"a":true,"b":[1,{"c":"x","d":null}]}',
    );
  });

  it('are loopback only when they are', () => {
    for (const one of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
      expect(isLoopback(one)).toBe(true);
    for (const one of [
      undefined,
      '',
      '10.0.0.1',
      '128.0.0.1',
      '::',
      'fe80::1',
      '127.0.0.1.example',
      '::ffff:10.0.0.1',
    ]) {
      expect([one, isLoopback(one)]).toEqual([one, false]);
    }
  });
});
