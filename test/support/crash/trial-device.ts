/**
 * The device of the crash matrix: what really runs on it, whatever the service believes. Its update module behaves as
 * rootfs-image does when updates reboot (two slots, a boot loader that falls back at the second boot without a commit),
 * and as single-file does when they do not (a backup in the module's file tree). Source: spec/update-modules.md
 * sections 8 and 8.1.
 */
import { UpdateError } from '../../../src/core/errors.ts';
import type { StateScriptFile } from '../../../src/ports/artifact-reader.ts';
import type { ScriptRun, ScriptRunner } from '../../../src/ports/script-runner.ts';
import type { RebootAnswer, UpdateModules } from '../../../src/ports/update-module.ts';
import { shortOf } from '../chain.ts';

export type Version = 'old' | 'new';

export interface TrialDeviceOptions {
  readonly needsReboot: RebootAnswer;
  readonly supportsRollback: boolean;
  /** Calls in shorthand (`I`, `VR`, `C-`) that fail whenever they are made. */
  readonly failing: readonly string[];
  /** The module reboots the host: does not return. */
  readonly rebootHost: () => Promise<never>;
}

export class TrialDevice {
  running: Version = 'old';
  /** Calls in shorthand, in order; `reboot` where the host went down. */
  readonly calls: string[] = [];
  readonly #options: TrialDeviceOptions;
  /** What the boot loader boots next, and whether that is on trial. */
  #next: Version = 'old';
  #isOnTrial = false;
  #bootCount = 0;
  #hasTree = false;
  /** In the tree: what was there before. */
  #hasBackup = false;

  constructor(options: TrialDeviceOptions) {
    this.#options = options;
  }

  /** The host goes down and comes up, whoever wanted it. */
  reboot(): void {
    this.calls.push('reboot');
    if (this.#isOnTrial && ++this.#bootCount > 1) {
      this.#next = 'old';
      this.#isOnTrial = false;
    }
    this.running = this.#next;
  }

  get #reboots(): boolean {
    return this.#options.needsReboot !== 'No';
  }

  /** Records a call; rejects when it is one that fails. */
  #meet(short: string, kind: 'module' | 'script'): void {
    this.calls.push(short);
    if (this.#options.failing.includes(short)) throw new UpdateError(kind, `${short} failed as planned`);
  }

  /** As the runner of modules, which calls none without its tree. */
  #demandTree(short: string): void {
    this.#demand(this.#hasTree, `${short}: there is no file tree`);
  }

  #demand(isGood: boolean, what: string): void {
    if (!isGood) throw new UpdateError('module', what);
  }

  readonly modules: UpdateModules = {
    requireModule: async () => {},
    prepareTree: async () => {
      this.#hasTree = true;
      this.#hasBackup = false;
    },
    download: async (_type, files) => {
      this.calls.push('PS?');
      for await (const file of files) for await (const _bytes of file.content);
      this.#meet('D', 'module');
    },
    run: async (_type, action) => {
      const short = shortOf(action);
      if (action === 'Cleanup' && !this.#hasTree) return;
      this.#demandTree(short);
      this.#meet(short, 'module');
      switch (action) {
        case 'ArtifactInstall':
          return this.#install();
        case 'ArtifactReboot':
        case 'ArtifactRollbackReboot':
          return this.#options.rebootHost();
        case 'ArtifactVerifyReboot':
          return this.#demand(this.running === 'new', 'the new version does not run');
        case 'ArtifactCommit':
          return this.#commit();
        case 'ArtifactRollback':
          return this.#rollBack();
        case 'ArtifactVerifyRollbackReboot':
          return this.#demand(this.running === 'old', 'the old version does not run');
        default:
          return;
      }
    },
    needsReboot: async () => {
      this.#demandTree('NR?');
      this.#meet('NR?', 'module');
      return this.#options.needsReboot;
    },
    supportsRollback: async () => {
      this.#demandTree('SR?');
      this.#meet('SR?', 'module');
      return this.#options.supportsRollback;
    },
    removeTree: async () => {
      this.#hasTree = false;
      this.#hasBackup = false;
    },
  };

  readonly scripts: ScriptRunner = {
    run: async ({ family, action }: ScriptRun) => {
      // Those of Idle and Sync run at other times in every case, and say nothing.
      if (family !== 'Idle' && family !== 'Sync') this.#meet(shortOf(`${family}_${action}`), 'script');
    },
    installArtifactScripts: async (_scripts: readonly StateScriptFile[]) => {},
    clearArtifactScripts: async () => {},
    checkRootfsScriptVersion: async () => {},
  };

  #install(): void {
    this.#hasBackup = true;
    this.#next = 'new';
    this.#bootCount = 0;
    // Without a way back there is no trial: what is written is what runs from the next boot on.
    if (this.#reboots) this.#isOnTrial = this.#options.supportsRollback;
    else this.running = 'new';
  }

  #commit(): void {
    this.#demand(this.running === 'new', 'refusing to commit: the new version does not run');
    this.#isOnTrial = false;
  }

  #rollBack(): void {
    if (!this.#hasBackup) return;
    this.#next = 'old';
    this.#isOnTrial = false;
    if (!this.#reboots) this.running = 'old';
  }
}
