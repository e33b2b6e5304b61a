/**
 * The requests of the real clients (golden traces), asked of ours in the same situations. Expected are method, path and
 * body of the C++ client 5.1; what only the Go client 3.4 has (control maps, substates) comes from its traces. Every
 * difference is listed where it is allowed.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sampleOffer, startDeviceApi, type DeviceApi } from '../../support/device-api.ts';
import { failureOf, Lab, never } from './lab.ts';

const ID = '4b76996c-5f9a-4c66-a84c-7e133c0dcbe3';
const V1 = '/api/devices/v1/deployments/device/deployments';
const V2 = '/api/devices/v2/deployments/device/deployments';
const AUTH = ['POST', '/api/devices/v1/authentication/auth_requests'] as const;
const INVENTORY = ['PUT', '/api/devices/v1/inventory/device/attributes'] as const;

let lab: Lab;
let api: DeviceApi;

beforeEach(async () => {
  lab = new Lab();
  lab.deviceType = 'bench';
  api = await startDeviceApi();
});
afterEach(async () => {
  await lab.dispose();
  await api.close();
});

/** Every request: method, path, body with the key made comparable. */
const trace = (): readonly unknown[] =>
  api.requests.map(({ method, path, json }) =>
    json === undefined
      ? [method, path]
      : [
          method,
          path,
          JSON.parse(JSON.stringify(json, (name, value) => (name === 'pubkey' ? '<pem>' : value))),
        ],
  );

const authBody = { id_data: '{"serial":"bench-0001"}', pubkey: '<pem>', tier: 'standard' };
const attributes = (artifactName: string) => [
  // Differs from 5.1: as 3.4 does, these two are sent without an inventory program for them.
  { name: 'artifact_name', value: artifactName },
  { name: 'device_type', value: 'bench' },
  { name: 'mender_client_version', value: '5.1.0' },
  { name: 'mender_client_version_provider', value: 'internal' },
  { name: 'probe', value: '1' },
];
const nextBody = (provides: Readonly<Record<string, string>>) => ({
  device_provides: { device_type: 'bench', ...provides },
  // Differs from 5.1, which knows no maps; as 3.4.
  update_control_map: true,
});

describe('the requests of the golden traces', () => {
  it('mender-cpp-5.1-success-plain: sign in, inventory, empty poll, offer, reports, sign in before the commit', async () => {
    const { deployments, inventory } = lab.client([api.url], { version: '5.1.0' });
    await inventory.send(never);
    expect(await deployments.checkForDeployment(never)).toBeNull();
    api.offer(sampleOffer(ID, 'release-2', `${api.url}/artifacts/${ID}`));
    expect(await deployments.checkForDeployment(never)).toMatchObject({ deploymentId: ID });
    await deployments.reportStatus(ID, 'downloading', '', never);
    await deployments.reportStatus(ID, 'installing', '', never);
    await deployments.authorize(never);
    await deployments.reportStatus(ID, 'installing', '', never);
    await deployments.reportStatus(ID, 'success', '', never);
    lab.installed = {
      ...lab.installed,
      artifactName: 'release-2',
      provides: { 'rootfs-image.probe.version': 'release-2' },
    };
    await inventory.send(never);
    api.offer(null);
    await deployments.checkForDeployment(never);
    expect(trace()).toEqual([
      [...AUTH, authBody],
      [...INVENTORY, attributes('original')],
      ['POST', `${V2}/next`, nextBody({ artifact_name: 'original' })],
      ['POST', `${V2}/next`, nextBody({ artifact_name: 'original' })],
      ['PUT', `${V1}/${ID}/status`, { status: 'downloading' }],
      ['PUT', `${V1}/${ID}/status`, { status: 'installing' }],
      [...AUTH, authBody],
      ['PUT', `${V1}/${ID}/status`, { status: 'installing' }],
      ['PUT', `${V1}/${ID}/status`, { status: 'success' }],
      [...INVENTORY, attributes('release-2')],
      [
        'POST',
        `${V2}/next`,
        nextBody({ artifact_name: 'release-2', 'rootfs-image.probe.version': 'release-2' }),
      ],
    ]);
    for (const { headers, body, endpoint } of api.requests) {
      expect(headers['content-length']).toBe(String(body.length));
      expect(headers['transfer-encoding']).toBeUndefined();
      expect(headers.accept).toBe('application/json');
      expect(headers.authorization).toMatch(endpoint === 'auth' ? /^API_KEY$/ : /^Bearer \S+$/);
    }
  });

  it('mender-cpp-5.1-auth-rejected-twice: refused, refused, accepted, then as ever', async () => {
    const answer = { status: 401, body: '{"error":"unauthorized: device not accepted (simulated)"}' };
    api.answerNext('auth', answer, answer);
    const { deployments, inventory } = lab.client([api.url]);
    expect((await failureOf(inventory.send(never))).details['reason']).toBe('pending');
    expect((await failureOf(deployments.checkForDeployment(never))).details['reason']).toBe('pending');
    await inventory.send(never);
    await deployments.checkForDeployment(never);
    expect(api.calls()).toEqual(['auth', 'auth', 'auth', 'inventory', 'next-v2']);
  });

  it('mender-go-3.4-v1-only: v2, then v1 by POST with a flat body, at every poll', async () => {
    api.answerAlways('next-v2', { status: 404, body: '{"error":"not found"}' });
    const { deployments } = lab.client([api.url]);
    await deployments.checkForDeployment(never);
    await deployments.checkForDeployment(never);
    const flat = { artifact_name: 'original', device_type: 'bench' };
    const poll = [
      ['POST', `${V2}/next`, nextBody({ artifact_name: 'original' })],
      ['POST', `${V1}/next`, flat],
    ];
    expect(trace()).toEqual([[...AUTH, authBody], ...poll, ...poll]);
  });

  it('mender-cpp-5.1-v1-only: v1 by GET where POST is unknown too', async () => {
    api.answerAlways('next-v2', { status: 404, body: '{"error":"not found"}' });
    // Differs from 5.1: v1 by POST is tried in between, as 3.4 does.
    api.answerAlways('next-v1', { status: 404, body: '{"error":"not found"}' });
    const { deployments } = lab.client([api.url]);
    await deployments.checkForDeployment(never);
    expect(trace().at(-1)).toEqual(['GET', `${V1}/next?artifact_name=original&device_type=bench`]);
  });

  it('mender-cpp-5.1-token-expired: 401 to a report, sign in, the same report again', async () => {
    const { deployments } = lab.client([api.url]);
    await deployments.reportStatus(ID, 'downloading', '', never);
    api.revokeTokens();
    await deployments.reportStatus(ID, 'installing', '', never);
    expect(trace().slice(2)).toEqual([
      ['PUT', `${V1}/${ID}/status`, { status: 'installing' }],
      [...AUTH, authBody],
      ['PUT', `${V1}/${ID}/status`, { status: 'installing' }],
    ]);
  });

  it('mender-go-3.4-server-map-pause-continue: the map of the offer, and its refresh', async () => {
    const { deployments } = lab.client([api.url]);
    const map = { id: ID, states: { ArtifactCommit_Enter: { action: 'pause' } } };
    api.offer({ ...sampleOffer(ID, 'release-2', `${api.url}/a`), update_control_map: map });
    expect((await deployments.checkForDeployment(never))?.controlMapText).toBe(JSON.stringify(map));
    api.answerNext('map', { status: 200, body: JSON.stringify({ update_control_map: map }) });
    expect(await deployments.fetchControlMap(ID, never)).toEqual({ kind: 'map', text: JSON.stringify(map) });
    expect(trace().at(-1)).toEqual(['GET', `${V2}/${ID}/update_control_map`]);
  });

  it('mender-cpp-5.1-install-failure-rollback: the failure, then its log', async () => {
    const { deployments } = lab.client([api.url]);
    const entry = {
      timestamp: '2030-05-06T07:08:09.123456Z',
      level: 'info',
      message: 'Running State Script',
    };
    await deployments.reportStatus(ID, 'failure', '', never);
    await deployments.uploadLog(
      ID,
      (async function* () {
        yield JSON.stringify(entry);
      })(),
      never,
    );
    expect(trace().slice(1)).toEqual([
      ['PUT', `${V1}/${ID}/status`, { status: 'failure' }],
      ['PUT', `${V1}/${ID}/log`, { messages: [entry] }],
    ]);
  });

  it('mender-cpp-5.1-next-500: no fallback and no abort, a failure to try again', async () => {
    api.answerNext('next-v2', { status: 500, body: '{"error":"simulated"}' });
    const { deployments } = lab.client([api.url]);
    expect((await failureOf(deployments.checkForDeployment(never))).isTransient).toBe(true);
    await deployments.checkForDeployment(never);
    expect(api.calls()).toEqual(['auth', 'next-v2', 'next-v2']);
  });
});
