/**
 * What people and scripts call, under /api/dev/v1: JSON over HTTP. Every call carries the management token in the
 * header `X-Holdpoint-Token` or as bearer token. No cookie is used and no address carries the token, so that no other
 * web page can make a browser call anything here.
 */
import * as v from 'valibot';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { DevServer } from './dev-server.ts';
import { attributeOf, statusOf } from './devices.ts';
import { FaultOrder } from './faults.ts';
import { HttpError } from './http-error.ts';
import { readBody, readJson, sendJson, sendNothing, sendText, parseJson } from './http.ts';
import type { Exchange, Handler, Route } from './http.ts';
import { isSameSecret } from './secrets.ts';
import { artifactView, deploymentView, deviceView, runView, timeText } from './views.ts';
import type { ArtifactRecord, DeviceRecord } from './records.ts';

const ROOT = '/api/dev/v1';
const BODY_BYTES = 256 * 1024;
const MAX_PAGE = 500;
/** 2100: far enough for a release, near enough to be meant. */
const LATEST_MS = Date.UTC(2100, 0, 1);

const Verdict = v.optional(v.strictObject({ auth_set_id: v.optional(v.string()) }), {});
const Text = v.pipe(v.string('expected a text'), v.maxLength(200, 'found more than 200 characters'));
const NewDeployment = v.strictObject(
  {
    name: v.optional(Text, ''),
    artifact_id: v.string('expected the id of an artifact'),
    devices: v.union(
      [
        v.strictObject({ all: v.literal(true) }),
        v.strictObject({ ids: v.pipe(v.array(v.string()), v.minLength(1), v.maxLength(10_000)) }),
        v.strictObject({ attributes: v.record(v.string(), v.string()) }),
      ],
      'expected {"all":true}, {"ids":[…]} or {"attributes":{"name":"value"}}',
    ),
    update_control_map: v.optional(v.unknown()),
    force: v.optional(v.boolean(), false),
  },
  'unknown member, or no object',
);
const NewMap = v.strictObject({ update_control_map: v.unknown() });
const ReleaseOrder = v.strictObject({
  point: v.string('expected the name of a point'),
  at: v.optional(
    v.nullable(
      v.pipe(
        v.string(),
        v.regex(
          /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i,
          'expected an RFC 3339 time with its zone, or null for now',
        ),
      ),
    ),
    null,
  ),
  force: v.optional(v.boolean(), false),
});

/** `mayManage`: whether calls may come from this client at all. */
export function managementRoutes(
  server: DevServer,
  token: string,
  mayManage: (request: IncomingMessage) => boolean,
): readonly Route[] {
  const { devices, deployments, records } = server;

  const guarded =
    (handle: Handler): Handler =>
    async (exchange) => {
      if (!mayManage(exchange.request)) {
        throw new HttpError(403, 'the management API answers on this machine only (see --management-listen)');
      }
      if (!isSameSecret(givenToken(exchange), token)) {
        throw new HttpError(401, 'the management token is missing or wrong (header X-Holdpoint-Token)');
      }
      await handle(exchange);
    };
  const route = (method: Route['method'], path: string, handle: Handler): Route => ({
    method,
    path: `${ROOT}${path}`,
    handle: guarded(handle),
  });
  const deviceOf = ({ params }: Exchange): DeviceRecord => {
    const device = records.devices.get(params['id'] ?? '');
    if (!device) throw new HttpError(404, 'no such device');
    return device;
  };
  const judge =
    (verdict: 'accepted' | 'rejected'): Handler =>
    async (exchange) => {
      const device = deviceOf(exchange);
      const bytes = await readBody(exchange.request, BODY_BYTES);
      const { auth_set_id: authSetId } = bytes.length === 0 ? {} : parseJson(bytes, Verdict);
      await devices.decide(device.id, verdict, authSetId ?? null);
      sendNothing(exchange.response);
    };

  return [
    route('GET', '/status', async ({ response }) => {
      sendJson(response, 200, {
        version: server.options.version,
        purpose: 'development and small closed networks; not hardened for the open internet',
        is_open_source: server.options.isOpenSource,
        is_auto_accepting: server.options.isAutoAccepting,
        now: timeText(server.nowMs()),
        counts: {
          devices: records.devices.size,
          artifacts: records.artifacts.size,
          deployments: records.deployments.size,
        },
      });
    }),
    route('GET', '/events', async ({ response }) => server.events.watch(response)),

    route('GET', '/devices', async ({ query, response }) => {
      const status = query.get('status');
      const attributes = query.get('attributes')?.split(',') ?? null;
      const found = records.devices.values().filter((one) => status === null || statusOf(one) === status);
      sendPage(response, query, found, (device) => deviceView(server, device, attributes));
    }),
    route('GET', '/devices/:id', async (exchange) =>
      sendJson(exchange.response, 200, deviceView(server, deviceOf(exchange))),
    ),
    route('POST', '/devices/:id/accept', judge('accepted')),
    route('POST', '/devices/:id/reject', judge('rejected')),
    route('DELETE', '/devices/:id', async (exchange) => {
      const device = deviceOf(exchange);
      await devices.remove(device.id, deployments.decommission(device.id));
      sendNothing(exchange.response);
    }),

    route('GET', '/artifacts', async ({ query, response }) =>
      sendPage(response, query, records.artifacts.values().toReversed(), artifactView),
    ),
    route('POST', '/artifacts', async ({ request, response }) => {
      const artifact = await server.shelf.add(request.iterator({ destroyOnReturn: false }));
      server.log.info('An artifact was uploaded', { artifact: artifact.name, bytes: artifact.sizeBytes });
      sendJson(response, 201, artifactView(artifact));
    }),
    route('DELETE', '/artifacts/:id', async ({ params, response }) => {
      const id = params['id'] ?? '';
      if (deployments.isArtifactNeeded(id)) {
        throw new HttpError(409, 'an unfinished deployment needs the artifact: abort it first');
      }
      await server.shelf.remove(id);
      sendNothing(response);
    }),

    route('GET', '/deployments', async ({ query, response }) =>
      sendPage(response, query, records.deployments.values().toReversed(), (one) =>
        deploymentView(server, one),
      ),
    ),
    route('POST', '/deployments', async ({ request, response }) => {
      const wanted = await readJson(request, BODY_BYTES, NewDeployment);
      const artifact = records.artifacts.get(wanted.artifact_id);
      if (!artifact) throw new HttpError(404, 'no such artifact');
      if (server.options.isOpenSource && wanted.update_control_map != null) {
        throw new HttpError(409, 'as open-source server (--oss) there are no control maps');
      }
      const deployment = await deployments.create({
        name: wanted.name || artifact.name,
        artifactId: artifact.id,
        deviceIds: chosenDevices(server, artifact, wanted.devices),
        ...(wanted.update_control_map == null ? {} : { controlMap: wanted.update_control_map }),
        isForced: wanted.force,
      });
      server.log.info('A deployment was created', { deploymentId: deployment.id, artifact: artifact.name });
      sendJson(response, 201, deploymentView(server, deployment));
    }),
    route('GET', '/deployments/:id', async ({ params, query, response }) => {
      const deployment = deployments.deployment(params['id'] ?? '');
      const { page, total } = pageOf(query, deployments.runs(deployment.id));
      sendJson(response, 200, {
        ...deploymentView(server, deployment),
        devices: page.map((run) => runView(server, run, query.get('history') === 'true')),
        device_total: total,
      });
    }),
    route('POST', '/deployments/:id/abort', async ({ params, response }) => {
      await deployments.abort(params['id'] ?? '');
      sendNothing(response);
    }),
    route('PUT', '/deployments/:id/update_control_map', async ({ request, params, response }) => {
      const { update_control_map: map } = await readJson(request, BODY_BYTES, NewMap);
      await deployments.setMap(params['id'] ?? '', map);
      sendNothing(response);
    }),
    route('POST', '/deployments/:id/release', async ({ request, params, response }) => {
      const { point, at, force } = await readJson(request, BODY_BYTES, ReleaseOrder);
      const released = await deployments.release(params['id'] ?? '', point, timeOf(at), force);
      sendJson(response, 200, deploymentView(server, released));
    }),
    route('GET', '/deployments/:id/devices/:device_id/log', async ({ params, response }) => {
      const { id = '', device_id: deviceId = '' } = params;
      const run = deployments.runs(id).find((one) => one.deviceId === deviceId);
      const text = run?.hasLog === true ? await server.logs.read(run.deploymentId, run.deviceId) : null;
      if (text === null) throw new HttpError(404, 'no log of this device');
      sendText(response, 200, text, { 'Content-Type': 'application/json' });
    }),

    route('GET', '/faults', async ({ response }) => sendJson(response, 200, server.faults.orders)),
    route('POST', '/faults', async ({ request, response }) => {
      server.faults.add(await readJson(request, BODY_BYTES, FaultOrder));
      sendNothing(response);
    }),
    route('DELETE', '/faults', async ({ response }) => {
      server.faults.clear();
      sendNothing(response);
    }),
  ];
}

export function isLoopback(address: string | undefined): boolean {
  const plain = (address ?? '').replace(/^::ffff:/i, '');
  return plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'));
}

function givenToken({ request }: Exchange): string {
  const own = request.headers['x-holdpoint-token'];
  if (typeof own === 'string') return own;
  return /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
}

function timeOf(text: string | null): number | null {
  if (text === null) return null;
  const ms = Date.parse(text);
  if (Number.isNaN(ms) || ms > LATEST_MS || ms < 0) {
    throw new HttpError(400, `at: found ${JSON.stringify(text)}, expected a time between 1970 and 2100`);
  }
  return ms;
}

/** Accepted ones only. By rule, those known to be of another type are left out. Throws HttpError 400 for a wrong id. */
function chosenDevices(
  { records }: DevServer,
  artifact: ArtifactRecord,
  wanted: v.InferOutput<typeof NewDeployment>['devices'],
): readonly string[] {
  if ('ids' in wanted) {
    for (const id of wanted.ids) {
      const device = records.devices.get(id);
      if (!device || statusOf(device) !== 'accepted') {
        throw new HttpError(400, `devices.ids: ${JSON.stringify(id.slice(0, 60))} is no accepted device`);
      }
    }
    return [...new Set(wanted.ids)];
  }
  const attributes = 'attributes' in wanted ? Object.entries(wanted.attributes) : [];
  return records.devices
    .values()
    .filter((device) => {
      const type = attributeOf(device, 'device_type');
      const isFitting = typeof type !== 'string' || artifact.deviceTypes.includes(type);
      const has = ([name, value]: [string, string]): boolean =>
        [attributeOf(device, name), device.identity[name]].some((one) =>
          Array.isArray(one) ? one.map(String).includes(value) : one != null && String(one) === value,
        );
      return statusOf(device) === 'accepted' && isFitting && attributes.every(has);
    })
    .map(({ id }) => id);
}

function pageOf<T>(
  query: URLSearchParams,
  all: readonly T[],
): { readonly page: readonly T[]; readonly total: number } {
  const number = (name: string, fallback: number, most: number): number => {
    const text = query.get(name);
    if (text === null) return fallback;
    if (!/^\d{1,9}$/.test(text) || Number(text) > most) {
      throw new HttpError(400, `${name}: expected a number from 0 to ${most}`);
    }
    return Number(text);
  };
  const offset = number('offset', 0, 999_999_999);
  return { page: all.slice(offset, offset + number('limit', MAX_PAGE, MAX_PAGE)), total: all.length };
}

/** A list, with the number of all in the header `X-Total-Count`. */
function sendPage<T>(
  response: Exchange['response'],
  query: URLSearchParams,
  all: readonly T[],
  view: (one: T) => object,
): void {
  const { page, total } = pageOf(query, all);
  sendJson(response, 200, page.map(view), { 'X-Total-Count': String(total) });
}
