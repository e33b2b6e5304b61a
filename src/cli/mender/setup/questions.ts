/**
 * The questions of `mender setup`, in Mender's order; what is given as an option is not asked. Source:
 * spec/configuration.md section 4.5. The words are ours: scripts answer by order.
 */
import { access } from 'node:fs/promises';
import { isIP } from 'node:net';
import { UpdateError } from '../../../core/errors.ts';
import { quoted } from '../../../core/printable.ts';
import type { GivenOptions } from '../command-line.ts';
import type { Asker } from './asker.ts';
import type { HostedLogin } from './hosted.ts';

export const HOSTED_URL = 'https://hosted.mender.io';
export const DEMO_URL = 'https://docker.mender.io';
const DEFAULT_IP = '127.0.0.1';
const MIN_INTERVAL = 5;

export interface Intervals {
  readonly update: number;
  readonly inventory: number;
  readonly retry: number;
}
const DEFAULT_INTERVALS: Intervals = { update: 1800, inventory: 28_800, retry: 300 };
const DEMO_INTERVALS: Intervals = { update: 5, inventory: 5, retry: 30 };

export interface Answers {
  readonly deviceType: string;
  readonly serverUrl: string;
  /** Address to be found under the name of the server; null = it is not a demo server. */
  readonly demoServerIp: string | null;
  /** '' = none. */
  readonly serverCertificate: string;
  /** '' = none. */
  readonly tenantToken: string;
  readonly intervals: Intervals;
  readonly isDemoPolling: boolean;
}

export interface QuestionTools {
  readonly given: GivenOptions;
  readonly asker: Asker;
  readonly say: (text: string) => void;
  readonly login: HostedLogin;
  readonly defaultDeviceType: string;
  /** `--trusted-certs` in front of the command. */
  readonly trustedCerts: string | undefined;
}

export async function askEverything(tools: QuestionTools): Promise<Answers> {
  const implied = impliedBy(tools.given);
  const deviceType = await askDeviceType(tools);
  const isHosted =
    implied.isHosted ?? (await askYes(tools.asker, '\nIs the server hosted.mender.io? [Y/n] '));
  if (isHosted) {
    const tenantToken = await askTenantToken(tools);
    const polling = await askPolling(tools, implied.isDemoPolling);
    const serverCertificate = certificateOf(tools) ?? '';
    return {
      deviceType,
      serverUrl: HOSTED_URL,
      demoServerIp: null,
      serverCertificate,
      tenantToken,
      ...polling,
    };
  }
  const isDemo =
    implied.isDemoServer ??
    (await askYes(
      tools.asker,
      '\nA demo server has a certificate that nobody vouches for, and its address is put into /etc/hosts.\n' +
        'Is it a demo server? [Y/n] ',
    ));
  const tenantToken = tools.given.text('tenant-token') ?? '';
  if (isDemo) {
    const serverUrl = tools.given.text('server-url') ?? DEMO_URL;
    const demoServerIp = await askIp(tools);
    const polling = await askPolling(tools, implied.isDemoPolling);
    return { deviceType, serverUrl, demoServerIp, serverCertificate: '', tenantToken, ...polling };
  }
  const serverUrl = await askUrl(tools);
  const serverCertificate = certificateOf(tools) ?? (await askCertificate(tools));
  const polling = await askPolling(tools, implied.isDemoPolling);
  return { deviceType, serverUrl, demoServerIp: null, serverCertificate, tenantToken, ...polling };
}

interface Implied {
  /** undefined = to be asked. */
  readonly isHosted: boolean | undefined;
  readonly isDemoServer: boolean | undefined;
  readonly isDemoPolling: boolean | undefined;
}

function impliedBy(given: GivenOptions): Implied {
  const url = given.text('server-url');
  const ip = given.text('server-ip');
  if (url !== undefined && ip !== undefined) {
    throw new UpdateError('config', '--server-url and --server-ip exclude each other');
  }
  const demo = given.flag('demo') === undefined ? undefined : true;
  const isIntervalGiven = ['update-poll', 'inventory-poll', 'retry-poll'].some(
    (name) => given.text(name) !== undefined,
  );
  const isOtherServer = url !== undefined && url !== DEMO_URL;
  return {
    isHosted: url === undefined && ip === undefined ? given.flag('hosted-mender') : false,
    isDemoServer: ip !== undefined ? true : isOtherServer ? false : (demo ?? given.flag('demo-server')),
    isDemoPolling: isIntervalGiven ? false : (demo ?? given.flag('demo-polling')),
  };
}

async function askDeviceType({ given, asker, defaultDeviceType }: QuestionTools): Promise<string> {
  const isRight = (text: string): boolean => /^[A-Za-z0-9_-]+$/.test(text);
  const option = given.text('device-type') ?? '';
  if (isRight(option)) return option;
  let question =
    '\nThe device type decides which artifacts fit this device.\n' +
    `Device type (for example raspberrypi3): [${defaultDeviceType}] `;
  for (;;) {
    const answer = (await asker.ask(question)) || defaultDeviceType;
    if (isRight(answer)) return answer;
    question = `Found ${quoted(answer, 80)}, expected letters, digits, - and _: [${defaultDeviceType}] `;
  }
}

async function askYes(asker: Asker, first: string): Promise<boolean> {
  for (let question = first; ; question = 'Y or N? ') {
    const answer = await asker.ask(question);
    if (answer === '' || /^y$/i.test(answer)) return true;
    if (/^n$/i.test(answer)) return false;
  }
}

async function askUrl({ given, asker }: QuestionTools): Promise<string> {
  const isRight = (text: string): boolean => /^https?:\/\/[^\s/]+/.test(text) && URL.canParse(text);
  let answer = given.text('server-url');
  for (let question = `\nURL of the server: [${DEMO_URL}] `; ; question = 'URL, with http:// or https://: ') {
    answer = (answer ?? (await asker.ask(question))) || DEMO_URL;
    if (isRight(answer)) return answer;
    answer = undefined;
  }
}

async function askIp({ given, asker }: QuestionTools): Promise<string> {
  const option = given.text('server-ip') ?? '';
  if (isIP(option) > 0) return option;
  for (let question = `\nIP address of the server: [${DEFAULT_IP}] `; ; question = 'IP address: ') {
    const answer = (await asker.ask(question)) || DEFAULT_IP;
    if (isIP(answer) > 0) return answer;
  }
}

/** undefined = to be asked. */
function certificateOf({ given, trustedCerts }: QuestionTools): string | undefined {
  return given.text('server-cert') ?? trustedCerts;
}

async function askCertificate({ asker }: QuestionTools): Promise<string> {
  let question =
    '\nFile with the certificate of the server, for example /etc/mender/server.crt;\n' +
    'empty for one that a known authority vouches for, or for http: ';
  for (;;) {
    const answer = await asker.ask(question);
    const isFine =
      answer === '' ||
      (await access(answer).then(
        () => true,
        () => false,
      ));
    if (isFine) return answer;
    question = `The file ${quoted(answer, 200)} is not there. File: `;
  }
}

async function askPolling(
  { given, asker }: QuestionTools,
  implied: boolean | undefined,
): Promise<Pick<Answers, 'intervals' | 'isDemoPolling'>> {
  const isDemoPolling =
    implied ?? (await askYes(asker, '\nDemo intervals are a few seconds, for testing.\nUse them? [Y/n] '));
  if (isDemoPolling) return { isDemoPolling, intervals: DEMO_INTERVALS };
  const update = await askInterval(asker, given.text('update-poll'), 'update');
  const inventory = await askInterval(asker, given.text('inventory-poll'), 'inventory');
  const retry = await askInterval(asker, given.text('retry-poll'), 'retry');
  return { isDemoPolling, intervals: { update, inventory, retry } };
}

const PURPOSE: Readonly<Record<keyof Intervals, string>> = {
  update: 'Seconds from one look for updates to the next',
  inventory: 'Seconds from one sending of the inventory to the next',
  retry: 'Most seconds until something that failed is tried again',
};

async function askInterval(asker: Asker, option: string | undefined, name: keyof Intervals): Promise<number> {
  const fallback = DEFAULT_INTERVALS[name];
  const first = `\n${PURPOSE[name]}: [${fallback}] `;
  if (option !== undefined) {
    const seconds = secondsFrom(option);
    if (seconds !== null) return seconds;
  }
  for (let question = first; ; question = `A whole number, at least ${MIN_INTERVAL}: `) {
    const answer = await asker.ask(question);
    const seconds = answer === '' ? fallback : secondsFrom(answer);
    if (seconds !== null) return seconds;
  }
}

/** null = not a whole number, too small, or longer than the configuration can say. */
function secondsFrom(text: string): number | null {
  const seconds = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return seconds >= MIN_INTERVAL && seconds <= 0x7fff_ffff ? seconds : null;
}

async function askTenantToken({ given, asker, say, login }: QuestionTools): Promise<string> {
  const option = given.text('tenant-token');
  if (option !== undefined) return option;
  let username = given.text('username') ?? '';
  let password = given.text('password') ?? '';
  if (!isEmail(username) || password === '') {
    say('Your user at hosted.mender.io:\n');
    ({ username, password } = await askCredentials(asker));
  }
  for (;;) {
    const found = await login(username, password);
    if (found.kind === 'token') return found.token;
    say('hosted.mender.io knows no such user with that password.\n');
    ({ username, password } = await askCredentials(asker));
  }
}

const isEmail = (text: string): boolean => /^[^\s@]+@[^\s@]+$/.test(text);

async function askCredentials(
  asker: Asker,
): Promise<{ readonly username: string; readonly password: string }> {
  let username = '';
  for (let question = 'Email: '; !isEmail(username); question = 'An email address: ') {
    username = await asker.ask(question);
  }
  let password = '';
  while (password === '') password = await asker.askSecretly('Password: ');
  return { username, password };
}
