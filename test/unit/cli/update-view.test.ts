import { describe, expect, it } from 'vitest';
import type { RemoteSnapshot } from '../../../src/adapters/dbus/update-client.ts';
import { meterOf, statusLines } from '../../../src/cli/update-view.ts';

const COMMITTED = {
  state: 'ArtifactCommit',
  activity: 'cleaning-up',
  step: 'Cleanup',
  deploymentId: 'd',
  artifactName: 'release-2',
  currentArtifactName: 'release-2',
  deployment: { source: 'local', notice: 'commit-not-stored' },
  progress: 98,
  waitPoint: '',
  isPaused: false,
  blockers: [],
  allowedActions: [],
  lastResult: 'none',
  serverStatus: 'none',
  nextCheckUsec: 0,
} as unknown as RemoteSnapshot;

describe('a commit that is not stored', () => {
  const sentence = 'ArtifactCommit (committed, waiting for the datastore to take it)';

  it('is why an installation that is being watched stands still', () => {
    expect(meterOf(COMMITTED)).toEqual({ percent: 98, label: sentence, details: '' });
  });

  it('is in the status', () => {
    expect(statusLines(COMMITTED).join('\n')).toContain(`State:        ${sentence}, step Cleanup`);
  });
});
