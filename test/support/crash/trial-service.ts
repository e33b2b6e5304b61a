/** The service of a trial: the real core, loop, effects and artifact reader, on what the trial is made of. */
import { concat, from, mergeMap, NEVER, of, Subscription } from 'rxjs';
import { createArtifactReader } from '../../../src/adapters/artifact/reader.ts';
import { runEffects } from '../../../src/app/effects.ts';
import { createMachine, type Machine } from '../../../src/app/machine.ts';
import { HOLD_POINTS } from '../../../src/core/hold-point.ts';
import type { FlowSettings } from '../../../src/core/settings.ts';
import type { UpdateState } from '../../../src/core/state.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import type { Log } from '../../../src/ports/log.ts';
import { DEVICE_TYPE } from '../artifact-builder.ts';
import { RecordingDeploymentLog } from '../recording-log.ts';
import { ARTIFACT_BYTES, artifactBytes } from './trial-artifact.ts';
import type { TrialDevice } from './trial-device.ts';
import type { TrialServer } from './trial-server.ts';
import type { TrialWitness } from './trial-witness.ts';

export interface TrialServiceParts {
  /** What was stored. */
  readonly seed: UpdateState;
  readonly settings: FlowSettings;
  readonly bootId: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly nonce: () => string;
  readonly save: (state: UpdateState) => Promise<void>;
  readonly device: TrialDevice;
  readonly server: TrialServer;
  readonly witness: TrialWitness;
  readonly rebootHost: () => Promise<never>;
  readonly onTick: () => void;
  /** A piece of work, which resolves when nothing of it runs any more. */
  readonly onWork: (ended: Promise<void>) => void;
}

/** Unsubscribed, nothing of it goes on. */
export function startTrialService(parts: TrialServiceParts): { machine: Machine; running: Subscription } {
  const { clock, log, nonce, device, server, witness, bootId } = parts;
  const machine = createMachine(parts.seed, {
    clock,
    log,
    nonce,
    store: { load: async () => ({ document: null, generation: 0, complaints: [] }), save: parts.save },
  });
  const running = new Subscription();
  running.add(
    machine.tick$.subscribe(({ after }) => {
      witness.shown(after);
      parts.onTick();
    }),
  );
  const effect$ = machine.tick$.pipe(mergeMap(({ effects }) => from(effects)));
  const event$ = runEffects(
    effect$,
    {
      clock,
      log,
      nonce,
      server,
      modules: {
        ...device.modules,
        run: (type, action, signal) => {
          if (action === 'ArtifactCommit') witness.committing();
          return device.modules.run(type, action, signal);
        },
      },
      scripts: device.scripts,
      system: { bootId: () => bootId, deviceType: async () => DEVICE_TYPE, reboot: parts.rebootHost },
      source: { open: async () => ({ sizeBytes: ARTIFACT_BYTES.length, chunks: artifactBytes() }) },
      reader: createArtifactReader(),
      deploymentLog: new RecordingDeploymentLog(),
      conditions: {
        points: HOLD_POINTS,
        unmet$: () => concat(of([]), NEVER),
        wallClock$: () => concat(of(''), NEVER),
      },
      inventory: { send: async () => 'unchanged' },
      holders: { gone$: () => NEVER },
      journal: {
        append: async (entries) => entries.at(-1)?.seq ?? 0,
        read: async (fromSeq) => ({ lines: [], nextSeq: fromSeq }),
      },
      bus: { publish: () => {}, announce: (notice) => witness.announced(notice), flush: async () => {} },
      verifyKeyPaths: [],
    },
    parts.onWork,
  );
  running.add(event$.subscribe(machine.dispatch));
  running.add(machine.start());
  machine.dispatch({ kind: 'ServiceStarted', bootId, settings: parts.settings, bootstrap: null });
  return { machine, running };
}
