/**
 * The whole service in front of a server on loopback that a test takes answers from: what has to hold after any fault is
 * said once, here. Polls are ordered and their end is awaited; nothing waits for time to pass.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';
import { makeArtifact, type ArtifactOptions } from '../support/device.ts';
import { sampleOffer, startDeviceApi, type DeviceApi, type DeviceApiOptions } from '../support/device-api.ts';
import { eventually } from '../support/eventually.ts';
import type { Properties } from '../support/property-watch.ts';
import { ServiceHarness, type HarnessOptions } from '../support/service.ts';

export const POLL_SECONDS = 1800;
const WITHIN_MS = 60_000;

/** One try again after a second, for checks and for reports: each give-up is reached soon. */
const QUICK = {
  UpdatePollIntervalSeconds: POLL_SECONDS,
  InventoryPollIntervalSeconds: 28_800,
  RetryPollIntervalSeconds: 1,
  RetryPollCount: 1,
};

export interface RigOptions extends HarnessOptions {
  readonly api?: DeviceApiOptions;
  readonly environment?: NodeJS.ProcessEnv;
  /** What the device knows as its server; default: the URL of the server. */
  readonly serverUrl?: string;
  /** Called before the service is started for the first time. */
  readonly prepare?: (rig: Rig) => void | Promise<void>;
}

/** Answers to the GET of an artifact. */
export type FileAnswer = (request: IncomingMessage, response: ServerResponse, bytes: Buffer) => void;

/** Bytes of a file, or of the range asked for. */
export const sendRange: FileAnswer = (request, response, bytes) => {
  const from = Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  response.writeHead(from === 0 ? 200 : 206, {
    'content-length': bytes.length - from,
    etag: '"1"',
    ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
  });
  response.end(bytes.subarray(from));
};

export interface Poll {
  /** Of the signal CheckFinished. */
  readonly result: string;
  readonly errorName: string;
  /** Of the device, idle again. */
  readonly seen: Properties;
}

export class Rig {
  readonly service: ServiceHarness;
  readonly api: DeviceApi;
  /** What the artifact is handed out by; null = properly. */
  fileAnswer: FileAnswer | null = null;
  fileRequests = 0;
  readonly #files = new Map<string, Buffer>();
  readonly #fileServer = createServer((request, response) => this.#serve(request, response));
  #fileUrl = '';

  static async start(options: RigOptions = {}): Promise<Rig> {
    const { api: apiOptions, environment, serverUrl, prepare, ...device } = options;
    const api = await startDeviceApi(apiOptions);
    const service = await ServiceHarness.create({
      ...device,
      menderConf: { ServerURL: serverUrl ?? api.url, ...QUICK, ...device.menderConf },
    });
    const rig = new Rig(service, api);
    try {
      rig.#fileServer.listen(0, '127.0.0.1');
      await once(rig.#fileServer, 'listening');
      rig.#fileUrl = `http://127.0.0.1:${(rig.#fileServer.address() as AddressInfo).port}`;
      await prepare?.(rig);
      await service.start(environment === undefined ? {} : { environment });
      // The first check is made without being asked for.
      await rig.idle('idle after the first check');
      return rig;
    } catch (error) {
      await rig.dispose();
      throw error;
    }
  }

  private constructor(service: ServiceHarness, api: DeviceApi) {
    this.service = service;
    this.api = api;
  }

  /** Resolves with the properties of an idle device that says when it asks next. */
  async idle(what = 'idle, with a next check'): Promise<Properties> {
    return this.service.waitFor(
      what,
      (seen) =>
        seen['Step'] === 'Idle' &&
        seen['State'] === 'Idle' &&
        seen['DeploymentId'] === '' &&
        seen['NextCheckUSec'] !== 0n,
      WITHIN_MS,
    );
  }

  /** Orders a check and awaits its end; of one that finds an update, the end of the deployment as well. */
  async poll(): Promise<Poll> {
    const finished = (): readonly unknown[][] =>
      this.service.watch.signals
        .filter(({ member }) => member === 'CheckFinished')
        .map(({ args }) => [...args]);
    let before = 0;
    await eventually(
      'a check can be ordered',
      async () => {
        await this.idle();
        before = finished().length;
        // A check of the schedule may have begun in between.
        return (await this.service.call('CheckForUpdate')).error === '';
      },
      WITHIN_MS,
    );
    await eventually('the check is over', () => finished().length > before, WITHIN_MS);
    const [, result, errorName] = finished()[before] ?? [];
    const seen = await this.idle('idle after the check');
    return { result: String(result), errorName: String(errorName), seen };
  }

  /** A check that reaches a server which has nothing: the device is as good as before. */
  async pollsAgain(): Promise<void> {
    const { result, seen } = await this.poll();
    expect(result).toBe('up-to-date');
    expect(seen['ServerStatus']).toBe('authorized');
    expectPlan(seen);
  }

  /** Makes an artifact, to be downloaded from us. Returns its URL. */
  async publish(options: ArtifactOptions = {}): Promise<string> {
    const path = `/${randomUUID()}.mender`;
    this.#files.set(path, await readFile(await makeArtifact(this.service.device, options)));
    return `${this.#fileUrl}${path}`;
  }

  /** Offers a deployment of the artifact behind the URL until it has a final status. */
  offer(url: string, name = 'release-2', id: string = randomUUID()): string {
    this.api.offer(sampleOffer(id, name, url));
    return id;
  }

  /** Offers it once, lets it run, and awaits the end of it. */
  async deploy(
    url: string,
    name = 'release-2',
    controlMap: Record<string, unknown> | null = null,
  ): Promise<{ readonly id: string; readonly end: Properties }> {
    const id = this.offerOnce(url, name, controlMap);
    const { result } = await this.poll();
    expect(result).toBe('update-found');
    return { id, end: await this.endOf(id) };
  }

  /** To whichever check comes first. Returns the id of the deployment. */
  offerOnce(url: string, name: string, controlMap: Record<string, unknown> | null): string {
    const id = randomUUID();
    this.api.answerNext('next-v2', {
      status: 200,
      body: JSON.stringify({
        ...sampleOffer(id, name, url),
        ...(controlMap === null ? {} : { update_control_map: { id, ...controlMap } }),
      }),
    });
    return id;
  }

  /** The device, idle again after the deployment. */
  async endOf(id: string): Promise<Properties> {
    const isTold = (): boolean =>
      this.service.watch.signals.some(
        ({ member, args }) => member === 'DeploymentFinished' && args[1] === id,
      );
    await eventually('the deployment is over', isTold, WITHIN_MS);
    const end = await this.idle('idle after the deployment');
    expectPlan(end);
    return end;
  }

  /** What the server was told of the deployment, in order; that it still downloads, which takes as long as it takes, once. */
  statuses(id: string): readonly string[] {
    return this.reports(id).filter(
      (status, index, all) => status !== 'downloading' || all[index - 1] !== status,
    );
  }

  /** Every single report of the deployment. */
  reports(id: string): readonly string[] {
    return this.api
      .of('status')
      .filter(({ path }) => path.includes(id))
      .map(({ json }) => (json as { status: string }).status);
  }

  /** How often the module was called for an action. */
  async calls(action: string): Promise<number> {
    return (await this.service.device.calls()).filter((call) => call === action).length;
  }

  /** Nothing crashed, nothing was sent that servers refuse, and nothing of the inside was shown. */
  async expectUnharmed(): Promise<void> {
    expect(this.service.isRunning).toBe(true);
    expect(this.api.problems).toEqual([]);
    const log = await this.service.log();
    expect(log).not.toMatch(/Unexpected error|unhandled|TypeError|\\n\s+at /i);
    if (this.api.token !== '') expect(log).not.toContain(this.api.token);
  }

  async dispose(): Promise<void> {
    await this.service.dispose();
    await this.api.close();
    this.#fileServer.closeAllConnections();
    if (this.#fileServer.listening) await new Promise((resolve) => this.#fileServer.close(resolve));
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    this.fileRequests += 1;
    response.on('error', () => undefined);
    const bytes = this.#files.get((request.url ?? '').replace(/\?.*/, ''));
    if (bytes === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (this.fileAnswer !== null) {
      this.fileAnswer(request, response, bytes);
      return;
    }
    response.writeHead(200, { 'content-length': bytes.length, 'content-type': 'application/octet-stream' });
    response.end(bytes);
  }
}

/** The next check lies ahead, and no further than the interval or what the server asked for. */
export function expectPlan(seen: Properties, { atLeastSeconds = 0, nowMs = Date.now() } = {}): void {
  const aheadSeconds = (Number(seen['NextCheckUSec']) / 1000 - nowMs) / 1000;
  // The plan was made before it is read here, possibly some time ago.
  expect(aheadSeconds).toBeGreaterThan(atLeastSeconds - 60);
  expect(aheadSeconds).toBeLessThan(Math.max(POLL_SECONDS, atLeastSeconds) * 1.06);
}

/** Runs the tasks side by side, each with a rig of its own, which is gone afterwards. */
export async function withRig(options: RigOptions, use: (rig: Rig) => Promise<void>): Promise<void> {
  const rig = await Rig.start(options);
  try {
    await use(rig);
    await rig.expectUnharmed();
  } finally {
    await rig.dispose();
  }
}
