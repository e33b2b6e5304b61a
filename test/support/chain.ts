/** The shorthand of spec/update-flow.md section 1 for calls of the module and of state scripts. */
const MODULE: Readonly<Record<string, string>> = {
  ProvidePayloadFileSizes: 'PS?',
  Download: 'D',
  DownloadWithFileSizes: 'D',
  ArtifactInstall: 'I',
  NeedsArtifactReboot: 'NR?',
  ArtifactReboot: 'R',
  ArtifactVerifyReboot: 'VR',
  ArtifactCommit: 'C',
  SupportsRollback: 'SR?',
  ArtifactRollback: 'RB',
  ArtifactRollbackReboot: 'RR',
  ArtifactVerifyRollbackReboot: 'VRR',
  ArtifactFailure: 'F',
  Cleanup: 'CL',
};
const FAMILY: Readonly<Record<string, string>> = {
  Idle: 'Idle',
  Sync: 'Sync',
  Download: 'D',
  ArtifactInstall: 'I',
  ArtifactReboot: 'R',
  ArtifactCommit: 'C',
  ArtifactRollback: 'RB',
  ArtifactRollbackReboot: 'RR',
  ArtifactFailure: 'F',
};
const SIGN: Readonly<Record<string, string>> = { Enter: '+', Leave: '-', Error: '!' };

/** One script for each action of the families that come with an artifact, and of those of the device. */
export const ARTIFACT_SCRIPTS = scriptNames(
  Object.keys(FAMILY).filter((family) => family.startsWith('Artifact')),
);
export const ROOTFS_SCRIPTS = scriptNames(['Idle', 'Sync', 'Download']);

function scriptNames(families: readonly string[]): readonly string[] {
  return families.flatMap((family) => Object.keys(SIGN).map((action) => `${family}_${action}_00_probe`));
}

/** `ArtifactInstall_Enter_00_probe` → `I+`; an unknown call stays as it is. */
export function shortOf(call: string): string {
  const [family = '', action = ''] = call.split('_');
  const sign = SIGN[action];
  return sign === undefined ? (MODULE[call] ?? call) : `${FAMILY[family] ?? family}${sign}`;
}

/** `I+` → `ArtifactInstall_Enter`, `VR` → `ArtifactVerifyReboot`: the name orders are given under. */
export function actionOf(short: string): string {
  const sign = short.at(-1) ?? '';
  const action = Object.keys(SIGN).find((name) => SIGN[name] === sign);
  const table = action === undefined ? MODULE : FAMILY;
  const wanted = action === undefined ? short : short.slice(0, -1);
  const name = Object.keys(table).find((key) => table[key] === wanted);
  if (name === undefined) throw new Error(`unknown shorthand ${JSON.stringify(short)}`);
  return action === undefined ? name : `${name}_${action}`;
}

/** All calls as one line; those of Idle and Sync only when asked for. */
export function chainOf(calls: readonly string[], hasIdle = false): string {
  return calls
    .map(shortOf)
    .filter((short) => hasIdle || !/^(Idle|Sync)[-+!]$/.test(short))
    .join(' ');
}
