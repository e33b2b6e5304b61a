export type LogFields = Readonly<Record<string, unknown>>;

/** A logger for one component: a fixed sentence plus fields. Never tokens, keys or signed URLs. */
export interface Log {
  error(sentence: string, fields?: LogFields): void;
  warn(sentence: string, fields?: LogFields): void;
  info(sentence: string, fields?: LogFields): void;
  debug(sentence: string, fields?: LogFields): void;
  child(fields: { readonly component: string }): Log;
}

/** Levels of the deployment log (spec/update-flow.md section 8.4). */
export type DeploymentLogLevel = 'error' | 'warning' | 'info' | 'debug';

/** The log of one deployment: JSON lines with `timestamp`, `level`, `message`; appended over reboots. */
export interface DeploymentLog {
  /** Continues the file of the same deployment, else starts a new one and shifts the older ones. Never throws. */
  open(deploymentId: string): Promise<void>;
  /** Does nothing while no deployment is open. Never throws; a full disk loses lines, not the update. */
  write(level: DeploymentLogLevel, message: string): void;
  /** Waits until everything written so far is in the file. */
  flush(): Promise<void>;
  close(): Promise<void>;
  /**
   * Lines of a kept deployment, from the 0-based line `fromLine`; null = no log of that deployment.
   * Bounded: at most `maxLines` lines and 512 KiB of text.
   */
  read(
    deploymentId: string,
    fromLine: number,
    maxLines: number,
  ): Promise<{ readonly lines: readonly string[]; readonly nextLine: number } | null>;
}
