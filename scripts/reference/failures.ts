/** What the codes cannot say: causes, what the device has done by then, and what to do. Complete by its type. */
import type { FailureName } from '../../src/core/errors.ts';

export interface FailureFacts {
  readonly cause: string;
  readonly device: string;
  readonly operator: string;
}

const UNTOUCHED = 'Nothing was installed; the device runs as before.';
const BACK =
  'It went back to the old version where the update module can (LastResult `rolled-back`), else it is marked inconsistent.';

export const FAILURE_FACTS: Readonly<Record<FailureName, FailureFacts>> = {
  Download: {
    cause: 'The artifact could not be fetched, also not after the configured tries.',
    device: UNTOUCHED,
    operator: 'Look at network, proxy and the address in the log. The next deployment starts afresh.',
  },
  Signature: {
    cause: 'The artifact is not signed, or not with one of the configured keys (`ArtifactVerifyKeys`).',
    device: `${UNTOUCHED} No byte of the payload reached the update module.`,
    operator: 'Sign it with the right key; if it should have been, find out who made it.',
  },
  Checksum: {
    cause:
      'A file of the artifact is not what its manifest says, or the artifact is not the one that was asked for.',
    device: UNTOUCHED,
    operator: 'Upload it again; `holdpoint inspect FILE` shows whether the file itself is sound.',
  },
  Format: {
    cause: 'What was fetched is no artifact of format 3, or a damaged one.',
    device: UNTOUCHED,
    operator:
      'Check the address: an error page of a web server is a common cause. `holdpoint inspect FILE` names the place.',
  },
  Incompatible: {
    cause: 'The artifact is for another device type, or there is no update module for its payload.',
    device: UNTOUCHED,
    operator: 'Compare `device_type` with the artifact, and look into `/usr/share/mender/modules/v3`.',
  },
  Dependency: {
    cause: 'The artifact depends on something that is not installed here.',
    device: UNTOUCHED,
    operator: 'Deploy what it depends on first; `holdpoint show-provides` lists what there is.',
  },
  NoSpace: {
    cause: 'A disk was full.',
    device: 'Before the installation: nothing was installed. After its begin: as for UpdateModule.',
    operator: 'Make room; `bytes-needed` of LastErrorDetails is the size where it is known.',
  },
  StateScript: {
    cause: 'A state script failed; its name and exit status are in LastErrorDetails.',
    device: `Before the installation: nothing was installed. After its begin: ${BACK}`,
    operator: 'Read what the script printed: it is in the log of the deployment.',
  },
  UpdateModule: {
    cause: 'The update module failed; its name, action and exit status are in LastErrorDetails.',
    device: BACK,
    operator: 'Read what the module printed: it is in the log of the deployment.',
  },
  Timeout: {
    cause:
      'A module or script ran longer than it may (`ModuleTimeoutSeconds`, `StateScriptTimeoutSeconds`) and was ended.',
    device: BACK,
    operator: 'Find out what it waited for before raising the limit.',
  },
  Reboot: {
    cause: 'The device could not be rebooted, or came up with something other than the new version.',
    device: BACK,
    operator: 'Try `RebootCommand` by hand; look at the boot loader and its variables.',
  },
  HealthCheck: {
    cause: 'A health checker reported `failed`, or did not report in time (`Health` in holdpoint.json).',
    device: BACK,
    operator: 'The word of the checker is in the log.',
  },
  Commit: {
    cause: 'The new version could not be made permanent, or the server could not be told before it.',
    device: BACK,
    operator: 'Look at the log; with a server: whether the new version can reach it.',
  },
  RollbackFailed: {
    cause: 'The way back to the old version failed, too.',
    device:
      'It is neither the old nor the new version for certain: the artifact name ends in `_INCONSISTENT`.',
    operator: 'Needs a person: install a full image.',
  },
  AbortedByUser: {
    cause: 'Somebody gave the update up (`Abort`), or asked for the old version back (`Rollback`).',
    device: 'Nothing was installed, or it went back to the old version.',
    operator:
      'Nothing is broken. The same deployment does not come again; `holdpoint decisions` says who decided.',
  },
  AbortedByServer: {
    cause: 'The server ended the deployment.',
    device: 'Nothing was installed, or it went back to the old version.',
    operator: 'Nothing is broken on the device.',
  },
  HoldExpired: {
    cause:
      'A question was not answered in time, or a wait reached the ceiling of its hold point, where that means to fail.',
    device: 'Nothing was installed, or it went back to the old version.',
    operator: 'See who blocked in the history; look at `timeout`, `on-expire`, `ceiling` of `Points`.',
  },
  ControlMap: {
    cause: 'A control map or a hold said `fail`, or the map of the server was malformed.',
    device: 'Nothing was installed, or it went back to the old version.',
    operator: '`holdpoint map list` shows the maps of the device.',
  },
  PowerLoss: {
    cause: 'The device or the service went down in a step that must not be interrupted.',
    device: BACK,
    operator: 'If it happens again, look at the power supply and at what kills the service.',
  },
  Storage: {
    cause: 'The service could not store how far it had come.',
    device: 'It did not go on without the record: nothing was installed, or it went back to the old version.',
    operator: 'Check the file system of the datastore.',
  },
  Internal: {
    cause: 'A defect of the service.',
    device: 'Nothing was installed, or it went back to the old version.',
    operator: 'Please report it, with the log of the deployment and of the service.',
  },
};
