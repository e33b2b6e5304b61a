import { UpdateError } from '../../core/errors.ts';
import type { DeploymentServer } from '../../ports/deployment-server.ts';

/** The device has no server: artifacts come from files and URLs. The server client takes this place later. */
export const noServer: DeploymentServer = {
  isConfigured: false,
  checkForDeployment: () => Promise.reject(notConfigured()),
  authorize: () => Promise.reject(notConfigured()),
  reportStatus: () => Promise.reject(notConfigured()),
  uploadLog: () => Promise.reject(notConfigured()),
};

function notConfigured(): UpdateError {
  return new UpdateError('server', 'no server is configured');
}
