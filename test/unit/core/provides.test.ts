import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ArtifactInfo, Installed } from '../../../src/core/artifact.ts';
import { ArtifactError } from '../../../src/core/artifact-error.ts';
import {
  applyProvides,
  checkDepends,
  findMisfit,
  inconsistentName,
  matchesPattern,
} from '../../../src/core/provides.ts';
import { seedFromEnvironment } from '../../support/random.ts';

const seed = seedFromEnvironment();

function artifact(changes: Partial<ArtifactInfo> = {}): ArtifactInfo {
  return {
    artifactName: 'release-2',
    artifactGroup: '',
    payloadType: 'test-module',
    compatibleDevices: ['board-a', 'board-b'],
    depends: {},
    provides: null,
    clearsProvides: null,
    scripts: [],
    digest: `sha256:${'0'.repeat(64)}`,
    isSigned: false,
    verifiedBy: '',
    headerInfoJson: '{}',
    typeInfoJson: '{}',
    metaDataJson: null,
    payloadFileNames: [],
    ...changes,
  };
}

function installed(changes: Partial<Installed> = {}): Installed {
  return {
    artifactName: 'release-1',
    artifactGroup: 'beta',
    provides: { 'app.version': '1', other: 'x' },
    ...changes,
  };
}

describe('what an artifact depends on', () => {
  const code = (info: ArtifactInfo, device: string | null, state = installed()): string | null =>
    findMisfit(info, state, device)?.code ?? null;

  it('fits a device of any listed type', () => {
    expect(code(artifact(), 'board-a')).toBeNull();
    expect(code(artifact(), 'board-b')).toBeNull();
  });

  it.each(['board', 'board-ab', 'Board-a', 'board-a ', '*'])(
    'does not fit the device type "%s"',
    (device) => {
      expect(code(artifact(), device)).toBe('wrong-device-type');
    },
  );

  it.each([null, ''])('fails when the device type is not known (%j)', (device) => {
    expect(code(artifact(), device)).toBe('unknown-device-type');
  });

  it.each([
    ['app.version', ['1'], null],
    ['app.version', ['0', '1'], null],
    ['app.version', ['2'], 'unmet-dependency'],
    ['app.version', ['*'], 'unmet-dependency'],
    ['app.version', [], 'unmet-dependency'],
    ['absent', ['1'], 'unmet-dependency'],
    ['absent', [''], 'unmet-dependency'],
    ['constructor', ['1'], 'unmet-dependency'],
    ['artifact_name', ['release-0', 'release-1'], null],
    ['artifact_name', ['release-2'], 'unmet-dependency'],
    ['artifact_group', ['beta'], null],
    ['artifact_group', ['alpha'], 'unmet-dependency'],
  ] as const)('depends on %s being one of %j: %s', (key, values, expected) => {
    expect(code(artifact({ depends: { [key]: values } }), 'board-a')).toBe(expected);
  });

  it('does not take a missing name or group for an empty value', () => {
    const nothing = installed({ artifactName: '', artifactGroup: '' });
    expect(code(artifact({ depends: { artifact_name: [''] } }), 'board-a', nothing)).toBe('unmet-dependency');
    expect(code(artifact({ depends: { artifact_group: [''] } }), 'board-a', nothing)).toBe(
      'unmet-dependency',
    );
  });

  it('throws what it finds, and says what is there and what was wanted', () => {
    expect(() => checkDepends(artifact(), installed(), 'board-a')).not.toThrow();
    const misfit = (): void =>
      checkDepends(artifact({ depends: { 'app.version': ['2', '3'] } }), installed(), 'board-a');
    expect(misfit).toThrow(ArtifactError);
    expect(misfit).toThrow('dependency "app.version": found "1", expected one of "2", "3"');
  });
});

describe('what is installed after an artifact', () => {
  it('is its name alone when it says nothing about provides', () => {
    expect(applyProvides(installed(), artifact())).toEqual({
      artifactName: 'release-2',
      artifactGroup: '',
      provides: {},
    });
  });

  it('is what it provides and nothing else when it does not say what to clear', () => {
    const info = artifact({ provides: { 'app.version': '2' } });
    expect(applyProvides(installed(), info)).toEqual({
      artifactName: 'release-2',
      artifactGroup: '',
      provides: { 'app.version': '2' },
    });
  });

  it('is the old without what it clears when it provides nothing', () => {
    const info = artifact({ clearsProvides: ['app.*'] });
    expect(applyProvides(installed(), info)).toEqual({
      artifactName: 'release-2',
      artifactGroup: 'beta',
      provides: { other: 'x' },
    });
  });

  it('is the old without what it clears, and then what it provides', () => {
    const info = artifact({ provides: { 'app.version': '2', more: 'y' }, clearsProvides: ['app.*'] });
    expect(applyProvides(installed(), info).provides).toEqual({ other: 'x', 'app.version': '2', more: 'y' });
  });

  it('replaces a key it provides although it does not clear it', () => {
    const info = artifact({ provides: { other: 'new' }, clearsProvides: [] });
    expect(applyProvides(installed(), info).provides).toEqual({ 'app.version': '1', other: 'new' });
  });

  it.each([
    ['', ['app.*'], 'beta'],
    ['', ['artifact_group'], ''],
    ['', ['artifact_*'], ''],
    ['', ['*'], ''],
    ['', null, ''],
    ['', [], 'beta'],
    ['gamma', ['artifact_group'], 'gamma'],
    ['gamma', [], 'gamma'],
    ['gamma', null, 'gamma'],
  ] as const)(
    'has the group: artifact says "%s", clears %j, result "%s"',
    (group, clearsProvides, expected) => {
      const info = artifact({ artifactGroup: group, clearsProvides });
      expect(applyProvides(installed(), info).artifactGroup).toBe(expected);
    },
  );

  it('keeps keys that mean something else in an object', () => {
    const state = installed({
      provides: Object.fromEntries([
        ['__proto__', 'a'],
        ['constructor', 'b'],
      ]),
    });
    const after = applyProvides(state, artifact({ clearsProvides: [] }));
    expect(Object.entries(after.provides)).toEqual([
      ['__proto__', 'a'],
      ['constructor', 'b'],
    ]);
  });

  it('changes nothing that was handed in', () => {
    const state = installed();
    applyProvides(state, artifact({ provides: { other: 'new' } }));
    expect(state).toEqual(installed());
  });
});

describe('a pattern of keys to clear', () => {
  it.each([
    ['', '', true],
    ['', 'a', false],
    ['*', '', true],
    ['*', 'anything.at all', true],
    ['a', 'a', true],
    ['a', 'A', false],
    ['a', 'ab', false],
    ['a*', 'a', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['*a', 'ba', true],
    ['*.version', 'app.version', true],
    ['*.version', 'app.versions', false],
    ['rootfs-image.*', 'rootfs-image.version', true],
    ['rootfs-image.*', 'rootfs-imagexversion', false],
    ['a?c', 'abc', false],
    ['a?c', 'a?c', true],
    ['[ab]', 'a', false],
    ['a.c', 'abc', false],
    ['**', 'x', true],
    ['a**b', 'ab', true],
    ['*ab*ab', 'abab', true],
    ['*ab*ab', 'ab', false],
    ['a*b*c', 'a1b2b3c', true],
    ['*', '*', true],
    ['a*', 'a*b', true],
    ['*b', '*a', false],
  ])('"%s" and the key "%s": %s', (pattern, key, expected) => {
    expect(matchesPattern(pattern, key)).toBe(expected);
  });

  it(`agrees with the regular expression it stands for (seed ${seed})`, () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 10 });
    fc.assert(
      fc.property(text, text, (pattern, key) => {
        const source = pattern.replace(/[.]/g, '\\.').replace(/[*]/g, '.*');
        expect(matchesPattern(pattern, key)).toBe(new RegExp(`^${source}$`, 's').test(key));
      }),
      { seed, numRuns: 2000 },
    );
  });

  it('is answered at once also where backtracking would never end', () => {
    expect(matchesPattern('*a'.repeat(100) + 'b', 'a'.repeat(256))).toBe(false);
  });
});

describe('the name after a failure that could not be rolled back', () => {
  it('has the suffix once, however often it failed', () => {
    expect(inconsistentName('release-1')).toBe('release-1_INCONSISTENT');
    expect(inconsistentName(inconsistentName('release-1'))).toBe('release-1_INCONSISTENT');
  });
});
