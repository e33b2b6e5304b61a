/** What is run on both devices: command lines in order, and what is looked at afterwards. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { MEMBERS_WITHOUT_MEANING } from './allowed-differences.ts';
import type { RunOptions, Twin } from './twins.ts';

export interface Step extends RunOptions {
  readonly args: readonly string[];
  /** Done on the device before the command. */
  readonly first?: (device: Twin) => Promise<void>;
}

export interface Case {
  readonly name: string;
  readonly steps: readonly Step[];
  /** Questions for people are worded by us: standard output is not compared. Default: it is. */
  readonly wording?: 'ours';
  /** Named values that must be alike afterwards. */
  readonly facts?: (device: Twin) => Promise<Readonly<Record<string, unknown>>>;
}

export interface Shelf {
  readonly artifact: string;
  readonly otherDevice: string;
  readonly cut: string;
  readonly empty: string;
  /** An HTTP server that offers `artifact`, and logs devices in with `token`. */
  readonly url: string;
}

const answer = (question: 'supports-rollback' | 'needs-reboot', text: string) => (device: Twin) =>
  writeFile(device.at(question), text);
const fails = (action: string) => (device: Twin) => writeFile(device.at(`fail-${action}`), '');
const both =
  (...some: readonly ((device: Twin) => Promise<void>)[]) =>
  async (device: Twin): Promise<void> => {
    for (const one of some) await one(device);
  };
const conf = (text: string) => (device: Twin) => writeFile(device.at('conf/mender.conf'), text);

export async function textOf(device: Twin, path: string): Promise<string | null> {
  return readFile(device.at(path), 'utf8').catch(() => null);
}

async function modeOf(device: Twin, path: string): Promise<string | null> {
  const facts = await stat(device.at(path)).catch(() => null);
  return facts === null ? null : (facts.mode & 0o7777).toString(8);
}

/** A file that is no JSON is one member. */
function membersOf(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return { text };
  }
}

/** What setup has left behind. */
async function setupFacts(device: Twin): Promise<Readonly<Record<string, unknown>>> {
  const text = await textOf(device, 'conf/mender.conf');
  const members = membersOf(text ?? '{}');
  const meaningful = Object.entries(members).filter(
    ([key, value]) => JSON.stringify(MEMBERS_WITHOUT_MEANING[key]) !== JSON.stringify(value),
  );
  return {
    configuration: Object.fromEntries(meaningful),
    'mode of mender.conf': await modeOf(device, 'conf/mender.conf'),
    'device type': (await textOf(device, 'data/device_type'))?.trim(),
    'mode of device_type': await modeOf(device, 'data/device_type'),
    hosts: await textOf(device, 'hosts'),
    'certificate trusted': (await textOf(device, 'trusted/mender/mender-demo-1.crt')) !== null,
    'certificates updated': (await textOf(device, 'certificates-updated')) !== null,
  };
}

const CERTIFICATE = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';

export function artifactCases({ artifact, otherDevice, cut, empty, url }: Shelf): readonly Case[] {
  const install: Step = { args: ['install', artifact] };
  const show: readonly Step[] = [{ args: ['show-artifact'] }, { args: ['show-provides'] }];
  return [
    { name: 'a device where nothing was installed', steps: show },
    { name: 'install and commit', steps: [install, { args: ['commit'] }, ...show, { args: ['commit'] }] },
    {
      name: 'install and roll back',
      steps: [
        install,
        { args: ['commit'] },
        install,
        { args: ['rollback'] },
        ...show,
        { args: ['rollback'] },
      ],
    },
    { name: 'commit with nothing to commit', steps: [{ args: ['commit'] }] },
    { name: 'rollback with nothing to roll back', steps: [{ args: ['rollback'] }] },
    {
      name: 'without support for rollback',
      steps: [{ ...install, first: answer('supports-rollback', 'No') }, ...show],
    },
    {
      name: 'with a reboot',
      steps: [
        { ...install, first: answer('needs-reboot', 'Yes') },
        { args: ['commit'] },
        { args: ['install', '--reboot-exit-code', artifact] },
        { args: ['commit'] },
        ...show,
      ],
    },
    {
      name: 'with a reboot and without support for rollback',
      steps: [
        {
          args: ['install', '--reboot-exit-code', artifact],
          first: both(answer('needs-reboot', 'Yes'), answer('supports-rollback', 'No')),
        },
        install,
      ],
    },
    { name: 'an installation that fails', steps: [{ ...install, first: fails('ArtifactInstall') }] },
    {
      name: 'an installation that fails and cannot be rolled back',
      steps: [
        { ...install, first: both(fails('ArtifactInstall'), answer('supports-rollback', 'No')) },
        { args: ['show-artifact'] },
      ],
    },
    {
      name: 'a commit that fails',
      steps: [install, { args: ['commit'], first: fails('ArtifactCommit') }, { args: ['commit'] }],
    },
    {
      name: 'a commit that fails and cannot be rolled back',
      steps: [
        { ...install, first: both(fails('ArtifactCommit'), answer('supports-rollback', 'No')) },
        { args: ['show-artifact'] },
      ],
    },
    {
      name: 'a rollback that fails',
      steps: [install, { args: ['rollback'], first: fails('ArtifactRollback') }, { args: ['show-artifact'] }],
    },
    { name: 'a download that fails', steps: [{ ...install, first: fails('Download') }] },
    { name: 'a second install before the commit', steps: [install, install] },
    { name: 'an artifact for another device', steps: [{ args: ['install', otherDevice] }] },
    { name: 'an artifact that is cut off', steps: [{ args: ['install', cut] }] },
    { name: 'an artifact that is not there', steps: [{ args: ['install', '/nonexistent/artifact'] }] },
    {
      name: 'an artifact without payload',
      steps: [{ args: ['install', empty] }, { args: ['show-artifact'] }],
    },
    {
      name: 'an artifact from a web server',
      steps: [{ args: ['install', `${url}/artifact`] }, { args: ['commit'] }],
    },
    { name: 'a web server without the artifact', steps: [{ args: ['install', `${url}/nothing`] }] },
  ];
}

export const COMMAND_LINE_CASES: readonly Case[] = [
  { name: 'version', steps: [{ args: ['--version'] }] },
  { name: 'no command', steps: [{ args: [] }] },
  {
    name: 'help',
    steps: [
      { args: ['--help'] },
      { args: ['help'] },
      { args: ['commit', '--help'] },
      { args: ['help', 'install'] },
    ],
  },
  { name: 'help on nothing', steps: [{ args: ['help', 'nothing'] }] },
  { name: 'an unknown command', steps: [{ args: ['no-such-command'] }] },
  { name: 'an unknown command inside snapshot', steps: [{ args: ['snapshot', 'no-such-command'] }] },
  { name: 'an unknown option', steps: [{ args: ['--no-such-option', 'commit'] }] },
  { name: 'an unknown option of a command', steps: [{ args: ['commit', '--no-such-option'] }] },
  { name: 'an option without its value', steps: [{ args: ['--data'] }] },
  { name: 'a switch with a strange value', steps: [{ args: ['--skipverify=maybe', 'commit'] }] },
  { name: 'a switch that is switched off', steps: [{ args: ['--skipverify=false', 'commit'] }] },
  { name: 'options with one dash', steps: [{ args: ['-log-level', 'error', '-data=%D/data', 'commit'] }] },
  { name: 'an unknown log level', steps: [{ args: ['--log-level', 'loud', 'commit'] }] },
  { name: 'too many arguments', steps: [{ args: ['commit', 'this'] }] },
  { name: 'too many arguments of setup', steps: [{ args: ['setup', 'this'] }] },
  {
    name: 'too many arguments of check-update',
    steps: [{ args: ['check-update', 'this'], first: startListener }],
    facts: toldFacts,
  },
  { name: 'install without an artifact', steps: [{ args: ['install'] }] },
  {
    name: 'a configuration that is named and missing',
    steps: [{ args: ['--config', '/nonexistent/conf', 'commit'] }],
  },
  { name: 'a configuration that is broken', steps: [{ args: ['commit'], first: conf('{ "Servers": [ }') }] },
  {
    name: 'a configuration with a value of the wrong type',
    steps: [{ args: ['commit'], first: conf('{ "UpdatePollIntervalSeconds": "soon" }') }],
  },
  {
    name: 'both ServerURL and Servers',
    steps: [
      { args: ['commit'], first: conf('{"ServerURL":"https://a","Servers":[{"ServerURL":"https://b"}]}') },
    ],
  },
  {
    name: 'a log file',
    steps: [{ args: ['--log-file', '%D/log', 'commit'] }],
    facts: async (device) => ({ 'is there': (await textOf(device, 'log')) !== null }),
  },
  { name: 'a log file that cannot be', steps: [{ args: ['--log-file', '/nonexistent/log', 'commit'] }] },
  { name: 'check-update', steps: [{ args: ['check-update'], first: startListener }], facts: toldFacts },
  { name: 'send-inventory', steps: [{ args: ['send-inventory'], first: startListener }], facts: toldFacts },
  { name: 'check-update without a service', steps: [{ args: ['check-update'] }] },
  {
    name: 'send-inventory to a service that systemd has stopped',
    steps: [{ args: ['send-inventory'], first: (device) => writeFile(device.at('main-pid'), 'MainPID=0\n') }],
  },
];

/** Stands for the service: notes the signal it gets, and ends. Its pid is what systemctl tells. */
async function startListener(device: Twin): Promise<void> {
  const { spawn } = await import('node:child_process');
  const note = (signal: string): string => `trap 'echo ${signal} >> "${device.root}/told"; exit 0' ${signal}`;
  const child = spawn(
    'sh',
    [
      '-c',
      `${note('USR1')}\n${note('USR2')}\n${note('TERM')}\necho ready\nwhile :; do read line < "${device.root}/never" & wait; done`,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'], detached: true },
  );
  await new Promise((ready) => child.stdout.once('data', ready));
  listeners.set(device, child);
  await writeFile(device.at('main-pid'), `MainPID=${child.pid}\n`);
}
const listeners = new WeakMap<Twin, import('node:child_process').ChildProcess>();

async function toldFacts(device: Twin): Promise<Readonly<Record<string, unknown>>> {
  const child = listeners.get(device);
  // Where no signal came it is still there; TERM is then what it notes.
  if (child !== undefined && child.exitCode === null) {
    const ended = new Promise((done) => child.once('exit', done));
    child.kill('SIGTERM');
    await ended;
  }
  return { told: await textOf(device, 'told') };
}

export function setupCases(): readonly Case[] {
  const setup = (name: string, args: readonly string[], input = '', first?: Step['first']): Case => ({
    name: `setup ${name}`,
    ...(input !== '' && { wording: 'ours' as const }),
    steps: [{ args: ['setup', '--quiet', ...args], input, ...(first && { first }) }],
    facts: setupFacts,
  });
  const withDemo = async (device: Twin): Promise<void> => {
    const { mkdir } = await import('node:fs/promises');
    await mkdir(device.at('doc/mender-client/examples'), { recursive: true });
    await writeFile(device.at('doc/mender-client/examples/demo.crt'), CERTIFICATE);
  };
  const server = ['--device-type', 'kiosk', '--server-url', 'https://one.example', '--server-cert', ''];
  const polls = ['--update-poll', '60', '--inventory-poll', '600', '--retry-poll', '30'];
  return [
    setup('for hosted.mender.io with the token', [
      '--device-type',
      'kiosk',
      '--hosted-mender',
      '--tenant-token',
      'tt-1',
      '--demo-polling',
    ]),
    setup('for a server', [...server, ...polls]),
    setup('for a demo server', ['--device-type', 'kiosk', '--demo'], '\n', withDemo),
    setup(
      'for a demo server with its address',
      ['--device-type', 'kiosk', '--server-ip', '10.0.0.7', '--demo-polling'],
      '',
      withDemo,
    ),
    setup('for a demo server without its certificate', [
      '--device-type',
      'kiosk',
      '--server-ip',
      '10.0.0.7',
      ...polls,
    ]),
    setup(
      'for a demo server whose name is known',
      ['--device-type', 'kiosk', '--server-ip', '10.0.0.7', ...polls],
      '',
      async (device) => {
        await writeFile(device.at('hosts'), '127.0.0.1 localhost\n10.0.0.9 docker.mender.io');
      },
    ),
    setup('with every answer typed', [], 'till-3\nn\nn\nhttps://two.example\n\nn\n45\n900\n300\n'),
    setup('with every default', ['--hosted-mender=false'], '\ny\n\ny\n', withDemo),
    setup(
      'with wrong answers first',
      ['--hosted-mender=false', '--demo-server=false', '--demo-polling=false'],
      'till 3\ntill-3\nnonsense\nhttps://two.example\n/nonexistent/certificate\n\nsoon\n4\n5\n10\n\n',
    ),
    setup(
      'with polls that are too short',
      [...server, '--update-poll', '1', '--inventory-poll', '600', '--retry-poll', '30'],
      '7\n',
    ),
    setup('with a tenant token and a server', [...server, ...polls, '--tenant-token', 'tt-2']),
    setup('over an older configuration', [...server, ...polls], '', async (device) => {
      await conf(
        JSON.stringify({
          ServerURL: 'https://old.example',
          TenantToken: 'old',
          RootfsPartA: '/dev/mmcblk0p2',
          StateScriptTimeoutSeconds: 60,
          UpdatePollIntervalSeconds: 7,
        }),
      )(device);
    }),
    setup('over a broken configuration', [...server, ...polls], '', conf('{')),
    setup('that is left before its end', ['--device-type', 'kiosk'], 'n\n'),
    setup('with both addresses', ['--server-url', 'https://one.example', '--server-ip', '10.0.0.7']),
    setup('into other files', ['-c', '%D/conf/other.conf', '-d', '%D/data', ...server, ...polls]),
  ];
}
