/**
 * What a demo server needs of this device: its name in /etc/hosts, and its certificate among the trusted ones. Neither
 * keeps the setup from succeeding. Source: spec/configuration.md section 4.5.
 */
import { execFile } from 'node:child_process';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { UpdateError } from '../../../core/errors.ts';

export interface DemoPlaces {
  readonly hosts: string;
  /** Folder of certificates that are trusted by all programs. */
  readonly trusted: string;
  /** Makes them trusted. */
  readonly updateProgram: string;
}

export const DEMO_PLACES: DemoPlaces = {
  hosts: '/etc/hosts',
  trusted: '/usr/local/share/ca-certificates/mender',
  updateProgram: 'update-ca-certificates',
};

const UPDATE_LIMIT_MS = 60_000;

/** Nothing when the name is there already, whatever its address. */
export async function addHost(serverUrl: string, ip: string, { hosts }: DemoPlaces): Promise<void> {
  const { hostname } = new URL(serverUrl);
  const before = await readFile(hosts, 'utf8');
  const names = before.split('\n').flatMap((line) => line.replace(/#.*/, '').trim().split(/\s+/).slice(1));
  if (names.includes(hostname)) return;
  const start = before === '' || before.endsWith('\n') ? '' : '\n';
  // Appended: in a container the file is a mount, and cannot be replaced.
  await appendFile(hosts, `${start}${ip.padEnd(15)} ${hostname} s3.${hostname}\n`);
}

/** Each certificate of the file becomes one file. */
export async function trustDemoCertificate(
  path: string,
  { trusted, updateProgram }: DemoPlaces,
): Promise<void> {
  const text = await readFile(path, 'latin1').catch((cause: unknown) => {
    throw new UpdateError('config', `there is no demo certificate at ${path}`, { cause });
  });
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\r?\n?/g) ?? [];
  if (blocks.length === 0) throw new UpdateError('config', `${path} holds no certificate`);
  await mkdir(trusted, { recursive: true, mode: 0o755 });
  for (const [index, block] of blocks.entries()) {
    await writeFile(join(trusted, `mender-demo-${index + 1}.crt`), block, { mode: 0o444, flag: 'w' });
  }
  await promisify(execFile)(updateProgram, [], { timeout: UPDATE_LIMIT_MS });
}
