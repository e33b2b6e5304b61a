/**
 * Our service in the situation of a trace: the built program on a private bus, a server that answers as the one of the
 * trace did, and somebody who calls the bus and changes the server at the same places. The result is a trace of ours.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { busctl } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import { monitorBus } from './bus-monitor.ts';
import { makeGoldenDevice } from './device.ts';
import { startMockServer, type MockServer, type Offer } from './mock-server.ts';
import type { DriverLine, HttpLine, Line, ServerLine, Trace } from './trace.ts';

export interface ReplayOptions {
  /** Stop at the first such report that is answered, after `holdMs`; absent: when the device is idle again. */
  readonly endsAtStatus?: string;
}

/** At most so long is a pause of the trace kept up: nothing may pass it meanwhile. */
const HOLD_MS = 1000;
const STEP_TIMEOUT_MS = 60_000;
const NO_OFFER: Offer = { id: 'no-deployment', artifact: { artifact_name: 'release-2' } };
const FINAL = ['success', 'failure', 'already-installed'];

export async function replay(driving: Trace, options: ReplayOptions = {}): Promise<Trace> {
  const offer = offerOf(driving);
  const device = await makeGoldenDevice({
    head: driving.head,
    artifactName: String(offer.artifact['artifact_name']),
  });
  const { service } = device;
  const flags = driving.head.serverFlags ?? [];
  const server = await startMockServer({ flags, offer, artifact: device.artifact });
  try {
    await device.configure(server.url);
    const monitor = await monitorBus(service.bus.address);
    const acts: Line[] = [];
    const startedAt = Date.now() / 1000;
    await service.start();
    try {
      for (const step of stepsOf(driving)) {
        await server.until(`${step.anchor} is asked (${step.count})`, step.claim, STEP_TIMEOUT_MS);
        if (step.holdMs > 0) await sleep(step.holdMs);
        acts.push(...(await take(step, service.bus.address, server)));
      }
      await untilTheEnd(server, driving, options);
      await eventually('the cycle of the last poll is over', async () => {
        const scripts = (await device.programs()).filter(({ src }) => src === 'script');
        return (
          scripts.length === 0 ||
          options.endsAtStatus !== undefined ||
          scripts.at(-1)?.what === 'Idle_Enter_00'
        );
      });
    } catch (error) {
      throw new Error(`${driving.name}: ${(error as Error).message}\n${await service.log()}`, {
        cause: error,
      });
    }
    await service.terminate();
    const bus = await monitor.stop();
    const http = server.requests.filter(({ status }) => status !== 0);
    const all: readonly Line[] = [...http, ...(await device.programs()), ...bus, ...acts];
    const lines = [...all]
      .sort((a, b) => a.t - b.t)
      .map((line) => ({ ...line, t: round(line.t - startedAt) }));
    const text = [...server.tokens].reduce(
      (rest, token) => rest.replaceAll(token, '<jwt>'),
      JSON.stringify(lines).replaceAll(server.url, '<server>'),
    );
    return {
      name: `ours-${driving.head.trace}`,
      head: { ...driving.head, client: 'holdpoint' },
      lines: JSON.parse(text) as readonly Line[],
    };
  } finally {
    await server.close();
    await service.dispose();
  }
}

const round = (seconds: number): number => Math.round(seconds * 1000) / 1000;

function offerOf({ lines }: Trace): Offer {
  const offers = lines.filter(
    (line): line is HttpLine => line.src === 'http' && line.path.endsWith('/next') && line.status === 200,
  );
  return (offers[0]?.reply as Offer | undefined) ?? NO_OFFER;
}

interface Step {
  readonly line: DriverLine | ServerLine;
  /** The call the trace's monitor saw. */
  readonly target: { readonly name: string; readonly path: string; readonly signature: string };
  /** The request in front of it, and how many of them there were. */
  readonly anchor: string;
  readonly count: number;
  readonly claim: (requests: readonly HttpLine[]) => boolean;
  readonly holdMs: number;
}

const nameOf = ({ method, path, body }: HttpLine): string => {
  const { status } = (body ?? {}) as { status?: unknown };
  return `${method} ${path}${typeof status === 'string' ? ` ${status}` : ''}`;
};
const hasSubstate = ({ body }: HttpLine): boolean =>
  typeof body === 'object' && body !== null && 'substate' in body && !isPause(body);
const isPause = (body: object): boolean => String((body as { status?: unknown }).status).startsWith('pause_');

/** What the test did in the trace, each behind the request it came after. */
function stepsOf({ lines }: Trace): readonly Step[] {
  const http = lines.filter((line): line is HttpLine => line.src === 'http');
  const calls = lines.filter(
    (line) =>
      line.src === 'dbus' && line.type === 'method_call' && line.destination?.startsWith('io.mender.'),
  );
  const acts = lines.filter(
    (line): line is DriverLine | ServerLine =>
      line.src === 'driver' ||
      (line.src === 'server' && ['deployment-available', 'server-control-map'].includes(line.ev)),
  );
  let call = 0;
  return acts.map((line): Step => {
    // The substates of the Go client are its own: nothing hangs on them.
    const before = http.filter((request) => request.t <= line.t && !hasSubstate(request));
    const anchor = before.at(-1);
    if (anchor === undefined) throw new Error(`nothing was asked before ${JSON.stringify(line)}`);
    const name = nameOf(anchor);
    const count = before.filter((request) => nameOf(request) === name).length;
    const seen = line.src === 'driver' ? calls[call++] : undefined;
    const target =
      seen?.src === 'dbus'
        ? { name: seen.destination ?? '', path: seen.path ?? '', signature: seen.signature ?? '' }
        : { name: '', path: '', signature: '' };
    return {
      line,
      target,
      anchor: name,
      count,
      claim: (requests) => requests.filter((request) => nameOf(request) === name).length >= count,
      holdMs: isPause((anchor.body ?? {}) as object) ? Math.min(HOLD_MS, (line.t - anchor.t) * 1000) : 0,
    };
  });
}

async function take({ line, target }: Step, address: string, server: MockServer): Promise<readonly Line[]> {
  const t = Date.now() / 1000;
  if (line.src === 'server') {
    if (line.ev === 'deployment-available') server.makeDeploymentAvailable();
    else server.setControlMap(line.map ?? {});
    return [{ ...line, t }];
  }
  const dot = line.call.lastIndexOf('.');
  const [owner, member] = [line.call.slice(0, dot), line.call.slice(dot + 1)];
  const args = line.args.map(String);
  const signature = target.signature === '' ? [] : [target.signature];
  const call = ['call', target.name, target.path, owner, member, ...signature, ...args];
  const result = await busctl(address, ['--json=short', ...call]);
  const text = result.stdout.trim();
  const { call: name } = line;
  if (result.status !== 0) {
    return [{ t, src: 'driver', call: name, args: line.args, error: result.stderr.trim() }];
  }
  return [
    {
      t,
      src: 'driver',
      call: name,
      args: line.args,
      reply: text === '' ? '' : (JSON.parse(text) as unknown),
    },
  ];
}

/** The result is reported and the server was asked once more, and what goes with it. */
async function untilTheEnd(
  server: MockServer,
  driving: Trace,
  { endsAtStatus }: ReplayOptions,
): Promise<void> {
  const statusOf = ({ body, path }: HttpLine): string =>
    path.endsWith('/status') ? String((body as { status?: unknown }).status) : '';
  if (endsAtStatus !== undefined) {
    await server.until(
      endsAtStatus,
      (all) => all.some((line) => statusOf(line) === endsAtStatus),
      STEP_TIMEOUT_MS,
    );
    await sleep(2 * HOLD_MS);
    return;
  }
  const hasDeployment = driving.lines.some((line) => line.src === 'http' && FINAL.includes(statusOf(line)));
  if (!hasDeployment) return;
  const isOver = (all: readonly HttpLine[]): boolean => {
    const final = all.findLastIndex((line) => FINAL.includes(statusOf(line)));
    return (
      final >= 0 && all.slice(final).some(({ path, status }) => path.endsWith('/next') && status === 204)
    );
  };
  await server.until('the result is reported, and the next poll is made', isOver, STEP_TIMEOUT_MS);
}
