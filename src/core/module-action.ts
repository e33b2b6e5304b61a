/** States of the update-module protocol that the flow orders. Source: spec/update-modules.md section 3. */
export type ModuleAction =
  | 'ArtifactInstall'
  | 'ArtifactReboot'
  | 'ArtifactVerifyReboot'
  | 'ArtifactCommit'
  | 'ArtifactRollback'
  | 'ArtifactRollbackReboot'
  | 'ArtifactVerifyRollbackReboot'
  | 'ArtifactFailure'
  | 'Cleanup';
