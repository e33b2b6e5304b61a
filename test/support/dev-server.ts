/** The bundled development server as a process of its own, called over HTTP. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Agent, fetch as fetchBy } from 'undici';
import { eventually } from './eventually.ts';

const run = promisify(execFile);
let built: Promise<string> | undefined;

/** Path of a program for `node`, built from the sources as they are: once for each test process, into its own folder. */
export function builtDevServer(): Promise<string> {
  built ??= (async () => {
    const folder = await mkdtemp(join(tmpdir(), 'holdpoint-server-program-'));
    process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
    await run(process.execPath, ['scripts/build.mjs', '--outdir', folder, 'holdpoint-server']);
    return join(folder, 'holdpoint-server.js');
  })();
  return built;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The text as JSON. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  readonly json: any;
}

export interface DevServerProcess {
  readonly url: string;
  readonly token: string;
  readonly folder: string;
  readonly child: ChildProcess;
  /** Standard output and error so far. */
  output(): string;
  /** A management call; `body`: an object is sent as JSON. */
  manage(method: string, path: string, body?: object | Uint8Array): Promise<Answer>;
  /** Like manage, and fails unless the answer is a success. */
  must(method: string, path: string, body?: object | Uint8Array): Promise<Answer['json']>;
  /** kill -9, and waits for the end. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit status. */
  stop(): Promise<number | null>;
  /** Ends it and removes its folder. */
  dispose(): Promise<void>;
}

export interface DevServerSettings {
  readonly options?: readonly string[];
  /** Of an earlier one: it goes on with what is there. */
  readonly folder?: string;
  readonly listen?: string;
  /** PEM of the authority that has signed the server's certificate, for management calls. */
  readonly ca?: string;
}

export async function answerOf(response: Pick<Response, 'text' | 'status' | 'headers'>): Promise<Answer> {
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, text, json };
}

export async function startDevServer(settings: DevServerSettings = {}): Promise<DevServerProcess> {
  const program = await builtDevServer();
  const folder = settings.folder ?? (await mkdtemp(join(tmpdir(), 'holdpoint-dev-server-')));
  const child = spawn(
    process.execPath,
    [
      program,
      '--listen',
      settings.listen ?? '127.0.0.1:0',
      '--data',
      join(folder, 'data'),
      '--token-file',
      join(folder, 'token'),
      ...(settings.options ?? []),
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ended = once(child, 'close');
  await eventually('the server has started', () => {
    if (child.exitCode !== null) throw new Error(`the server has ended: ${output}`);
    return /^web page +.*\n/m.test(output) && output.includes(' Started ');
  });
  const url = /^devices call +(\S+)$/m.exec(output)?.[1] ?? '';
  const managementUrl = /^web page +(\S+)\//m.exec(output)?.[1] ?? '';
  const token = (await readFile(join(folder, 'token'), 'utf8')).trim();
  let trusting: Agent | undefined;
  const manage: DevServerProcess['manage'] = async (method, path, body) => {
    const { ca } = settings;
    const sent = body === undefined || body instanceof Uint8Array ? body : JSON.stringify(body);
    const options = {
      method,
      headers: { 'X-Holdpoint-Token': token },
      ...(sent === undefined ? {} : { body: sent }),
      ...(ca === undefined ? {} : { dispatcher: (trusting ??= new Agent({ connect: { ca } })) }),
    };
    return answerOf(await fetchBy(`${managementUrl}/api/dev/v1${path}`, options));
  };
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    url,
    token,
    folder,
    child,
    output: () => output,
    manage,
    must: async (method, path, body) => {
      const answer = await manage(method, path, body);
      if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
      return answer.json;
    },
    kill,
    stop: async () => {
      child.kill('SIGTERM');
      const [status] = (await ended) as [number | null];
      return status;
    },
    dispose: async () => {
      await kill();
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
