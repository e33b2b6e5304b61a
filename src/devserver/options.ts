/** The command line of `holdpoint-server`. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { ListenAddress } from './listen.ts';

export interface CommandLine {
  readonly listen: ListenAddress;
  readonly managementListen?: ListenAddress;
  readonly data: string;
  readonly autoAccept?: boolean;
  readonly oss?: boolean;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tokenFile?: string;
  readonly publicUrl?: string;
  readonly linkLifetime: number;
  readonly jwtLifetime: number;
  readonly maxArtifact: number;
  readonly maxDevices: number;
  readonly logLevel: 'error' | 'warn' | 'info' | 'debug';
}

const LEVELS = ['error', 'warn', 'info', 'debug'] as const;
const DAY_S = 86_400;

const LESSON = `
What it is for
  Trying out devices, running tests and demonstrations, and updating a few devices in a closed network. It is one
  process without users, roles, replication or rate limits: do not put it on the open internet.

First steps
  1. holdpoint-server --data ./server --auto-accept
     prints the address of the web page with its token: open it.
  2. On the device, in /etc/mender/mender.conf:   { "ServerURL": "http://127.0.0.1:8080" }
  3. On the page: upload an artifact (mender-artifact write …), create a deployment, watch it.
  Devices on other machines: --listen 0.0.0.0:8080. The page and the management API still answer on this machine only,
  unless --management-listen says otherwise.

The same from a shell (TOKEN as printed at the start)
  curl -H "X-Holdpoint-Token: $TOKEN" http://127.0.0.1:8080/api/dev/v1/devices
  curl -H "X-Holdpoint-Token: $TOKEN" --data-binary @release-2.mender http://127.0.0.1:8080/api/dev/v1/artifacts
  curl -H "X-Holdpoint-Token: $TOKEN" http://127.0.0.1:8080/api/dev/v1/deployments -d '{
    "artifact_id": "…", "devices": {"all": true},
    "update_control_map": {"states": {"ArtifactCommit_Enter": {"action": "pause"}}} }'
  curl -H "X-Holdpoint-Token: $TOKEN" http://127.0.0.1:8080/api/dev/v1/deployments/ID/release -d '{
    "point": "ArtifactCommit_Enter", "at": null }'          at: null = now, or a time as 2030-05-06T07:08:09Z

Without --auto-accept a device waits until it is accepted on the page. With it, devices never seen before are let in;
a known device that comes with another key waits all the same.

Exit status: 0 stopped on request (SIGTERM, SIGINT), 1 a mistake in the options or the start failed, 2 another server
uses the data folder.`;

/** Throws CommanderError after help, version (exit code 0) and mistakes (1). */
export function readCommandLine(argv: readonly string[], version: string): CommandLine {
  const program = new Command('holdpoint-server')
    .description(
      'A small update server that Mender and Holdpoint devices accept, for development and small closed networks.',
    )
    .version(version, '-v, --version')
    .addOption(
      new Option('--listen <address:port>', 'where devices call, and the page is')
        .argParser(parseAddress)
        .default({ host: '127.0.0.1', port: 8080 }, '127.0.0.1:8080'),
    )
    .option(
      '--management-listen <address:port>',
      'the page and the management API here instead, for whoever can reach it',
      parseAddress,
    )
    .option('--data <folder>', 'where everything is kept', './holdpoint-server')
    .option('--auto-accept', 'let in devices that were never seen before')
    .option('--oss', 'behave as the open-source Mender server: no v2 calls, no control maps')
    .option('--tls-cert <pem>', 'certificate chain; with --tls-key')
    .option('--tls-key <pem>', 'private key of the certificate')
    .option('--token-file <file>', 'management token, made when missing; default: a new one at each start')
    .option('--public-url <url>', 'what download links begin with; default: as the device called', parseUrl)
    .option('--link-lifetime <seconds>', 'of download links', parseCount, DAY_S)
    .option('--jwt-lifetime <seconds>', 'of device tokens', parseCount, 7 * DAY_S)
    .option('--max-artifact <bytes>', 'largest upload', parseCount, 16 * 1024 ** 3)
    .option('--max-devices <number>', 'known devices', parseCount, 2_000)
    .option('-l, --log-level <level>', LEVELS.join(', '), parseLevel, 'info')
    .addHelpText('after', LESSON)
    .showHelpAfterError('(--help lists the options)')
    .allowExcessArguments(false)
    .exitOverride();
  const options = program.parse([...argv]).opts<CommandLine>();
  if ((options.tlsCert === undefined) !== (options.tlsKey === undefined)) {
    program.error('error: --tls-cert and --tls-key go together');
  }
  return options;
}

function parseAddress(given: string): ListenAddress {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(given);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) {
    throw new InvalidArgumentError('Expected ADDRESS:PORT, as 127.0.0.1:8080 or [::1]:8080.');
  }
  return { host: match[1] ?? match[2] ?? '', port };
}

function parseUrl(given: string): string {
  if (!URL.canParse(given) || !/^https?:\/\/[^?#]+$/.test(given)) {
    throw new InvalidArgumentError('Expected http://… or https://… without query.');
  }
  return given.replace(/\/+$/, '');
}

function parseCount(given: string): number {
  if (!/^[1-9]\d{0,14}$/.test(given)) throw new InvalidArgumentError('Expected a whole number above 0.');
  return Number(given);
}

function parseLevel(given: string): string {
  if (!LEVELS.some((level) => level === given))
    throw new InvalidArgumentError(`Expected ${LEVELS.join(', ')}.`);
  return given;
}
