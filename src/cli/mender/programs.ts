/**
 * The programs of Mender this command can be called as, as tables: their commands, options and how they read a command
 * line. Source: spec/configuration.md sections 4.1, 4.2 and 4.5. `mender` is 3.x, the other two are 5.x.
 */
import { basename } from 'node:path';
import { STOP_POINTS } from '../../core/standalone-table.ts';

export type MenderName = 'mender' | 'mender-update' | 'mender-auth';

export interface OptionSpec {
  /** Without dashes. */
  readonly long: string;
  readonly short?: string;
  /** Other long names. */
  readonly aliases?: readonly string[];
  /** What the value is, for the help; absent = takes none. */
  readonly value?: string;
  /** Values that are allowed; absent = any. */
  readonly oneOf?: readonly string[];
  readonly isRepeatable?: boolean;
  readonly help: string;
}

export interface CommandSpec {
  /** Two words for a command inside another one. */
  readonly name: string;
  readonly help: string;
  /** What its one argument is; absent = takes none. */
  readonly argument?: string;
  readonly options: readonly OptionSpec[];
}

export interface ProgramSpec {
  readonly name: MenderName;
  /** Major version of the Mender client it behaves like. */
  readonly generation: 3 | 5;
  readonly help: string;
  readonly options: readonly OptionSpec[];
  readonly commands: readonly CommandSpec[];
}

const LOG_LEVELS_3 = ['trace', 'debug', 'info', 'warn', 'warning', 'error', 'fatal', 'panic'];
const LOG_LEVELS_5 = ['trace', 'debug', 'info', 'warning', 'error', 'fatal'];

const FORCE: OptionSpec = {
  long: 'forcebootstrap',
  short: 'F',
  help: 'make a new device key, whatever is there',
};
const PASSPHRASE: OptionSpec = {
  long: 'passphrase-file',
  value: 'FILE',
  help: "file whose first line opens an encrypted device key; '-' = standard input",
};
const HELP: OptionSpec = { long: 'help', short: 'h', help: 'show help and end' };
const REBOOT_CODE: OptionSpec = { long: 'reboot-exit-code', help: 'exit with 4 when a reboot is needed' };
const STOP_BEFORE: OptionSpec = {
  long: 'stop-before',
  value: 'STATE',
  oneOf: STOP_POINTS,
  isRepeatable: true,
  help: `stop before ${STOP_POINTS.join(', ')}; may be repeated`,
};

function globalOptions(generation: 3 | 5): readonly OptionSpec[] {
  return [
    { long: 'config', short: 'c', value: 'FILE', help: 'configuration' },
    {
      long: 'fallback-config',
      short: 'b',
      value: 'FILE',
      help: 'configuration that gives way to the other one',
    },
    { long: 'data', aliases: ['datastore'], short: 'd', value: 'DIR', help: 'datastore' },
    { long: 'log-file', short: 'L', value: 'FILE', help: 'log into this file' },
    {
      long: 'log-level',
      short: 'l',
      value: 'LEVEL',
      oneOf: generation === 3 ? LOG_LEVELS_3 : LOG_LEVELS_5,
      help: `show the log: ${(generation === 3 ? LOG_LEVELS_3 : LOG_LEVELS_5).join(', ')}`,
    },
    { long: 'trusted-certs', short: 'E', value: 'FILE', help: 'additional trusted certificates' },
    { long: 'skipverify', help: 'do not verify the certificates of servers' },
    { long: 'version', short: 'v', help: 'print the version and end' },
    HELP,
  ];
}

const INSTALL_HELP = 'install an artifact: a local file or a URL';
const COMMIT_HELP = 'make the installed update permanent; exits with 2 if there is none in progress';
const ROLLBACK_HELP = 'go back to what was installed before; exits with 2 if no update is in progress';
const SHOW: readonly CommandSpec[] = [
  { name: 'show-artifact', help: 'print the name of the installed artifact', options: [HELP] },
  { name: 'show-provides', help: 'print what the installed artifacts provide', options: [HELP] },
];
const POKES: readonly CommandSpec[] = [
  { name: 'check-update', help: 'have the service ask the server for an update now', options: [HELP] },
  { name: 'send-inventory', help: 'have the service send the inventory now', options: [HELP] },
];
const DAEMON_HELP = 'run the update service in the foreground';

const poll = (what: string): OptionSpec => ({
  long: `${what}-poll`,
  value: 'SECONDS',
  help: `${what} poll interval, at least 5`,
});

const SETUP: CommandSpec = {
  name: 'setup',
  help: 'write the configuration; asks for what is not given as an option',
  options: [
    { long: 'config', short: 'c', value: 'FILE', help: 'configuration file to write' },
    { long: 'data', short: 'd', value: 'DIR', help: 'datastore, for the device type' },
    { long: 'device-type', value: 'TYPE', help: 'name of the device type' },
    { long: 'username', value: 'EMAIL', help: 'user at hosted.mender.io' },
    {
      long: 'password',
      value: 'PASSWORD',
      help: 'password there; other users can see options, an answer they cannot',
    },
    { long: 'server-url', aliases: ['url'], value: 'URL', help: 'the server' },
    { long: 'server-ip', value: 'IP', help: 'address of a demo server' },
    { long: 'server-cert', short: 'E', value: 'FILE', help: 'additional trusted certificates' },
    { long: 'tenant-token', value: 'TOKEN', help: 'token of the tenant at hosted.mender.io' },
    poll('inventory'),
    poll('retry'),
    poll('update'),
    { long: 'hosted-mender', help: 'the server is hosted.mender.io' },
    { long: 'demo', help: 'as --demo-server and --demo-polling' },
    { long: 'demo-server', help: 'the server is a demo server' },
    { long: 'demo-polling', help: 'poll every few seconds' },
    { long: 'quiet', help: 'say nothing but the questions' },
    HELP,
  ],
};

const SNAPSHOT: CommandSpec = {
  name: 'snapshot dump',
  help: 'write an image of a file system to standard output',
  options: [
    { long: 'source', value: 'PATH', help: 'a folder of the file system, or its device; default /' },
    { long: 'compression', short: 'C', value: 'TYPE', help: 'none or gzip; default none' },
    { long: 'quiet', short: 'q', help: 'show no progress' },
    HELP,
  ],
};

export const MENDER_PROGRAMS: Readonly<Record<MenderName, ProgramSpec>> = {
  mender: {
    name: 'mender',
    generation: 3,
    help: 'the commands of the Mender client 3.x, by Holdpoint',
    options: [
      ...globalOptions(3),
      FORCE,
      { long: 'no-syslog', help: 'accepted; the log never goes to syslog' },
      PASSPHRASE,
    ],
    commands: [
      { name: 'bootstrap', help: 'make the device key, and log in at the server', options: [FORCE, HELP] },
      ...POKES,
      { name: 'commit', help: COMMIT_HELP, options: [HELP] },
      { name: 'daemon', help: DAEMON_HELP, options: [HELP] },
      {
        name: 'install',
        argument: 'FILE|URL',
        help: INSTALL_HELP,
        options: [REBOOT_CODE, PASSPHRASE, HELP],
      },
      { name: 'rollback', help: ROLLBACK_HELP, options: [HELP] },
      SETUP,
      SNAPSHOT,
      ...SHOW,
    ],
  },
  'mender-update': {
    name: 'mender-update',
    generation: 5,
    help: 'the commands of mender-update 5.x, by Holdpoint',
    options: globalOptions(5),
    commands: [
      ...POKES,
      { name: 'commit', help: COMMIT_HELP, options: [STOP_BEFORE, HELP] },
      { name: 'daemon', help: DAEMON_HELP, options: [HELP] },
      {
        name: 'install',
        argument: 'FILE|URL',
        help: INSTALL_HELP,
        options: [REBOOT_CODE, STOP_BEFORE, HELP],
      },
      {
        name: 'resume',
        help: 'go on with an update that was stopped or interrupted',
        options: [REBOOT_CODE, STOP_BEFORE, HELP],
      },
      { name: 'rollback', help: ROLLBACK_HELP, options: [STOP_BEFORE, HELP] },
      ...SHOW,
    ],
  },
  'mender-auth': {
    name: 'mender-auth',
    generation: 5,
    help: 'the commands of mender-auth 5.x, by Holdpoint',
    options: globalOptions(5),
    commands: [
      {
        name: 'bootstrap',
        help: 'make the device key if there is none, and log in at the server once',
        options: [FORCE, PASSPHRASE, HELP],
      },
      {
        name: 'daemon',
        help: "give the device's token to the programs on this device, without the update service",
        options: [FORCE, PASSPHRASE, HELP],
      },
    ],
  },
};

/** By the last part of the path the command was started as; null = it is `holdpoint`. */
export function menderProgramNamed(path: string): ProgramSpec | null {
  const name = basename(path).replace(/\.js$/, '');
  return Object.hasOwn(MENDER_PROGRAMS, name) ? MENDER_PROGRAMS[name as MenderName] : null;
}
