/**
 * `holdpoint-server`: the development server. Reads the command line, takes the data folder, listens, and ends on
 * SIGTERM or SIGINT with everything on disk. The third composition root beside main.ts and cli/main.ts.
 */
import { CommanderError } from 'commander';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createArtifactReader } from '../adapters/artifact/reader.ts';
import { createServiceLog } from '../adapters/log/winston.ts';
import { lockDatastore } from '../adapters/system/lock.ts';
import { UpdateError } from '../core/errors.ts';
import { VERSION } from '../version.ts';
import { openDevServer } from './dev-server.ts';
import { deviceRoutes } from './device-api.ts';
import { createListener } from './http.ts';
import { listen, type Listening, type TlsFiles } from './listen.ts';
import { isLoopback, managementRoutes } from './management-api.ts';
import { readCommandLine, type CommandLine } from './options.ts';
import { pageRoutes } from './page.ts';
import { randomToken, tokenFromFile } from './secrets.ts';

const EXIT = { stopped: 0, failed: 1, folderTaken: 2 } as const;
type ExitCode = (typeof EXIT)[keyof typeof EXIT];

async function main(): Promise<ExitCode> {
  const stop = new Promise<string>((done) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const) process.once(signal, () => done(signal));
  });
  const options = readCommandLine(process.argv, VERSION);
  const log = createServiceLog({ level: options.logLevel }).child({ component: 'server' });
  const tls = await readTls(options);
  const dataFolder = resolve(options.data);
  const lock = await lockDatastore({ directory: dataFolder, command: 'holdpoint-server' });
  try {
    const token = options.tokenFile === undefined ? randomToken() : await tokenFromFile(options.tokenFile);
    const server = await openDevServer(
      {
        dataFolder,
        isAutoAccepting: options.autoAccept === true,
        isOpenSource: options.oss === true,
        linkLifetimeMs: options.linkLifetime * 1000,
        tokenLifetimeMs: options.jwtLifetime * 1000,
        maxArtifactBytes: options.maxArtifact,
        maxDevices: options.maxDevices,
        publicUrl: options.publicUrl ?? null,
        version: VERSION,
      },
      { reader: createArtifactReader(), log, nowMs: () => Date.now() },
    );
    const listening: Listening[] = [];
    try {
      const separate = options.managementListen;
      const management = [
        ...managementRoutes(
          server,
          token,
          ({ socket }) => separate !== undefined || isLoopback(socket.remoteAddress),
        ),
        ...pageRoutes(),
      ];
      const routes = [...deviceRoutes(server), ...(separate ? [] : management)];
      listening.push(await listen(options.listen, tls, createListener(routes, log)));
      if (separate) listening.push(await listen(separate, tls, createListener(management, log)));
      introduce(options, listening, token);
      log.info('Started', { version: VERSION, dataFolder });
      log.info('Stopping', { signal: await stop });
    } finally {
      server.events.close();
      await Promise.all(listening.map((one) => one.close()));
      await server.close();
    }
  } finally {
    await lock.release();
  }
  return EXIT.stopped;
}

async function readTls({ tlsCert, tlsKey }: CommandLine): Promise<TlsFiles | null> {
  if (tlsCert === undefined || tlsKey === undefined) return null;
  return { cert: await readFile(tlsCert), key: await readFile(tlsKey) };
}

/** For people and for scripts that start the server: what it is, and how it is reached. On standard output. */
function introduce(options: CommandLine, listening: readonly Listening[], token: string): void {
  const devices = listening[0]?.url ?? '';
  const page = listening[1]?.url ?? devices.replace(/\/\/(?:0\.0\.0\.0|\[::\]):/, '//127.0.0.1:');
  const lines = [
    'holdpoint-server: for DEVELOPMENT and SMALL CLOSED NETWORKS only, not for the open internet.',
    `devices call   ${devices}`,
    // Behind #, so that it is in no request and in no log. What is kept in a file need not be shown.
    options.tokenFile === undefined
      ? `web page       ${page}/#token=${token}`
      : `web page       ${page}/ (its token is in ${options.tokenFile})`,
  ];
  const isNear = isLoopback(options.listen.host) || options.listen.host === 'localhost';
  if (!isNear && options.tlsCert === undefined) {
    lines.push(
      'warning        devices are reached without TLS: whoever is on the network can read everything',
    );
  }
  if (!isNear && options.managementListen === undefined) {
    lines.push('note           the page answers on this machine only; see --management-listen');
  }
  if (options.managementListen && !isLoopback(options.managementListen.host)) {
    lines.push(
      'warning        the page can be reached from the network: whoever has the token rules the devices',
    );
  }
  if (options.autoAccept === true)
    lines.push('note           unknown devices are accepted without being asked for');
  process.stdout.write(`${lines.join('\n')}\n`);
}

process.on('SIGPIPE', () => {});
process.stdout.on('error', () => {});
main()
  .then((exitCode) => process.exit(exitCode))
  .catch((error: unknown) => {
    // Commander has said what it had to say: 0 after --help and --version, 1 after a mistake.
    if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? EXIT.stopped : EXIT.failed);
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`holdpoint-server: starting: ${message}\n`);
    if (!(error instanceof UpdateError) && process.env['HOLDPOINT_DEBUG'] && error instanceof Error) {
      process.stderr.write(`${error.stack ?? ''}\n`);
    }
    const isTaken = error instanceof UpdateError && error.kind === 'wrongState';
    process.exit(isTaken ? EXIT.folderTaken : EXIT.failed);
  });
