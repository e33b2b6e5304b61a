/**
 * The device and the server of a simulation: every port of the update flow but the bus, behaving as a scenario says.
 * Nothing outside the process is touched. What outlasts a restart (what is stored, which checks have failed) is kept
 * here; one `SimulatedDevice` goes through all the boots of a simulation.
 */
import { firstValueFrom, map, merge, of, raceWith, Subject, take, concat, NEVER } from 'rxjs';
import { ArtifactError } from '../../core/artifact-error.ts';
import type { ArtifactInfo } from '../../core/artifact.ts';
import type { UnmetCondition } from '../../core/control/condition.ts';
import { UpdateError } from '../../core/errors.ts';
import type { HoldPoint } from '../../core/hold-point.ts';
import type { ModuleAction } from '../../core/module-action.ts';
import type { ServerStanding, UpdateState } from '../../core/state.ts';
import { parseScriptName } from '../../core/state-script.ts';
import type { ArtifactReader, OpenArtifact, PayloadFile } from '../../ports/artifact-reader.ts';
import type { ArtifactSource } from '../../ports/artifact-source.ts';
import type { Conditions } from '../../ports/conditions.ts';
import type { DeploymentServer } from '../../ports/deployment-server.ts';
import type { Inventory } from '../../ports/inventory.ts';
import type { DeploymentLog } from '../../ports/log.ts';
import type { ScriptRunner } from '../../ports/script-runner.ts';
import type { Store } from '../../ports/store.ts';
import type { System } from '../../ports/system.ts';
import type { UpdateModules } from '../../ports/update-module.ts';
import type { SimulatedClock } from './clock.ts';
import type { Random } from './random.ts';
import type { Scenario } from './scenario.ts';

const MIB = 1024 * 1024;
const DEFAULT_SIZE_BYTES = 48 * MIB;
const DEFAULT_BYTES_PER_SECOND = 4 * MIB;
/** How finely a download comes in. */
const CHUNKS_PER_SECOND = 5;
const DEVICE_TYPE = 'simulated-kiosk';
const PAYLOAD_TYPE = 'simulated-image';
/** How far a download gets before its fault shows, 0 to 1. */
const FAULT_AT = 0.4;

/** Simulated seconds the calls of the update module take. */
const MODULE_SECONDS: Readonly<Record<ModuleAction, number>> = {
  ArtifactInstall: 12,
  ArtifactReboot: 1,
  ArtifactVerifyReboot: 3,
  ArtifactCommit: 2,
  ArtifactRollback: 6,
  ArtifactRollbackReboot: 1,
  ArtifactVerifyRollbackReboot: 3,
  ArtifactFailure: 1,
  Cleanup: 1,
};
const CHECK_SECONDS = 2;
const SCRIPT_SECONDS = 0.2;

export interface SimulatedDeviceParts {
  readonly clock: SimulatedClock;
  readonly random: Random;
  /** Where the state is stored when nothing is wrong. */
  readonly states: Store<UpdateState>;
  readonly deploymentLog: DeploymentLog;
}

export class SimulatedDevice {
  readonly #scenario: Scenario;
  readonly #clock: SimulatedClock;
  readonly #random: Random;
  readonly #states: Store<UpdateState>;
  readonly #deploymentLog: DeploymentLog;
  readonly #standing$ = new Subject<ServerStanding>();
  readonly #rebootWanted$ = new Subject<void>();
  #bootId: string;
  #failingChecks: number;
  #isOffered = true;
  #release = 2;
  #hasStoreFailed = false;
  #info: ArtifactInfo;

  /** How the server answered last. */
  readonly standing$ = this.#standing$.asObservable();
  /** The flow has asked the host to reboot; the simulation ends this boot and begins another one. */
  readonly rebootWanted$ = this.#rebootWanted$.asObservable();

  constructor(scenario: Scenario, { clock, random, states, deploymentLog }: SimulatedDeviceParts) {
    this.#scenario = scenario;
    this.#clock = clock;
    this.#random = random;
    this.#states = states;
    this.#deploymentLog = deploymentLog;
    this.conditions = {
      points: [...new Set((scenario.conditions ?? []).map(({ point }) => point))],
      unmet$: (point) => this.#unmet$(point),
      wallClock$: () => concat(of(''), NEVER),
    };
    this.#bootId = random.hex(32);
    this.#failingChecks = scenario.faults?.failingChecks ?? 0;
    this.#info = this.#makeInfo();
  }

  /** Another boot id from here on. */
  reboot(): void {
    this.#bootId = this.#random.hex(32);
  }

  /** Somebody asks for an update: the server has one more. */
  offerAnother(): void {
    if (this.#isOffered) return;
    this.#isOffered = true;
    this.#release += 1;
    this.#info = this.#makeInfo();
  }

  readonly store: Store<UpdateState> = {
    load: () => this.#states.load(),
    save: async (state) => {
      if (!this.#hasStoreFailed && state.step === this.#scenario.faults?.storeAt) {
        this.#hasStoreFailed = true;
        throw new UpdateError('store', 'the state could not be written: input/output error');
      }
      await this.#states.save(state);
    },
  };

  readonly source: ArtifactSource = {
    open: async () => {
      const { sizeBytes = DEFAULT_SIZE_BYTES } = this.#scenario;
      return { sizeBytes, chunks: this.#chunks(sizeBytes) };
    },
  };

  readonly reader: ArtifactReader = {
    open: async (chunks) => this.#openArtifact(chunks),
  };

  readonly modules: UpdateModules = {
    requireModule: async () => {},
    prepareTree: async () => {},
    removeTree: async () => {},
    download: async (_payloadType, files, signal) => {
      for await (const file of files) {
        for await (const chunk of file.content) {
          if (signal.aborted) throw cancelled();
          if (this.#scenario.faults?.isDiskFull && chunk.length > 0) {
            throw new UpdateError('noSpace', 'writing the payload: no space left on device', {
              details: { 'bytes-needed': this.#scenario.sizeBytes ?? DEFAULT_SIZE_BYTES },
            });
          }
        }
      }
    },
    run: async (_payloadType, action, signal) => {
      await this.#pass(MODULE_SECONDS[action], signal);
      this.#deploymentLog.write('info', `Simulated update module: ${action}`);
      if (this.#scenario.faults?.defectAt === action) throw new TypeError('simulated defect');
      const kind = this.#scenario.faults?.modules?.[action];
      if (kind === undefined) return;
      const how = kind === 'timeout' ? 'ran longer than 14400 s and was ended' : 'exit status 1';
      throw new UpdateError(kind, `update module ${PAYLOAD_TYPE}, ${action}: ${how}`, {
        details: { module: PAYLOAD_TYPE, action, ...(kind === 'module' && { 'exit-status': 1 }) },
      });
    },
    needsReboot: async () => (this.#scenario.needsReboot === false ? 'No' : 'Automatic'),
    supportsRollback: async () => true,
  };

  readonly scripts: ScriptRunner = {
    run: async ({ family, action }, signal) => {
      await this.#pass(SCRIPT_SECONDS, signal);
      const script = this.#scenario.faults?.script ?? '';
      const name = parseScriptName(script);
      if (name?.family !== family || name.action !== action) return;
      throw new UpdateError('script', `state script ${script} ended with exit status 1`, {
        details: { script, step: `${family}_${action}`, 'exit-status': 1 },
      });
    },
    installArtifactScripts: async () => {},
    clearArtifactScripts: async () => {},
    checkRootfsScriptVersion: async () => {},
  };

  readonly system: System = {
    bootId: () => this.#bootId,
    deviceType: async () => DEVICE_TYPE,
    reboot: async (signal) => {
      if (this.#scenario.faults?.reboot) {
        await this.#pass(5, signal);
        throw new UpdateError('reboot', 'the host was asked to reboot and is still running');
      }
      this.#rebootWanted$.next();
      return new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(cancelled()), { once: true });
      });
    },
  };

  readonly server: DeploymentServer = {
    isConfigured: true,
    checkForDeployment: async (signal) => {
      await this.#pass(CHECK_SECONDS, signal);
      if (this.#failingChecks > 0) {
        this.#failingChecks -= 1;
        this.#standing$.next('unreachable');
        throw new UpdateError('server', 'asking https://server.example for updates: connection refused');
      }
      this.#standing$.next('authorized');
      if (!this.#isOffered) return null;
      this.#isOffered = false;
      return {
        deploymentId: this.#random.uuid(),
        artifactName: this.#info.artifactName,
        location: { kind: 'url', url: 'https://server.example/artifact' },
        controlMapText: this.#scenario.faults?.isMapInvalid ? '{"id":"none"}' : null,
      };
    },
    authorize: (signal) => this.#pass(SCRIPT_SECONDS, signal),
    reportStatus: async (_id, status, _substate, signal) => {
      await this.#pass(SCRIPT_SECONDS, signal);
      return this.#scenario.faults?.isAbortedByServer && status === 'installing' ? 'aborted' : 'accepted';
    },
    uploadLog: async () => 'accepted',
    fetchControlMap: async () => ({ kind: 'deployment-gone' }),
  };

  readonly inventory: Inventory = { send: async () => 'sent' };

  readonly conditions: Conditions;

  #unmet$(point: HoldPoint) {
    const nowMs = this.#clock.now().wallMs;
    const scripted = (this.#scenario.conditions ?? []).filter((one) => one.point === point);
    const list = (afterSeconds: number): readonly UnmetCondition[] =>
      scripted
        .filter(({ seconds }) => seconds > afterSeconds)
        .map(({ kind, reasonCode, isSkippable, seconds, isEndKnown, owner = '', details = {} }) => ({
          id: kind,
          kind,
          reasonCode,
          isSkippable,
          owner,
          details,
          sinceWallMs: nowMs,
          endsWallMs: isEndKnown ? nowMs + seconds * 1000 : 0,
        }));
    const changes = scripted.map(({ seconds }) =>
      this.#clock.timer(seconds * 1000).pipe(map(() => list(seconds))),
    );
    return concat(merge(of(list(0)), ...changes), NEVER);
  }

  async *#chunks(sizeBytes: number): AsyncGenerator<Uint8Array> {
    const { bytesPerSecond = DEFAULT_BYTES_PER_SECOND, faults } = this.#scenario;
    const block = new Uint8Array(Math.ceil(bytesPerSecond / CHUNKS_PER_SECOND));
    let left = sizeBytes;
    while (left > 0) {
      const isBroken = faults?.source === 'unreachable' && left < sizeBytes * (1 - FAULT_AT);
      if (isBroken) throw new UpdateError('source', 'downloading the artifact: the connection was lost');
      // Links are never even: up to a third more or less.
      const seconds = (1 / CHUNKS_PER_SECOND) * (0.67 + this.#random.next() * 0.66);
      await firstValueFrom(this.#clock.timer(seconds * 1000));
      const length = Math.min(left, block.length);
      left -= length;
      yield block.subarray(0, length);
    }
  }

  async #openArtifact(chunks: AsyncIterable<Uint8Array>): Promise<OpenArtifact> {
    const source = chunks[Symbol.asyncIterator]();
    let consumedBytes = 0;
    const next = async (): Promise<Uint8Array | null> => {
      const { done, value } = await source.next();
      if (done === true) return null;
      consumedBytes += value.length;
      return value;
    };
    // The header.
    await next();
    const { artifact: code } = this.#scenario.faults ?? {};
    const isPayloadDamaged = code === 'checksum-mismatch';
    if (code !== undefined && !isPayloadDamaged) throw this.#artifactError(code);
    const damage = (): ArtifactError => this.#artifactError('checksum-mismatch');
    const content = async function* (): AsyncGenerator<Uint8Array> {
      for (let chunk = await next(); chunk !== null; chunk = await next()) yield chunk;
      if (isPayloadDamaged) throw damage();
    };
    return {
      info: this.#info,
      scripts: [],
      payloadFiles: async function* (): AsyncGenerator<PayloadFile> {
        yield { name: 'image', sizeBytes: -1, content: content() };
      },
      finish: async () => {},
      get consumedBytes() {
        return consumedBytes;
      },
      close: async () => void (await source.return?.()),
    };
  }

  #artifactError(code: NonNullable<NonNullable<Scenario['faults']>['artifact']>): ArtifactError {
    return new ArtifactError(code, {
      where: 'simulated artifact',
      found: 'what the scenario says',
      expected: 'a good one',
    });
  }

  #makeInfo(): ArtifactInfo {
    const artifactName = `release-${this.#release}`;
    return {
      artifactName,
      artifactGroup: '',
      payloadType: PAYLOAD_TYPE,
      compatibleDevices: [DEVICE_TYPE],
      depends: {},
      provides: { 'simulated-image.version': artifactName },
      clearsProvides: null,
      scripts: [],
      digest: `sha256:${this.#random.hex(64)}`,
      isSigned: false,
      verifiedBy: '',
      headerInfoJson: '{}',
      typeInfoJson: '{}',
      metaDataJson: JSON.stringify({ 'release-notes': 'Faster start, better printing.' }),
      payloadFileNames: ['image'],
    };
  }

  /** Rejects with kind `cancelled` when the signal aborts first. */
  async #pass(seconds: number, signal: AbortSignal): Promise<void> {
    const aborted$ = new Subject<'aborted'>();
    const onAbort = (): void => aborted$.next('aborted');
    signal.addEventListener('abort', onAbort, { once: true });
    const timer$ = this.#clock.timer(seconds * 1000);
    const outcome = await firstValueFrom(timer$.pipe(raceWith(aborted$), take(1)));
    signal.removeEventListener('abort', onAbort);
    if (outcome === 'aborted') throw cancelled();
  }
}

function cancelled(): UpdateError {
  return new UpdateError('cancelled', 'stopped');
}
