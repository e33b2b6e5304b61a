/**
 * Bodies at random, by the signature of each method and beside it, against the running service on a real bus. Wrong is: a
 * service that ends, falls silent, grows, answers with an error name that is not its own, or calls a defect of its own an
 * answer.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { openClient, type BusClient } from '../../src/adapters/dbus/connection.ts';
import {
  HOLDPOINT_BUS_NAME,
  HOLDPOINT_PATH,
  loadHoldpointTable,
  loadMenderAuthTable,
  loadMenderTable,
  MENDER_AUTH_BUS_NAME,
  MENDER_AUTH_PATH,
  MENDER_BUS_NAME,
  MENDER_PATH,
} from '../../src/adapters/dbus/interface-xml.ts';
import { RemoteError } from '../../src/adapters/dbus/link.ts';
import { parseSignature, type TypeNode } from '../../src/adapters/dbus/signature.ts';
import { variant } from '../../src/adapters/dbus/values.ts';
import { UpdateError } from '../../src/core/errors.ts';
import { randomFrom } from '../support/random.ts';
import { ServiceHarness } from '../support/service.ts';
import type { FuzzOutcome } from './run.ts';
import { Wrong, type PlantedBug } from './target.ts';

export interface BusRun {
  readonly seed: number;
  readonly maxExecutions: number;
  readonly maxMs: number;
  readonly planted?: PlantedBug;
}

interface Method {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature: string;
}

/** The service lets one client make 100 calls a second; so many clients never wait. */
const CLIENTS = 24;
/** A busy machine has a service wait for its turn; one that has lost a reply is silent for ever. */
const REPLY_MS = 60_000;
const MAX_GROWTH_KIB = 96 * 1024;
/** Until then a heap grows to its working size. */
const WARM_UP_EXECUTIONS = CLIENTS * 1000;
/** What is not garbage is there at each look; a heap that is full of garbage is not, at one of ten. */
const LOOKS = 10;
const OWN_ERRORS =
  /^(io\.holdpoint\.Update1\.Error\.|io\.mender\.Failed$|org\.freedesktop\.DBus\.Error\.(InvalidArgs|UnknownMethod|UnknownInterface|UnknownProperty|PropertyReadOnly|AccessDenied|LimitsExceeded|NotSupported)$)/;
const STRANGE_SIGNATURES = ['', 's', 'v', 'a{sv}', 'aas', '(ss)', 'ay', 'a{s(ii)}', 'x', 'as', 'd', 'ssss'];
const TEXTS = [
  '',
  ' ',
  '\n',
  'ArtifactInstall_Enter',
  'ArtifactCommit_Enter',
  'Download_Enter',
  'pause',
  'continue',
  'fail',
  '..',
  '/',
  '/dev/zero',
  '/proc/self/mem',
  '/etc/passwd',
  'http://127.0.0.1:1/x',
  'file:///x',
  '{"id":',
  '{"id":"01234567-89ab-cdef-0123-456789abcdef"}',
  'null',
  '\u202e',
  'é'.repeat(300),
  'x'.repeat(70_000),
  '__proto__',
  '0'.repeat(32),
  'io.holdpoint.Update1',
  '[[[[[[[[',
];
const KEYS = [
  'why',
  'timeout',
  'on_expire',
  'app_id',
  'priority',
  'comment',
  'override',
  'reboot-mode',
  'now',
  '',
  '__proto__',
];
/** Of a{sv} and v. */
const INNER = ['s', 'u', 'b', 'x', 'as', 'a{sv}', '(su)', 'v', 't', 'd'];

export async function fuzzBus(run: BusRun): Promise<FuzzOutcome> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-fuzz-bus-'));
  const program = run.planted === undefined ? undefined : await buildWith(run.planted, folder);
  // What it may need is judged here, by growth: 181 MiB at most have been seen in half an hour.
  const memoryLimitMib = Infinity;
  const service = await ServiceHarness.create({ memoryLimitMib, ...(program !== undefined && { program }) });
  const clients: BusClient[] = [];
  try {
    await service.start();
    for (let count = 0; count < CLIENTS; count += 1) clients.push(await openClient(service.bus.address));
    return await hammer(run, service, clients);
  } finally {
    for (const client of clients) client.close();
    await service.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

async function hammer(
  run: BusRun,
  service: ServiceHarness,
  clients: readonly BusClient[],
): Promise<FuzzOutcome> {
  const random = randomFrom(run.seed);
  const methods = allMethods();
  const fromMs = performance.now();
  let baseKiB = await residentKiB(service.pid);
  const lookedKiB: number[] = [];
  let executions = 0;
  let finding: FuzzOutcome['finding'] = null;
  while (finding === null && executions < run.maxExecutions && performance.now() - fromMs < run.maxMs) {
    const round = clients.map(async (client) => {
      const method = pick(random, methods);
      const signature = random() < 0.1 ? pick(random, STRANGE_SIGNATURES) : method.signature;
      const body = parseSignature(signature).map((type) => valueOf(type, random, 0));
      const call = { ...method, signature, body };
      executions += 1;
      try {
        await client.call(call, REPLY_MS);
      } catch (error) {
        const problem = problemOf(error);
        if (problem !== '') finding ??= { input: Buffer.from(describe(call)), error: problem };
      }
    });
    await Promise.all(round);
    if (!service.isRunning)
      finding ??= { input: Buffer.from(''), error: `the service ended\n${await service.log()}` };
    if (executions % (CLIENTS * 50) !== 0 || finding !== null) continue;
    lookedKiB.push(await residentKiB(service.pid));
    if (lookedKiB.length > LOOKS) lookedKiB.shift();
    if (executions === WARM_UP_EXECUTIONS) baseKiB = Math.min(...lookedKiB);
    const grownKiB = Math.min(...lookedKiB) - baseKiB;
    if (grownKiB > MAX_GROWTH_KIB)
      finding = { input: Buffer.from(''), error: `the service grew by ${grownKiB} KiB` };
  }
  const log = await service.log();
  const defect = /"message":"(An event could not be processed|A message could not be handled)[^\n]*/.exec(
    log,
  )?.[0];
  if (defect !== undefined) finding ??= { input: Buffer.from(''), error: defect };
  return { executions, branches: 0, kept: [], finding };
}

/** '' = as it should be. */
function problemOf(error: unknown): string {
  if (error instanceof RemoteError) {
    if (!OWN_ERRORS.test(error.errorName)) return `the error ${error.errorName}: ${error.message}`;
    return /\bat .*:\d+:\d+|TypeError|undefined is not|Cannot read/.test(error.message)
      ? `says ${error.message}`
      : '';
  }
  // Our own refusal to send a body that D-Bus does not know.
  if (error instanceof UpdateError && error.kind === 'internal') return '';
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}

function allMethods(): readonly Method[] {
  const tables = [
    [HOLDPOINT_BUS_NAME, HOLDPOINT_PATH, loadHoldpointTable()],
    [MENDER_BUS_NAME, MENDER_PATH, loadMenderTable()],
    [MENDER_AUTH_BUS_NAME, MENDER_AUTH_PATH, loadMenderAuthTable()],
  ] as const;
  const own = tables.flatMap(([destination, path, { interfaces }]) =>
    [...interfaces.values()].flatMap(({ name, methods }) =>
      [...methods.values()].map(({ name: member, inSignature: signature }) => ({
        destination,
        path,
        interface: name,
        member,
        signature,
      })),
    ),
  );
  const properties = ['Get', 'GetAll', 'Set'].map((member, index) => ({
    destination: HOLDPOINT_BUS_NAME,
    path: HOLDPOINT_PATH,
    interface: 'org.freedesktop.DBus.Properties',
    member,
    signature: ['ss', 's', 'ssv'][index] as string,
  }));
  if (own.length < 20) throw new Wrong(`only ${own.length} methods in the XML`);
  return [...own, ...properties];
}

function valueOf(type: TypeNode, random: () => number, depth: number): unknown {
  const length = depth > 3 ? 0 : Math.floor(random() ** 2 * 5);
  switch (type.kind) {
    case 'basic':
      return basicOf(type.code, random);
    case 'variant': {
      const signature = depth > 3 ? 's' : pick(random, INNER);
      return variant(signature, valueOf(parseSignature(signature)[0] as TypeNode, random, depth + 1));
    }
    case 'array':
      if (type.code === 'ay') return Buffer.alloc(length * 100, 7);
      return Array.from({ length }, () => valueOf(type.element, random, depth + 1));
    case 'dict':
      return new Map(
        Array.from({ length }, () => [
          type.key.code === 's' ? pick(random, KEYS) : valueOf(type.key, random, depth + 1),
          valueOf(type.value, random, depth + 1),
        ]),
      );
    case 'struct':
      return type.fields.map((field) => valueOf(field, random, depth + 1));
  }
}

const NUMBERS: Readonly<Record<string, readonly unknown[]>> = {
  y: [0, 255],
  b: [true, false],
  n: [0, -32768, 32767],
  q: [0, 65535],
  i: [0, -1, -2147483648, 2147483647, 7],
  u: [0, 1, 60, 3600, 4294967295],
  x: [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)],
  t: [0n, 1n, 2n ** 64n - 1n],
  d: [0, -0, 1.5, Infinity, NaN, 1e308],
  o: ['/', '/io/holdpoint/Update1'],
  g: ['', 's', 'a{sv}'],
};

function basicOf(code: string, random: () => number): unknown {
  return pick(random, NUMBERS[code] ?? TEXTS);
}

function describe(call: Method & { readonly body: readonly unknown[] }): string {
  return JSON.stringify(call, (_key, value: unknown) =>
    typeof value === 'bigint'
      ? `${value}n`
      : value instanceof Map
        ? [...(value as Map<unknown, unknown>)]
        : value,
  );
}

async function residentKiB(pid: number): Promise<number> {
  return Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
}

/** The service out of a copy of the sources with the mistake in it. */
async function buildWith({ file, find, replace }: PlantedBug, folder: string): Promise<string> {
  for (const name of ['src', 'scripts', 'package.json'])
    await cp(resolve(name), join(folder, name), { recursive: true });
  await symlink(resolve('node_modules'), join(folder, 'node_modules'));
  const path = join(folder, 'src', file);
  const text = await readFile(path, 'utf8');
  if (text.split(find).length !== 2) throw new Error(`${file}: "${find}" is not there exactly once`);
  await writeFile(path, text.replace(find, replace));
  const outdir = join(folder, 'dist');
  await promisify(execFile)(process.execPath, ['scripts/build.mjs', '--outdir', outdir, 'holdpointd'], {
    cwd: folder,
  });
  return join(outdir, 'holdpointd.js');
}

function pick<T>(random: () => number, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)] as T;
}
