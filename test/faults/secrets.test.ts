/**
 * Token, key, tenant token, password of the proxy and signed links: wherever a whole run leaves something, they must not
 * be (issue "Secrets"; docs/decisions/0014): its log at the level debug, the arguments of every process it starts, what
 * the bus shows to others, what the command line prints, what is sent to the server as a log, and files that others may
 * read. What went wrong is told too, by a server that repeats what it was sent.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import type { Socket } from 'node:net';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../integration/server/lab.ts';
import { builtService } from '../support/built-service.ts';
import { busctl, OTHER_UID, runTool } from '../support/bus-tools.ts';
import { eventually } from '../support/eventually.ts';
import type { ServiceHarness } from '../support/service.ts';
import { withRig, type Rig } from './rig.ts';
import { Listener, pipeTo } from './sockets.ts';

const LIMIT_MS = 300_000;
const CLI = resolve('dist/holdpoint.js');
const secret = (): string => randomBytes(18).toString('hex');
const TENANT = secret();
const PASSWORD = secret();
const LINK = secret();
const AUTH_INTERFACE = 'io.mender.Authentication1';

let lab: Lab;
beforeAll(() => {
  lab = new Lab();
  lab.authority('ca');
  lab.certificate('server', 'ca', 'IP:127.0.0.1,DNS:updates.holdpoint.test');
});
afterAll(() => lab.dispose());

/** The service under a tracer that writes down the arguments of every program that is run below it. */
function traced(service: ServiceHarness, file: string): void {
  const { device, bus } = service;
  service.spawn = async (environment = {}) => {
    const run = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"';
    // -D: the service keeps the process id that the harness knows.
    const tracer = ['strace', '-D', '-f', '-qq', '-e', 'trace=execve', '-s', '65536', '-o', file];
    const program = [process.execPath, await builtService(), '--log-level', 'debug'];
    const log = openSync(device.logFile, 'a');
    const command = ['sh', '-c', run, device.bootIdFile, ...tracer, ...program];
    try {
      return spawn('unshare', ['--mount', '--propagation', 'private', ...command], {
        stdio: ['ignore', 'ignore', log],
        cwd: '/',
        env: { ...device.environment, DBUS_SYSTEM_BUS_ADDRESS: bus.address, ...environment },
      });
    } finally {
      closeSync(log);
    }
  };
}

/** What a program prints until it is stopped. */
class Recorder {
  readonly #child: ChildProcess;
  text = '';

  constructor(file: string, args: readonly string[]) {
    this.#child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => (this.text += text));
    }
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
  }
}

async function filesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Every way to go wrong that has something secret in its hands, and one update that succeeds. */
async function liveThrough(rig: Rig): Promise<readonly string[]> {
  const tokens = new Set<string>();
  const note = (): void => void (rig.api.token !== '' && tokens.add(rig.api.token));
  await rig.pollsAgain();
  note();
  // A server that says everything it was sent back, at each endpoint.
  const echo =
    (status: number) =>
    (request: { headers: object; body: Buffer }, response: Response): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: JSON.stringify(request.headers) + request.body.toString() }));
    };
  for (const endpoint of ['next-v2', 'status', 'log', 'inventory', 'auth'] as const) {
    for (const status of [400, 401, 500]) rig.api.answerNext(endpoint, echo(status));
  }
  await rig.service.mustCall('SendInventory');
  const isWell = async (): Promise<boolean> => {
    const { result } = await rig.poll();
    note();
    return result === 'up-to-date';
  };
  await eventually('all of them have been met', isWell, LIMIT_MS);
  rig.api.revokeTokens();
  await eventually('it is accepted again', isWell, LIMIT_MS);
  const url = await rig.publish({ scripts: ['ArtifactInstall_Enter_00'] });
  // A link that is refused, one that is cut, an answer that is half an offer, an update that fails, one that succeeds.
  rig.fileAnswer = (_request, response) => void response.writeHead(403).end(LINK);
  await rig.deploy(`${url}?X-Amz-Signature=${LINK}`);
  rig.fileAnswer = null;
  rig.api.answerNext('next-v2', {
    status: 200,
    body: `{"id":"x","artifact":{"source":{"uri":"${url}?s=${LINK}`,
  });
  await rig.poll();
  await rig.service.device.order('ArtifactInstall', 'fail-once');
  await rig.service.device.order('ArtifactInstall', 'stderr', 'the module says what it says\n');
  await rig.deploy(`${url}?X-Amz-Signature=${LINK}`);
  await rig.deploy(`${url}?X-Amz-Signature=${LINK}`);
  note();
  await rig.pollsAgain();
  note();
  return [...tokens];
}

type Response = import('node:http').ServerResponse;

describe('secrets', () => {
  it(
    'are in nothing that a whole run leaves, and in files only that nobody else may read',
    async () => {
      let target = 0;
      const proxy = new Listener(
        createHttpServer().on('connect', (request, socket: Socket) => {
          socket.on('error', () => undefined);
          const given = Buffer.from(`device:${PASSWORD}`).toString('base64');
          if (request.headers['proxy-authorization'] !== `Basic ${given}`) {
            return void socket.end('HTTP/1.1 407 No\r\n\r\n');
          }
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          pipeTo(socket, target);
        }),
      );
      const port = await proxy.listen();
      const recorders: Recorder[] = [];
      let trace = '';
      try {
        await withRig(
          {
            api: {
              tls: { cert: readFileSync(lab.at('server.crt')), key: readFileSync(lab.at('server.key')) },
            },
            serverUrl: 'https://updates.holdpoint.test',
            menderConf: { ServerCertificate: lab.at('ca.crt'), TenantToken: TENANT },
            environment: { https_proxy: `http://device:${PASSWORD}@127.0.0.1:${port}`, no_proxy: '' },
            prepare: async ({ service, api }) => {
              target = api.port;
              trace = join(service.device.folder, 'trace');
              traced(service, trace);
              const inventory = join(service.device.share, 'inventory');
              await mkdir(inventory, { recursive: true });
              await writeFile(join(inventory, 'mender-inventory-x'), '#!/bin/sh\necho colour=red\n', {
                mode: 0o755,
              });
              const { address } = service.bus;
              recorders.push(
                new Recorder('busctl', [`--address=${address}`, '--json=short', 'monitor']),
                ...['io.holdpoint.Update1', 'io.mender.AuthenticationManager', 'io.mender.UpdateManager'].map(
                  (name) =>
                    new Recorder('setpriv', [
                      `--reuid=${OTHER_UID}`,
                      `--regid=${OTHER_UID}`,
                      '--clear-groups',
                      'gdbus',
                      'monitor',
                      `--address=${address}`,
                      `--dest=${name}`,
                    ]),
                ),
              );
              await eventually('the bus is watched', () =>
                /Monitoring|"type"/.test(recorders[0]?.text ?? ''),
              );
            },
          },
          async (rig) => {
            const { service } = rig;
            const tokens = await liveThrough(rig);
            expect(tokens.length).toBeGreaterThan(1);
            const given = await busctl(service.bus.address, [
              'call',
              'io.mender.AuthenticationManager',
              '/io/mender/AuthenticationManager',
              AUTH_INTERFACE,
              'GetJwtToken',
            ]);
            // Root gets it, so the test looks for the right thing.
            expect(given.stdout).toContain(tokens.at(-1));

            const key = await readFile(join(service.device.data, 'mender-agent.pem'), 'utf8');
            const keyLines = key.split('\n').filter((line) => line.length > 30 && !line.startsWith('-'));
            expect(keyLines).not.toEqual([]);
            const passwordInHeader = Buffer.from(`device:${PASSWORD}`).toString('base64');
            const secrets = [...tokens, ...keyLines, TENANT, PASSWORD, passwordInHeader, LINK];
            const leaks = (text: string): readonly string[] => secrets.filter((one) => text.includes(one));

            const log = await service.log();
            expect(log).toMatch(/debug/);
            expect(leaks(log), 'the log').toEqual([]);

            const run = await readFile(trace, 'utf8');
            for (const program of [
              'mender-device-identity',
              'mender-inventory-x',
              'probe',
              'ArtifactInstall_Enter_00',
            ]) {
              expect(run, 'the tracer saw it run').toContain(program);
            }
            expect(leaks(run), 'arguments of processes').toEqual([]);

            const [monitor, ...others] = recorders;
            await eventually('the monitor has seen the end', () =>
              (monitor?.text ?? '').includes('GetJwtToken'),
            );
            // To root alone, by its own call or by the signal that the policy gives to nobody else.
            const lines = (monitor?.text ?? '').split('\n').filter((line) => leaks(line).length > 0);
            for (const line of lines) {
              const message = JSON.parse(line) as { type: string; interface?: string; destination?: string };
              const isReplyToRoot = message.type === 'method_return';
              expect(isReplyToRoot || message.interface === AUTH_INTERFACE, line.slice(0, 300)).toBe(true);
            }
            expect(others.map(({ text }) => leaks(text))).toEqual(others.map(() => []));
            expect(others[0]?.text).toContain('StateChanged');

            const told = rig.api.requests
              .filter(
                ({ endpoint }) => endpoint === 'log' || endpoint === 'inventory' || endpoint === 'status',
              )
              .map(({ body }) => body.toString());
            expect(leaks(told.join()), 'what the server is told').toEqual([]);
            const printed: string[] = [];
            const cli = (...args: readonly string[]) =>
              runTool(
                process.execPath,
                [CLI, ...args],
                {},
                {
                  ...(service.device.environment as Record<string, string>),
                  DBUS_SYSTEM_BUS_ADDRESS: service.bus.address,
                },
              );
            for (const args of [['status', '--json'], ['history', '--json'], ['log'], ['check-config']]) {
              const { stdout, stderr } = await cli(...args);
              printed.push(stdout, stderr);
            }
            expect(printed[0]).toContain('{');
            expect(leaks(printed.join()), 'the command line').toEqual([]);

            // What the test itself has written down is not the service's.
            const ours = [trace, service.device.logFile, join(service.device.conf, 'mender.conf')];
            const files = (await filesBelow(service.device.folder)).filter((path) => !ours.includes(path));
            const holding: string[] = [];
            for (const path of files) {
              if (leaks((await readFile(path)).toString('latin1')).length === 0) continue;
              holding.push(path);
              expect((await stat(path)).mode & 0o077, path).toBe(0);
            }
            expect(holding).toContain(join(service.device.data, 'mender-agent.pem'));
          },
        );
      } finally {
        await Promise.all(recorders.map((recorder) => recorder.stop()));
        await proxy.close();
      }
    },
    LIMIT_MS,
  );
});
