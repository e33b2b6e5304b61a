/**
 * State scripts on disk. Knows nothing of states: which action runs when, and what its failure means, is the
 * update flow's business.
 */
import { UpdateError } from '../../core/errors.ts';
import { isArtifactScriptFamily } from '../../core/state-script.ts';
import type { StateScriptFile } from '../../ports/artifact-reader.ts';
import type { Clock } from '../../ports/clock.ts';
import type { DeploymentLog, Log } from '../../ports/log.ts';
import type { ScriptRun, ScriptRunner } from '../../ports/script-runner.ts';
import { checkVersionFile, findScripts } from './discover.ts';
import { clearScripts, installScripts } from './install.ts';
import { runScript, type ScriptLimits, type ScriptWorld } from './run-script.ts';

export interface ScriptSettings extends ScriptLimits {
  /** Folder of the Idle, Sync and Download scripts: `<configuration folder>/scripts`. */
  readonly rootfsScriptsDir: string;
  /** Folder of the scripts that come with an artifact: `<data store>/scripts`. */
  readonly artifactScriptsDir: string;
}

export class StateScripts implements ScriptRunner {
  readonly #settings: ScriptSettings;
  readonly #world: ScriptWorld;

  constructor(settings: ScriptSettings, clock: Clock, deploymentLog: DeploymentLog, log: Log) {
    this.#settings = settings;
    this.#world = { limits: settings, clock, deploymentLog, log };
  }

  async run(run: ScriptRun, signal: AbortSignal): Promise<void> {
    const { family, action, runsAll } = run;
    const folder = isArtifactScriptFamily(family)
      ? this.#settings.artifactScriptsDir
      : this.#settings.rootfsScriptsDir;
    if (signal.aborted) {
      throw new UpdateError('cancelled', `state scripts of ${family}_${action} were not started`);
    }
    const scripts = await findScripts(folder, family, action);
    if (scripts.length === 0) return;
    try {
      await checkVersionFile(folder);
    } catch (error) {
      // Errors ignored: a version problem just means that no scripts are run (spec/update-flow.md section 7.2).
      if (!runsAll) throw error;
      this.#complain('warning', error instanceof Error ? error.message : String(error));
      return;
    }
    let firstFailure: unknown;
    for (const { name, path, obstacle } of scripts) {
      if (obstacle !== null) {
        this.#complain('warning', `state script ${name} is skipped: ${obstacle}`);
        continue;
      }
      try {
        await runScript({ name, path, family, action }, this.#world, signal);
      } catch (error) {
        if (error instanceof UpdateError && error.kind === 'cancelled') throw error;
        this.#complain('error', error instanceof Error ? error.message : String(error));
        if (!runsAll) throw error;
        firstFailure ??= error;
      }
    }
    if (firstFailure !== undefined) throw firstFailure;
  }

  async installArtifactScripts(scripts: readonly StateScriptFile[]): Promise<void> {
    await installScripts(this.#settings.artifactScriptsDir, scripts);
  }

  async clearArtifactScripts(): Promise<void> {
    await clearScripts(this.#settings.artifactScriptsDir);
  }

  async checkRootfsScriptVersion(): Promise<void> {
    await checkVersionFile(this.#settings.rootfsScriptsDir);
  }

  #complain(level: 'warning' | 'error', text: string): void {
    this.#world.deploymentLog.write(level, text);
    this.#world.log.warn('state script problem', { reason: text });
  }
}
