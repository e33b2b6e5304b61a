/**
 * Asks for a deployment once and prints what came of it: `{"reason","code","ms"}`. A program of its own, because a network
 * without a way out, or a wrong clock, belongs to a whole process.
 *
 *     node --import tsx one-poll.ts URL FOLDER CA CONNECT_MS
 */
import { createMenderServer } from '../../../src/adapters/server/mender-server.ts';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { RecordingLog } from '../../support/recording-log.ts';

const [url = '', folder = '', ca = '', connectMs = '1000'] = process.argv.slice(2);
const { deployments, close } = createMenderServer(
  {
    servers: [url],
    tenantToken: '',
    tier: 'standard',
    identity: { program: `${folder}/identity` },
    inventory: { directory: `${folder}/inventory` },
    version: '1.2.3',
    clockTrust: { builtWallMs: Date.UTC(2026, 0, 1), files: [] },
    keys: { ownKeyPath: `${folder}/mender-agent.pem`, staticKey: null },
    http: {
      serverCertificatePath: ca === '' ? null : ca,
      isTlsVerificationSkipped: false,
      clientCertificate: null,
      isKeepAliveDisabled: false,
      idleConnectionTimeoutSeconds: 0,
      proxyEnvironment: {},
      limits: { connectMs: Number(connectMs), headersMs: Number(connectMs), totalMs: 20_000 },
    },
  },
  () =>
    Promise.resolve({
      installed: { artifactName: 'a', artifactGroup: '', provides: {} },
      deviceType: 'test-device',
    }),
  new SystemClock(),
  new RecordingLog(),
);
const startedMs = performance.now();
let result: Record<string, unknown>;
try {
  result = { reason: 'none', offer: await deployments.checkForDeployment(new AbortController().signal) };
} catch (error) {
  const details = error instanceof UpdateError ? error.details : { reason: String(error) };
  result = {
    reason: details['reason'],
    code: details['error-code'],
    text: error instanceof Error ? error.message : '',
  };
}
console.log(JSON.stringify({ ...result, ms: Math.round(performance.now() - startedMs) }));
await close();
