/**
 * State scripts: names, where each family lives, and what exit codes mean.
 * Source: spec/update-flow.md section 7.
 */
export const ROOTFS_SCRIPT_FAMILIES = ['Idle', 'Sync', 'Download'] as const;
export const ARTIFACT_SCRIPT_FAMILIES = [
  'ArtifactInstall',
  'ArtifactReboot',
  'ArtifactCommit',
  'ArtifactRollback',
  'ArtifactRollbackReboot',
  'ArtifactFailure',
] as const;
export type ScriptFamily =
  (typeof ROOTFS_SCRIPT_FAMILIES)[number] | (typeof ARTIFACT_SCRIPT_FAMILIES)[number];
export type ScriptAction = 'Enter' | 'Leave' | 'Error';

const NAME =
  /^(Idle|Sync|Download|ArtifactInstall|ArtifactReboot|ArtifactCommit|ArtifactRollback|ArtifactRollbackReboot|ArtifactFailure)_(Enter|Leave|Error)_[0-9]{2}(_[^\s/]+)?$/;

export interface ScriptName {
  readonly family: ScriptFamily;
  readonly action: ScriptAction;
}

/** The family and action a file name stands for; null = not a state script (it never runs). Full match only. */
export function parseScriptName(name: string): ScriptName | null {
  const match = NAME.exec(name);
  if (!match) return null;
  return { family: match[1] as ScriptFamily, action: match[2] as ScriptAction };
}

/** Families whose scripts come out of the artifact, not out of the installed system. */
export function isArtifactScriptFamily(family: ScriptFamily): boolean {
  return (ARTIFACT_SCRIPT_FAMILIES as readonly string[]).includes(family);
}

export type ScriptExit = 'done' | 'retry-later' | 'failed';

/** 0 = done, 21 = run again later, everything else (signals too) = failed. */
export function judgeScriptExit(exitCode: number | null): ScriptExit {
  if (exitCode === 0) return 'done';
  return exitCode === 21 ? 'retry-later' : 'failed';
}
