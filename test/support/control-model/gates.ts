/** The gates the model is about, each configured another way, so that every kind of end is met somewhere. */
import type { GateOptions } from './world.ts';

export interface ModelGate {
  readonly name: string;
  readonly gate: GateOptions;
}

export const MODEL_GATES: readonly ModelGate[] = [
  {
    name: 'Download_Enter, silence is no answer',
    gate: { point: 'Download_Enter', settings: { consent: 'required', onExpire: 'keep-waiting' } },
  },
  {
    name: 'ArtifactInstall_Enter, silence is a yes',
    gate: {
      point: 'ArtifactInstall_Enter',
      settings: { consent: 'required', onExpire: 'continue', consentTimeoutSeconds: 1800 },
    },
  },
  {
    name: 'ArtifactReboot_Enter, silence is a no',
    gate: {
      point: 'ArtifactReboot_Enter',
      settings: { consent: 'required', onExpire: 'fail', consentTimeoutSeconds: 3000 },
    },
  },
  {
    name: 'ArtifactCommit_Enter, with a checker',
    gate: {
      point: 'ArtifactCommit_Enter',
      hasHealth: true,
      settings: {
        consent: 'required',
        onExpire: 'continue',
        consentTimeoutSeconds: 1800,
        onCeiling: 'continue',
      },
    },
  },
  {
    name: 'ArtifactRollbackReboot_Enter, the ceiling lets it go',
    gate: {
      point: 'ArtifactRollbackReboot_Enter',
      settings: { consent: 'required', onExpire: 'keep-waiting', onCeiling: 'continue' },
    },
  },
  {
    name: 'ArtifactInstall_Enter, the server pauses',
    gate: { point: 'ArtifactInstall_Enter', hasServerMap: true },
  },
];
