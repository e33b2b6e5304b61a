/** Faults of a whole machine: a network that swallows packets, no way out, dead name servers, a clock at 1970. */
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startDeviceApi } from '../../support/device-api.ts';
import { hasFakeTime, wrongClock } from '../../support/fake-time.ts';
import { Lab } from './lab.ts';

const run = promisify(execFile);

function works(...command: readonly string[]): boolean {
  try {
    execFileSync(command[0]!, command.slice(1), { stdio: 'pipe' });
    return true;
  } catch {
    return false;
  }
}

/** An Ethernet cable whose other end takes every packet and says nothing. */
const BLACK_HOLE = [
  'ip link set lo up',
  'ip link add near type veth peer name far',
  'ip addr add 198.51.100.1/24 dev near',
  'ip link set near up',
  'ip link set far up',
  'ip neigh add 198.51.100.7 lladdr 02:00:00:00:00:01 dev near',
].join(' && ');
/** Needs root; a container may refuse namespaces. */
const hasNamespaces = works('unshare', '--net', 'sh', '-c', BLACK_HOLE);
if (!hasNamespaces)
  console.warn('no network namespaces (root and iproute2 needed): their faults are not tested');
if (!hasFakeTime) console.warn('no faketime: the clock at 1970 is not tested');

let lab: Lab;
beforeEach(() => {
  lab = new Lab();
});
afterEach(() => lab.dispose());

interface Poll {
  readonly reason: string;
  readonly code?: string;
  readonly text?: string;
  readonly ms: number;
}

async function poll(wrapper: readonly string[], url: string, ca = '', environment = {}): Promise<Poll> {
  const program = [resolve('test/integration/server/one-poll.ts'), url, lab.folder, ca, '700'];
  const [command = '', ...args] = [...wrapper, process.execPath, '--import', 'tsx', ...program];
  const { stdout } = await run(command, args, { timeout: 30_000, env: { ...process.env, ...environment } });
  return JSON.parse(stdout) as Poll;
}

function inNamespace(setup: string): readonly string[] {
  return ['unshare', '--net', '--mount', 'sh', '-c', `${setup} && exec "$@"`, 'sh'];
}

describe.skipIf(!hasNamespaces)('a network', () => {
  it('that swallows every packet is left after the time for connecting', async () => {
    const result = await poll(inNamespace(BLACK_HOLE), 'http://198.51.100.7');
    expect(result).toMatchObject({ reason: 'timeout', code: 'UND_ERR_CONNECT_TIMEOUT' });
    // The limit is 0.7 s, and timers of the client have a step of up to a second.
    expect(result.ms).toBeGreaterThanOrEqual(650);
    expect(result.ms).toBeLessThan(6000);
  });

  it('without a way out is told at once', async () => {
    const result = await poll(inNamespace('ip link set lo up'), 'https://198.51.100.7');
    expect(result).toMatchObject({ reason: 'unreachable', code: 'ENETUNREACH' });
  });

  it('whose name server says nothing is a failed name resolution or a timeout, never a wedge', async () => {
    lab.program('resolv.conf', '');
    const setup = `${BLACK_HOLE} && echo nameserver 198.51.100.7 >'${lab.at('resolv.conf')}' && mount --bind '${lab.at('resolv.conf')}' /etc/resolv.conf`;
    const result = await poll(inNamespace(setup), 'https://mender.example');
    expect(result.reason).toMatch(/^(timeout|name-resolution)$/);
    expect(result.ms).toBeLessThan(6000);
  });
});

describe.skipIf(!hasFakeTime)('a clock', () => {
  it('at 1970 is named as the reason why a good certificate is refused', async () => {
    lab.authority('ca');
    lab.certificate('server', 'ca');
    const api = await startDeviceApi({
      tls: { cert: readFileSync(lab.at('server.crt')), key: readFileSync(lab.at('server.key')) },
    });
    try {
      const result = await poll([], api.url, lab.at('ca.crt'), wrongClock('1970-01-02 00:05:00'));
      expect(result).toMatchObject({ reason: 'clock-wrong', code: 'CERT_NOT_YET_VALID' });
      expect(result.text).toContain('the clock of this device says 1970-01-0');
      expect(await poll([], api.url, lab.at('ca.crt'))).toMatchObject({ reason: 'none' });
      const later = await poll([], api.url, lab.at('ca.crt'), wrongClock('+4d'));
      expect(later).toMatchObject({ reason: 'tls', code: 'CERT_HAS_EXPIRED' });
    } finally {
      await api.close();
    }
  });
});
