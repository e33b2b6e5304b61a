import { UpdateError } from '../../src/core/errors.ts';
import type { DeploymentServer } from '../../src/ports/deployment-server.ts';

/** A device without a server. */
export const noServer: DeploymentServer = {
  isConfigured: false,
  checkForDeployment: () => Promise.reject(notConfigured()),
  authorize: () => Promise.reject(notConfigured()),
  reportStatus: () => Promise.reject(notConfigured()),
  uploadLog: () => Promise.reject(notConfigured()),
  fetchControlMap: () => Promise.reject(notConfigured()),
};

function notConfigured(): UpdateError {
  return new UpdateError('server', 'no server is configured');
}
