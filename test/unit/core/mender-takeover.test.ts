import { describe, expect, it } from 'vitest';
import type { MenderStoreContent, MenderUpdate } from '../../../src/core/mender-content.ts';
import { MENDER_RECORDS } from '../../../src/core/mender-records.ts';
import { isTakenOver, takeOver, type TakeoverMoment } from '../../../src/core/mender-takeover.ts';
import { DEFAULT_FLOW_SETTINGS } from '../../../src/core/settings.ts';
import type { FlowStep, UpdateState } from '../../../src/core/state.ts';
import { transition, type Transition } from '../../../src/core/transition.ts';
import { FLOW } from '../../../src/core/transition-table.ts';

const ID = '5f0e7c1e-0000-4000-8000-000000000001';
const BOOT_MS = 3_600_000;
const NOW_MS = Date.UTC(2026, 10, 23);
const MOMENT: TakeoverMoment = { wallMs: NOW_MS, bootMs: BOOT_MS, bootId: 'this-boot' };
const BEFORE_BOOT_MS = NOW_MS - BOOT_MS - 60_000;

/** A record of 3.x in the middle of things; of 5.x with `areAllRollbacksSuccessful` set. */
const UPDATE: MenderUpdate = {
  name: 'update-install',
  deploymentId: ID,
  uri: 'https://server/shop-4.3?sign=a&b',
  artifactName: 'shop-4.3',
  artifactGroup: 'tills',
  compatibleDevices: ['kiosk-a'],
  payloadTypes: ['rootfs-image'],
  provides: { 'rootfs-image.version': '4.3' },
  clearsProvides: ['rootfs-image.*'],
  rebootRequested: ['reboot-type-custom'],
  supportsRollback: 'rollback-supported',
  storeCount: 7,
  areAllRollbacksSuccessful: null,
};
const CONTENT: MenderStoreContent = {
  artifactName: 'shop-4.2',
  artifactGroup: null,
  provides: { 'rootfs-image.version': '4.2', 'shop.theme': 'dark' },
  update: null,
  standalone: null,
  controlMaps: { active: [], expired: [] },
  complaints: [],
  writtenWallMs: BEFORE_BOOT_MS,
  lastLoggedState: null,
};
const of3 = (update: Partial<MenderUpdate>): MenderUpdate => ({ ...UPDATE, ...update });
/** 5.x asks about the rollback only once something has failed. */
const of5 = (update: Partial<MenderUpdate>): MenderUpdate => ({
  ...UPDATE,
  areAllRollbacksSuccessful: false,
  supportsRollback: '',
  ...update,
});

function seedOf(update: MenderUpdate | null, content: Partial<MenderStoreContent> = {}): UpdateState {
  return takeOver({ ...CONTENT, update, ...content }, MOMENT).seed;
}

function started(seed: UpdateState, bootId = MOMENT.bootId): Transition {
  return transition(seed, {
    kind: 'ServiceStarted',
    bootId,
    settings: { ...DEFAULT_FLOW_SETTINGS, isServerConfigured: true },
    bootstrap: null,
    at: { wallMs: NOW_MS, bootMs: BOOT_MS },
    nonce: '00112233445566778899aabbccddeeff',
  });
}

/** Where the flow is after the first start, and what it does there. */
function resumed(update: MenderUpdate, content: Partial<MenderStoreContent> = {}) {
  const { state } = started(seedOf(update, content));
  const { step, deployment } = state;
  return {
    step,
    failure: deployment?.failure?.name ?? null,
    isInconsistent: deployment?.isInconsistent ?? null,
    isCommitted: deployment?.isCommitted ?? null,
    name: state.installed.artifactName,
  };
}

interface Row {
  readonly name: string;
  readonly step: FlowStep;
  readonly failure: 'PowerLoss' | 'Internal' | null;
}

const ROLLS_BACK = { step: 'rollback-check', failure: 'PowerLoss' } as const;
const UNKNOWN = { step: 'rollback-check', failure: 'Internal' } as const;
const CLEANS_UP = { step: 'cleanup-after-failure', failure: 'PowerLoss' } as const;
const VERIFIES_ROLLBACK = { step: 'verify-rollback-reboot', failure: 'Internal' } as const;

/** Source: spec/update-flow.md section 6.3, column G, as merged in spec/configuration.md section 3.3. */
const ROWS_3: readonly Row[] = [
  { name: 'update-store', ...CLEANS_UP },
  { name: 'update-after-store', ...CLEANS_UP },
  { name: 'update-install', ...ROLLS_BACK },
  { name: 'reboot', step: 'verify-reboot', failure: null },
  { name: 'after-reboot', ...ROLLS_BACK },
  { name: 'update-commit', ...ROLLS_BACK },
  { name: 'update-pre-commit-status-report-retry', ...ROLLS_BACK },
  { name: 'rollback', step: 'rollback-enter', failure: 'Internal' },
  { name: 'rollback-reboot', ...VERIFIES_ROLLBACK },
  { name: 'verify-rollback-reboot', ...VERIFIES_ROLLBACK },
  { name: 'after-rollback-reboot', ...VERIFIES_ROLLBACK },
  { name: 'update-error', step: 'failure-enter', failure: 'Internal' },
  { name: 'cleanup', step: 'cleanup-after-failure', failure: 'Internal' },
  { name: 'update-status-report', step: 'report-failure', failure: 'Internal' },
  { name: 'update-retry-report', step: 'report-failure', failure: 'Internal' },
  { name: 'mender-update-control', ...UNKNOWN },
  { name: 'mender-update-control-pause', ...UNKNOWN },
  { name: 'mender-update-control-refresh-maps', ...UNKNOWN },
  { name: 'mender-update-control-retry-refresh-maps', ...UNKNOWN },
  { name: 'fetch-install-retry-wait', ...UNKNOWN },
  { name: 'verify-reboot', ...UNKNOWN },
  { name: 'update-verify', ...UNKNOWN },
  { name: 'a name from the future', ...UNKNOWN },
  { name: 'constructor', ...UNKNOWN },
];

/** Column C. */
const ROWS_5: readonly Row[] = [
  { name: 'update-store', ...CLEANS_UP },
  { name: 'update-install', ...ROLLS_BACK },
  { name: 'reboot', step: 'verify-reboot', failure: null },
  { name: 'after-reboot', ...ROLLS_BACK },
  { name: 'update-commit', ...ROLLS_BACK },
  { name: 'rollback', step: 'rollback-check', failure: 'Internal' },
  { name: 'rollback-reboot', ...VERIFIES_ROLLBACK },
  { name: 'after-rollback-reboot', ...VERIFIES_ROLLBACK },
  { name: 'update-error', step: 'failure-enter', failure: 'Internal' },
  { name: 'cleanup', step: 'cleanup-after-failure', failure: 'Internal' },
  // Never written by 5.x, so nothing is known.
  { name: 'update-status-report', ...UNKNOWN },
  { name: 'update-retry-report', ...UNKNOWN },
  { name: 'verify-reboot', ...UNKNOWN },
];

describe('an update in flight under Mender 3.x', () => {
  it.each(ROWS_3)('resumes from $name at $step', ({ name, step, failure }) => {
    expect(resumed(of3({ name }))).toEqual({
      step,
      failure,
      isInconsistent: false,
      isCommitted: false,
      name: 'shop-4.2',
    });
  });

  it.each(['update-after-first-commit', 'update-after-commit'])('finishes the commit from %s', (name) => {
    expect(resumed(of3({ name }), { artifactName: 'shop-4.3' })).toEqual({
      step: 'commit-leave',
      failure: null,
      isInconsistent: false,
      isCommitted: true,
      name: 'shop-4.3',
    });
  });

  it.each(['update-fetch', 'status-report-error'])(
    'is forgotten in %s: the server offers it again',
    (name) => {
      const { state } = started(seedOf(of3({ name })));
      expect(state).toMatchObject({ step: 'idle-enter', deployment: null });
    },
  );

  it('goes on behind the commit when the name was stored together with update-commit', () => {
    const provides = { 'rootfs-image.version': '4.3' };
    expect(resumed(of3({ name: 'update-commit' }), { artifactName: 'shop-4.3', provides })).toMatchObject({
      step: 'commit-leave',
      isCommitted: true,
      failure: null,
    });
  });

  it.each([
    ['cleanup', 'cleanup-after-success'],
    ['update-status-report', 'report-success'],
    ['update-retry-report', 'report-success'],
  ])('reports a committed update found in %s as what it is', (name, step) => {
    const { state } = started(seedOf(of3({ name }), { artifactName: 'shop-4.3' }));
    expect(state).toMatchObject({ step, deployment: { failure: null, isCommitted: true } });
  });

  it.each(['update-error', 'cleanup', 'update-status-report'])(
    'keeps the mark of an inconsistent device found in %s',
    (name) => {
      const { state } = started(seedOf(of3({ name }), { artifactName: 'shop-4.3_INCONSISTENT' }));
      expect(state.deployment).toMatchObject({ isInconsistent: true, isRolledBack: false });
      expect(state.installed.artifactName).toBe('shop-4.3_INCONSISTENT');
    },
  );

  it('does not take the mark of an earlier attempt at the same artifact for its own', () => {
    const { state } = started(seedOf(of3({ name: 'reboot' }), { artifactName: 'shop-4.3_INCONSISTENT' }));
    expect(state).toMatchObject({ step: 'verify-reboot', deployment: { isInconsistent: false } });
  });

  it('asks the module before a rollback that it was recorded not to support', () => {
    expect(resumed(of3({ name: 'rollback', supportsRollback: 'rollback-not-supported' })).step).toBe(
      'rollback-check',
    );
  });

  it('ends as inconsistent when it was interrupted without anything recorded that could go back', () => {
    const { state } = started(seedOf(of3({ name: 'update-install', payloadTypes: [] })));
    expect(state).toMatchObject({ step: 'failure-enter', deployment: { isInconsistent: true } });
  });

  it('ends as inconsistent with several payloads: only one of them could be handled', () => {
    const { state } = started(seedOf(of3({ name: 'reboot', payloadTypes: ['one', 'two'] })));
    expect(state).toMatchObject({
      step: 'cleanup-after-failure',
      deployment: { isInconsistent: true, failure: { details: { reason: 'several-payloads' } } },
      installed: { artifactName: 'shop-4.3_INCONSISTENT', artifactGroup: 'tills' },
    });
  });

  it('is broken off, as inconsistent, by a record stored too often; not by one stored once less', () => {
    const { state } = started(seedOf(of3({ name: 'reboot', storeCount: 30 })));
    expect(state).toMatchObject({
      step: 'cleanup-after-failure',
      deployment: { isInconsistent: true, failure: { details: { reason: 'loop-limit' } } },
    });
    expect(resumed(of3({ name: 'reboot', storeCount: 28 })).step).toBe('verify-reboot');
  });

  it('is in the history once when all that is left is its report', () => {
    const { state } = started(seedOf(of3({ name: 'update-retry-report' })));
    expect(state.history.map(({ deploymentId, result }) => [deploymentId, result])).toEqual([
      [ID, 'rolled-back'],
    ]);
  });
});

describe('a 3.x update that waited at a gate', () => {
  const map = (point: string) => ({
    id: ID,
    priority: 0,
    states: { [point]: { action: 'pause', on_map_expire: 'fail', on_action_executed: 'pause' } },
  });
  const paused = (point: string, writtenWallMs: number): Partial<MenderStoreContent> => ({
    controlMaps: { active: [map(point)], expired: [] },
    lastLoggedState: 'mender-update-control-pause',
    writtenWallMs,
  });
  const IN_THIS_BOOT = NOW_MS - 10_000;

  it.each([
    ['update-after-store', null, 'ArtifactInstall_Enter', 'install-gate'],
    ['reboot', ['reboot-type-custom'], 'ArtifactReboot_Enter', 'reboot-gate'],
    ['after-reboot', ['reboot-type-custom'], 'ArtifactCommit_Enter', 'commit-gate'],
    ['update-install', [''], 'ArtifactCommit_Enter', 'commit-gate'],
  ] as const)('waits again: %s with answer %j at %s', (name, rebootRequested, point, step) => {
    const { state } = started(seedOf(of3({ name, rebootRequested }), paused(point, IN_THIS_BOOT)));
    expect(state.step).toBe(step);
    expect(state.deployment).toMatchObject({ failure: null, isInconsistent: false });
    expect(state.controlMaps).toMatchObject([{ id: ID, origin: 'server', isExpired: false }]);
  });

  it('is at the reboot gate when the record was still that of the installation', () => {
    const { seed } = takeOver(
      { ...CONTENT, update: of3({}), ...paused('ArtifactReboot_Enter', IN_THIS_BOOT) },
      MOMENT,
    );
    expect(seed.step).toBe('reboot-gate');
  });

  it('takes a reboot by hand at the reboot gate for the reboot of the update', () => {
    const seed = seedOf(of3({ name: 'reboot' }), paused('ArtifactReboot_Enter', BEFORE_BOOT_MS));
    expect(started(seed).state.step).toBe('verify-reboot');
  });

  it('verifies the reboot again when it was rebooted while it waited for the commit', () => {
    const seed = seedOf(of3({ name: 'after-reboot' }), paused('ArtifactCommit_Enter', BEFORE_BOOT_MS));
    expect(started(seed).state.step).toBe('commit-reverify');
  });

  it.each([
    ['a clock at 1970', { wallMs: 5_000, bootMs: 5_000 }],
    ['a clock that was set back', { wallMs: NOW_MS - 86_400_000, bootMs: BOOT_MS }],
  ])('does not trust %s to say that there was no reboot', (_what, time) => {
    const { seed } = takeOver(
      { ...CONTENT, update: of3({ name: 'reboot' }), ...paused('ArtifactReboot_Enter', NOW_MS) },
      { ...MOMENT, ...time },
    );
    expect(started(seed).state.step).toBe('verify-reboot');
  });

  it.each([null, 'update-after-store', 'update-install', 'mender-update-control-refresh-maps'])(
    'is not believed to have waited when its log ends in %s',
    (lastLoggedState) => {
      const content = { ...paused('ArtifactCommit_Enter', IN_THIS_BOOT), lastLoggedState };
      expect(resumed(of3({ name: 'update-after-store' }), content).step).toBe('cleanup-after-failure');
      expect(resumed(of3({ rebootRequested: [''] }), content).step).toBe('rollback-check');
    },
  );

  it.each([[[]], [['one', 'two']]])(
    'is given up at the gate with payloads %j: there is one to go on with',
    (payloadTypes) => {
      const update = of3({ name: 'update-after-store', payloadTypes });
      expect(resumed(update, paused('ArtifactInstall_Enter', IN_THIS_BOOT)).step).toBe(
        'cleanup-after-failure',
      );
    },
  );

  it('is not believed to have installed what has not said whether it needs a reboot', () => {
    const content = paused('ArtifactCommit_Enter', IN_THIS_BOOT);
    expect(resumed(of3({ rebootRequested: null }), content).step).toBe('rollback-check');
  });
});

describe('an update in flight under Mender 4.x or 5.x', () => {
  it.each(ROWS_5)('resumes from $name at $step', ({ name, step, failure }) => {
    expect(resumed(of5({ name }))).toMatchObject({ step, failure, isCommitted: false });
  });

  it('finishes the commit from update-after-commit, and its name with it', () => {
    const { state } = started(seedOf(of5({ name: 'update-after-commit' })));
    expect(state).toMatchObject({
      step: 'commit-leave',
      installed: {
        artifactName: 'shop-4.3',
        artifactGroup: 'tills',
        provides: { 'rootfs-image.version': '4.3', 'shop.theme': 'dark' },
      },
    });
  });

  it.each([
    ['update-error', true, { isInconsistent: false, isRolledBack: true }],
    ['update-error', false, { isInconsistent: true, isRolledBack: false }],
    ['cleanup', true, { isInconsistent: false, isRolledBack: true }],
    ['cleanup', false, { isInconsistent: false, isRolledBack: false }],
  ] as const)(
    'takes the outcome of %s from AllRollbacksSuccessful %s',
    (name, areAllRollbacksSuccessful, outcome) => {
      const { state } = started(
        seedOf(of5({ name, areAllRollbacksSuccessful, supportsRollback: 'rollback-supported' })),
      );
      expect(state.deployment).toMatchObject(outcome);
    },
  );

  it('keeps the mark it left in name and record', () => {
    const name = 'shop-4.3_INCONSISTENT';
    const { state } = started(seedOf(of5({ name: 'cleanup', artifactName: name }), { artifactName: name }));
    expect(state.deployment).toMatchObject({
      isInconsistent: true,
      isCommitted: false,
      announcedName: 'shop-4.3',
    });
    expect(state.installed.artifactName).toBe(name);
  });

  it('resumes rollback directly when the module was recorded to support it', () => {
    expect(resumed(of5({ name: 'rollback', supportsRollback: 'rollback-supported' })).step).toBe(
      'rollback-enter',
    );
  });

  it('cleans up after a download of which not even the header was read', () => {
    const update = of5({ name: 'update-store', artifactName: '', payloadTypes: [], rebootRequested: [] });
    const { state, effects } = started(seedOf(update));
    expect(state).toMatchObject({ step: 'cleanup-after-failure', deployment: { artifact: null } });
    expect(effects).toContainEqual(expect.objectContaining({ kind: 'runModule', payloadType: null }));
  });

  it('is broken off by its own limit of 28', () => {
    expect(resumed(of5({ name: 'reboot', storeCount: 28 }))).toMatchObject({ step: 'cleanup-after-failure' });
    expect(resumed(of5({ name: 'reboot', storeCount: 26 })).step).toBe('verify-reboot');
  });

  it('does not fail a reboot for control maps, which it knows', () => {
    const map = { id: ID, priority: 0, states: {} };
    const content = { controlMaps: { active: [map], expired: [] } };
    expect(resumed(of5({ name: 'reboot' }), content).step).toBe('verify-reboot');
  });
});

describe('what is installed', () => {
  const installed = (content: Partial<MenderStoreContent>) =>
    takeOver({ ...CONTENT, ...content }, MOMENT).installed;

  it('is taken over with name, group and provides', () => {
    expect(installed({ artifactGroup: 'tills' })).toEqual({
      artifactName: 'shop-4.2',
      artifactGroup: 'tills',
      provides: CONTENT.provides,
    });
  });

  it('is not said twice where the provides hold the name and the group', () => {
    const provides = { artifact_name: 'unknown', artifact_group: 'tills', 'shop.theme': 'dark' };
    expect(installed({ artifactName: null, provides })).toEqual({
      artifactName: 'unknown',
      artifactGroup: 'tills',
      provides: { 'shop.theme': 'dark' },
    });
    expect(installed({ provides })?.artifactName).toBe('shop-4.2');
  });

  it('is not known from a store that was never written to', () => {
    expect(installed({ artifactName: null, provides: null })).toBeNull();
  });
});

describe('control maps', () => {
  const pause = { action: 'pause', on_map_expire: 'fail', on_action_executed: 'pause' };
  const map = (id: string, priority = 0) => ({ id, priority, states: { ArtifactReboot_Enter: pause } });
  const OTHER = '11111111-2222-4333-8444-555555555555';

  it('are taken over with the boot lifetime, expired ones expired', () => {
    const controlMaps = { active: [map(OTHER)], expired: [map(OTHER, 3)] };
    const { state } = started(seedOf(null, { controlMaps }));
    const expiresBootMs = BOOT_MS + DEFAULT_FLOW_SETTINGS.controlMapBootExpirationSeconds * 1000;
    // Entering Idle lets go of the expired one.
    expect(seedOf(null, { controlMaps }).controlMaps.map(({ isExpired }) => isExpired)).toEqual([
      false,
      true,
    ]);
    expect(state.controlMaps[0]).toMatchObject({ id: OTHER, uid: 0, origin: 'local', expiresBootMs });
  });

  it.each([[null], ['text'], [{ id: 'not a uuid' }], [{ ...map(OTHER), foo: 1 }]])(
    'are all void, with a complaint, when one is %j',
    (broken) => {
      const { seed, complaints } = takeOver(
        { ...CONTENT, controlMaps: { active: [map(OTHER), broken], expired: [] } },
        MOMENT,
      );
      expect(seed.controlMaps).toEqual([]);
      expect(complaints).toEqual([
        { key: 'update-control-maps', message: expect.stringMatching(/^active map 1: .*found/) },
      ]);
    },
  );
});

describe('the seed', () => {
  it('tells a deployment that Mender began from ours', () => {
    for (const name of Object.keys(MENDER_RECORDS)) {
      const { deployment } = seedOf(of3({ name }));
      if (deployment !== null) expect(isTakenOver(deployment), name).toBe(true);
    }
    expect(isTakenOver({ ...seedOf(of3({})).deployment!, passages: [] })).toBe(false);
  });

  it('lies on a step that says where a restart goes on, for every record', () => {
    for (const [name, { interrupted, committed, gate }] of Object.entries(MENDER_RECORDS)) {
      for (const step of [interrupted, committed, gate]) {
        if (step === undefined || step === 'forget' || step === 'by-reboot-need') continue;
        expect(FLOW[step].restart, `${name}: ${step}`).toBeDefined();
      }
    }
  });
});
