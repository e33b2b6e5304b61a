import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_RELEASE_NOTES, releaseFactsOf } from '../../../src/core/release-facts.ts';

const about = (metaData: unknown, provides: Record<string, string> | null = null) =>
  releaseFactsOf({
    metaDataJson: metaData === null ? null : JSON.stringify(metaData),
    payloadType: 'rootfs-image',
    provides,
  });

describe('release notes and severity', () => {
  it('are members of the meta-data', () => {
    expect(about({ 'release-notes': 'Faster.\nQuieter.', severity: 'security', other: 1 })).toEqual({
      releaseNotes: 'Faster.\nQuieter.',
      severity: 'security',
    });
  });

  it('are provides of the payload type where the meta-data has none', () => {
    const provides = { 'rootfs-image.release-notes': 'Faster.', 'other.severity': 'security' };
    expect(about(null, provides)).toEqual({ releaseNotes: 'Faster.', severity: '' });
    expect(about({ 'release-notes': 'Quieter.' }, provides).releaseNotes).toBe('Quieter.');
  });

  it.each([null, [], 'text', 7, { 'release-notes': { en: 'Faster.' } }, { 'release-notes': 7 }])(
    'are none where the meta-data is %j',
    (metaData) => {
      expect(about(metaData)).toEqual({ releaseNotes: '', severity: '' });
    },
  );

  it('have nothing that moves a cursor or hides text', () => {
    expect(about({ 'release-notes': ' \u001b[2JFaster\u202e.\r\nQuieter\u2028\ud800 ' }).releaseNotes).toBe(
      '[2JFaster.\nQuieter',
    );
  });

  it('can be sent by any bus, whatever stands in the artifact', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 5000 }), (text) => {
        const { releaseNotes } = about({ 'release-notes': text });
        expect(releaseNotes).not.toMatch(/\p{Cs}/u);
        expect(releaseNotes).not.toContain('\0');
        expect([...releaseNotes].length).toBeLessThanOrEqual(MAX_RELEASE_NOTES);
      }),
    );
  });
});
