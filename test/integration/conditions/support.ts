/** Conditions as the service makes them, over a real connection to a bus, with everything they say kept. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConditions, type ConditionDeps } from '../../../src/adapters/conditions/conditions.ts';
import { Bus } from '../../../src/adapters/dbus/connection.ts';
import type { ConditionSettings } from '../../../src/core/control/condition-settings.ts';
import type { UnmetCondition } from '../../../src/core/control/condition.ts';
import type { HoldPoint } from '../../../src/core/hold-point.ts';
import { afterAll, afterEach, beforeAll } from 'vitest';
import { startSystemBus } from '../../support/dbusmock.ts';
import type { PrivateBus } from '../../support/private-bus.ts';
import { realClock } from '../../support/clocks.ts';
import { eventually } from '../../support/eventually.ts';
import { RecordingLog } from '../../support/recording-log.ts';

export const POINT: HoldPoint = 'ArtifactReboot_Enter';

export const NO_CONDITIONS: ConditionSettings = {
  windows: [],
  freezes: [],
  power: null,
  metered: null,
  inhibitors: null,
  scripts: null,
  isSynchronizedClockRequired: false,
};

export interface Watched {
  readonly emissions: (readonly UnmetCondition[])[];
  readonly log: RecordingLog;
  readonly bus: Bus;
  latest(): readonly UnmetCondition[];
  /** `kind/reason` of each, in order. */
  reasons(): readonly string[];
  /** Waits until the list is this. */
  becomes(reasons: readonly string[]): Promise<void>;
  stop(): void;
}

export const NO_BUS = 'unix:path=/nonexistent/holdpoint-test-bus';

export function watch(
  settings: Partial<ConditionSettings>,
  options: Partial<ConditionDeps> & { readonly address?: string; readonly point?: HoldPoint } = {},
): Watched {
  const log = new RecordingLog();
  const bus = new Bus({ address: options.address ?? NO_BUS, names: [], log, maxDelayMs: 200 });
  bus.start();
  const folder = mkdtempSync(join(tmpdir(), 'holdpoint-conditions-'));
  const conditions = createConditions(
    { ...NO_CONDITIONS, ...settings },
    {
      clock: realClock,
      log,
      bus,
      scriptsFolder: join(folder, 'conditions.d'),
      clockTrust: { builtWallMs: 0, files: [] },
      ...options,
    },
  );
  const emissions: (readonly UnmetCondition[])[] = [];
  const failures: unknown[] = [];
  const subscription = conditions.unmet$(options.point ?? POINT).subscribe({
    next: (unmet) => void emissions.push(unmet),
    error: (error: unknown) => void failures.push(error),
    complete: () => void failures.push(new Error('completed')),
  });
  const reasons = (): readonly string[] =>
    (emissions.at(-1) ?? []).map(({ kind, reasonCode }) => `${kind}/${reasonCode}`);
  return {
    emissions,
    log,
    bus,
    latest: () => emissions.at(-1) ?? [],
    reasons,
    async becomes(expected) {
      await eventually(`the unmet conditions are ${JSON.stringify(expected)}`, () => {
        if (failures.length > 0) throw failures[0];
        return emissions.length > 0 && JSON.stringify(reasons()) === JSON.stringify(expected);
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}; they are ${JSON.stringify(emissions.at(-1))}`);
      });
    },
    stop() {
      subscription.unsubscribe();
      bus.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface OnSystemBus {
  readonly bus: PrivateBus;
  /** Ends with the test. */
  start(settings: Partial<ConditionSettings>): Watched;
}

/** To be called where tests are declared: a bus for all of them, and conditions on it that end with each. */
export function onSystemBus(): OnSystemBus {
  let bus: PrivateBus;
  const watched: Watched[] = [];
  beforeAll(async () => {
    bus = await startSystemBus();
  });
  afterEach(() => {
    for (const one of watched.splice(0)) one.stop();
  });
  afterAll(() => bus.dispose());
  return {
    get bus() {
      return bus;
    },
    start(settings) {
      const one = watch(settings, { address: bus.address });
      watched.push(one);
      return one;
    },
  };
}
