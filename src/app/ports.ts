import type { ArtifactReader } from '../ports/artifact-reader.ts';
import type { ArtifactSource } from '../ports/artifact-source.ts';
import type { Clock } from '../ports/clock.ts';
import type { Conditions } from '../ports/conditions.ts';
import type { DecisionJournal } from '../ports/decision-journal.ts';
import type { Holders } from '../ports/holders.ts';
import type { DeploymentServer } from '../ports/deployment-server.ts';
import type { Inventory } from '../ports/inventory.ts';
import type { DeploymentLog, Log } from '../ports/log.ts';
import type { ScriptRunner } from '../ports/script-runner.ts';
import type { System } from '../ports/system.ts';
import type { UpdateBus } from '../ports/update-bus.ts';
import type { UpdateModules } from '../ports/update-module.ts';

/** Everything outside that the update flow works with. */
export interface Ports {
  readonly clock: Clock;
  readonly source: ArtifactSource;
  readonly reader: ArtifactReader;
  readonly modules: UpdateModules;
  readonly scripts: ScriptRunner;
  readonly system: System;
  readonly server: DeploymentServer;
  readonly inventory: Inventory;
  readonly bus: UpdateBus;
  readonly conditions: Conditions;
  readonly holders: Holders;
  readonly journal: DecisionJournal;
  readonly deploymentLog: DeploymentLog;
  readonly log: Log;
  /** 32 random hex digits. */
  readonly nonce: () => string;
  /** PEM files; empty = artifacts need no signature. */
  readonly verifyKeyPaths: readonly string[];
}
