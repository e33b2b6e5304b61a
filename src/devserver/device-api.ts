/**
 * What devices call: authentication, inventory, deployments, download. Source: spec/server-api.md; its section 1 names
 * the endpoints (A, I1, I2, N2, N1p, N1g, S, L, U, D).
 */
import * as v from 'valibot';
import { readAuthRequest } from './device-signature.ts';
import { DOWNLOAD_PATH, readLink, sendArtifact, signedPath } from './download.ts';
import type { DevServer } from './dev-server.ts';
import { Answered, type Endpoint } from './faults.ts';
import { HttpError } from './http-error.ts';
import { parseJson, readBody, readJson, sendJson, sendNothing, sendText } from './http.ts';
import type { Exchange, Handler, Route } from './http.ts';
import type { Asking } from './deployments.ts';
import { MAX_ATTRIBUTES } from './devices.ts';
import { REPORTED_STATUSES, type DeviceRecord } from './records.ts';

const KIB = 1024;
const AUTH_BYTES = 64 * KIB;
const INVENTORY_BYTES = 256 * KIB;
const NEXT_BYTES = 64 * KIB;
const STATUS_BYTES = 16 * KIB;
/** Section 6. */
const LOG_BYTES = 1024 * KIB;

const ROOT_1 = '/api/devices/v1/deployments/device/deployments';
const ROOT_2 = '/api/devices/v2/deployments/device/deployments';

/** Section 4.1: 1 to 4096 characters. */
const Fact = v.pipe(
  v.string('expected a text'),
  v.minLength(1, 'found an empty text'),
  v.maxLength(4096, 'found more than 4096 characters'),
);
const FlatNext = v.object({ artifact_name: Fact, device_type: Fact });
const Next = v.object({
  device_provides: v.intersect([FlatNext, v.record(v.string(), v.string('expected a text'))]),
  update_control_map: v.optional(v.boolean('expected true or false')),
});
const Value = v.union(
  [
    v.pipe(v.string(), v.maxLength(4096)),
    v.number(),
    v.pipe(v.array(v.string()), v.maxLength(1000)),
    v.pipe(v.array(v.number()), v.maxLength(1000)),
  ],
  'expected a text, a number, or a list of one of these',
);
const Inventory = v.pipe(
  v.array(
    v.object({
      name: v.pipe(v.string(), v.minLength(1), v.maxLength(1024)),
      value: Value,
      description: v.exactOptional(v.pipe(v.string(), v.maxLength(4096))),
    }),
    'expected a list',
  ),
  v.maxLength(MAX_ATTRIBUTES, `expected at most ${MAX_ATTRIBUTES} attributes`),
);
const Status = v.object({
  status: v.picklist(REPORTED_STATUSES, `expected one of ${REPORTED_STATUSES.join(', ')}`),
  substate: v.optional(v.pipe(v.string(), v.maxLength(200, 'found more than 200 characters')), ''),
});
const DeploymentLog = v.object({
  messages: v.pipe(
    v.array(
      v.object({
        timestamp: v.pipe(
          v.string(),
          v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i, 'expected an RFC 3339 time'),
        ),
        level: v.pipe(v.string(), v.minLength(1, 'found an empty text')),
        message: v.pipe(v.string(), v.minLength(1, 'found an empty text')),
      }),
      'expected a list',
    ),
    v.minLength(1, 'expected at least one message'),
  ),
});

export function deviceRoutes(server: DevServer): readonly Route[] {
  const { devices, deployments } = server;

  /** For endpoints that need a token. */
  const known =
    (endpoint: Endpoint, work: (device: DeviceRecord, exchange: Exchange) => Promise<void>): Handler =>
    (exchange) =>
      unlessAnswered(async () => {
        const device = devices.authorized(exchange.request.headers.authorization);
        await server.faults.meet(endpoint, device.id, exchange);
        await work(device, exchange);
      });

  const authenticate: Handler = (exchange) =>
    unlessAnswered(async () => {
      const { request, response } = exchange;
      await server.faults.meet('auth', null, exchange);
      requireJsonType(exchange);
      const bytes = await readBody(request, AUTH_BYTES);
      const token = await devices.authenticate(readAuthRequest(bytes, headerOf(exchange, 'x-men-signature')));
      sendText(response, 200, token, { 'Content-Type': 'application/jwt' });
    });

  const inventory = (mode: 'replace' | 'merge'): Handler =>
    known('inventory', async (device, { request, response }) => {
      const attributes = await readJson(request, INVENTORY_BYTES, Inventory);
      await devices.setInventory(device, attributes, mode);
      response.writeHead(200, { 'Content-Length': 0 });
      response.end();
    });

  const offer = async (
    device: DeviceRecord,
    asking: Asking,
    { request, response }: Exchange,
  ): Promise<void> => {
    const found = await deployments.next(device, asking);
    if (!found) {
      sendNothing(response);
      return;
    }
    const { deployment, artifact, map } = found;
    // A fresh link each time: a device that waited for two days gets one that works.
    const expiresS = Math.ceil((server.nowMs() + server.options.linkLifetimeMs) / 1000);
    const facts = {
      artifactId: artifact.id,
      deploymentId: deployment.id,
      deviceId: device.id,
      expiresS,
    };
    sendJson(response, 200, {
      id: deployment.id,
      artifact: {
        id: artifact.id,
        artifact_name: artifact.name,
        device_types_compatible: artifact.deviceTypes,
        source: {
          uri: `${server.baseUrl(request)}${signedPath(facts, server.secrets.linkSecret)}`,
          expire: new Date(expiresS * 1000).toISOString(),
          method: 'GET',
        },
      },
      ...map,
    });
  };

  const download: Handler = (exchange) =>
    unlessAnswered(async () => {
      const artifactId = exchange.params['artifact_id'] ?? '';
      const link = readLink(artifactId, exchange.query, server.secrets.linkSecret, server.nowMs());
      const fault = await server.faults.meet('download', link.deviceId, exchange);
      const artifact = server.records.artifacts.get(artifactId);
      if (!artifact) throw new HttpError(404, 'the artifact is gone');
      await sendArtifact(exchange, artifact, server.shelf.fileOf(artifact), fault);
    });

  const oldRoutes: readonly Route[] = [
    { method: 'POST', path: '/api/devices/v1/authentication/auth_requests', handle: authenticate },
    { method: 'PUT', path: '/api/devices/v1/inventory/device/attributes', handle: inventory('replace') },
    { method: 'PATCH', path: '/api/devices/v1/inventory/device/attributes', handle: inventory('merge') },
    {
      method: 'POST',
      path: `${ROOT_1}/next`,
      handle: known('next', async (device, exchange) => {
        const body = await readJson(exchange.request, NEXT_BYTES, FlatNext);
        await offer(device, askingOf(body, false), exchange);
      }),
    },
    {
      method: 'GET',
      path: `${ROOT_1}/next`,
      handle: known('next', async (device, exchange) => {
        const query = Buffer.from(JSON.stringify(Object.fromEntries(exchange.query)));
        await offer(device, askingOf(parseJson(query, FlatNext), false), exchange);
      }),
    },
    {
      method: 'PUT',
      path: `${ROOT_1}/:id/status`,
      handle: known('status', async (device, { request, response, params }) => {
        const { status, substate } = await readJson(request, STATUS_BYTES, Status);
        await deployments.report(device, params['id'] ?? '', status, substate);
        sendNothing(response);
      }),
    },
    {
      method: 'PUT',
      path: `${ROOT_1}/:id/log`,
      handle: known('log', async (device, { request, response, params }) => {
        const log = await readJson(request, LOG_BYTES, DeploymentLog);
        await deployments.saveLog(device, params['id'] ?? '', JSON.stringify(log));
        sendNothing(response);
      }),
    },
    { method: 'GET', path: DOWNLOAD_PATH, handle: download },
    { method: 'HEAD', path: DOWNLOAD_PATH, handle: download },
  ];
  // The open-source server has neither: section 1, "Surprise".
  if (server.options.isOpenSource) return oldRoutes;
  return [
    ...oldRoutes,
    {
      method: 'POST',
      path: `${ROOT_2}/next`,
      handle: known('next', async (device, exchange) => {
        const body = await readJson(exchange.request, NEXT_BYTES, Next);
        await offer(device, askingOf(body.device_provides, body.update_control_map === true), exchange);
      }),
    },
    {
      method: 'GET',
      path: `${ROOT_2}/:id/update_control_map`,
      handle: known('map', async (device, { response, params }) => {
        sendJson(response, 200, deployments.mapFor(device, params['id'] ?? ''));
      }),
    },
  ];
}

function askingOf(facts: v.InferOutput<typeof FlatNext>, followsMaps: boolean): Asking {
  return { artifactName: facts.artifact_name, deviceType: facts.device_type, followsMaps };
}

async function unlessAnswered(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Answered)) throw error;
  }
}

function headerOf({ request }: Exchange, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

/** Section 2.2: looked at only when there is something to read. */
function requireJsonType(exchange: Exchange): void {
  if (Number(headerOf(exchange, 'content-length') ?? 0) === 0) return;
  const header = headerOf(exchange, 'content-type') ?? '';
  const type = /^\s*([a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+)\s*(;.*)?$/i.exec(header)?.[1];
  if (type === undefined) throw new HttpError(400, 'the header Content-Type cannot be understood');
  if (type.toLowerCase() !== 'application/json') {
    throw new HttpError(415, `found content type ${type}, expected application/json`);
  }
}
