import type { StateScriptFile } from './artifact-reader.ts';
import type { ScriptAction, ScriptFamily } from '../core/state-script.ts';

export interface ScriptRun {
  readonly family: ScriptFamily;
  readonly action: ScriptAction;
  /** true: a failing or unusable script does not stop the others (Error scripts; Idle). */
  readonly runsAll: boolean;
}

export interface ScriptRunner {
  /**
   * Runs all scripts of one action in byte order of their names. Resolves when all are done. Rejects with a
   * ScriptError (kind `script` or `timeout`) naming the script and exit status; with kind `cancelled` on abort.
   * With `runsAll` failures are logged, every script is run, and the promise rejects at the end with the first one.
   */
  run(run: ScriptRun, signal: AbortSignal): Promise<void>;
  /** Replaces the artifact scripts by these, durably, with the `version` file. Called after verification only. */
  installArtifactScripts(scripts: readonly StateScriptFile[]): Promise<void>;
  /** Removes all artifact scripts. */
  clearArtifactScripts(): Promise<void>;
  /** Before commit: a `version` file of the rootfs scripts that is present must hold 2 or 3. Rejects otherwise. */
  checkRootfsScriptVersion(): Promise<void>;
}
