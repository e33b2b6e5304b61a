/** A folder with a device's identity and inventory programs, and the client under test. */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Installed } from '../../../src/core/artifact.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import {
  createMenderServer,
  type MenderServer,
  type MenderServerOptions,
} from '../../../src/adapters/server/mender-server.ts';
import { SystemClock } from '../../../src/adapters/system/clock.ts';
import type { Clock } from '../../../src/ports/clock.ts';
import { RecordingLog } from '../../support/recording-log.ts';

const NEW_KEY = '-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes';
/** For certificates of chosen dates; the simpler command knows only days from now. */
const AUTHORITY_CONFIGURATION = `[ca]
default_ca=one
[one]
database=index.txt
serial=serial
new_certs_dir=.
default_md=sha256
policy=any
copy_extensions=copy
unique_subject=no
[any]
commonName=supplied
`;

export const never = new AbortController().signal;

export interface LabOptions extends Partial<Omit<MenderServerOptions, 'http' | 'keys'>> {
  readonly http?: Partial<MenderServerOptions['http']>;
  readonly keys?: Partial<MenderServerOptions['keys']>;
  readonly clock?: Clock;
}

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), 'holdpoint-server-'));
  readonly log = new RecordingLog();
  readonly clock = new SystemClock();
  installed: Installed = { artifactName: 'original', artifactGroup: '', provides: {} };
  deviceType = 'test-device';
  readonly #clients: MenderServer[] = [];

  constructor() {
    mkdirSync(this.at('inventory'));
    this.program('identity', 'echo serial=bench-0001');
    this.program('inventory/mender-inventory-probe', 'echo probe=1');
  }

  at(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  /** A shell script; returns its path. */
  program(name: string, text: string, mode = 0o755): string {
    writeFileSync(this.at(name), `#!/bin/sh\n${text}\n`);
    chmodSync(this.at(name), mode);
    return this.at(name);
  }

  openssl(...args: readonly string[]): string {
    return execFileSync('openssl', args, { cwd: this.folder, stdio: 'pipe' }).toString();
  }

  client(servers: readonly string[], options: LabOptions = {}): MenderServer {
    const { http, keys, clock, ...rest } = options;
    const client = createMenderServer(
      {
        servers,
        tenantToken: '',
        tier: 'standard',
        identity: { program: this.at('identity'), memoryPath: this.at('identity.json') },
        inventory: { directory: this.at('inventory') },
        version: '1.2.3',
        clockTrust: { builtWallMs: Date.UTC(2026, 0, 1), files: [] },
        ...rest,
        keys: { ownKeyPath: this.at('mender-agent.pem'), staticKey: null, ...keys },
        http: {
          serverCertificatePath: null,
          isTlsVerificationSkipped: false,
          clientCertificate: null,
          isKeepAliveDisabled: false,
          idleConnectionTimeoutSeconds: 0,
          proxyEnvironment: {},
          ...http,
        },
      },
      () => Promise.resolve({ installed: this.installed, deviceType: this.deviceType }),
      clock ?? this.clock,
      this.log,
    );
    this.#clients.push(client);
    return client;
  }

  /** The same with words that hold no blanks. */
  opensslLine(line: string): string {
    return this.openssl(...line.split(' '));
  }

  /** A certificate authority `NAME.crt`, `NAME.key`. */
  authority(name: string): void {
    this.opensslLine(`req -x509 ${NEW_KEY} -keyout ${name}.key -out ${name}.crt -days 2 -subj /CN=${name}`);
  }

  /** `NAME.crt` and `NAME.key` of the authority. `dates`: not before and not after, `YYYYMMDDHHMMSSZ`. */
  certificate(
    name: string,
    authority: string,
    names = 'IP:127.0.0.1,DNS:localhost',
    dates?: readonly [string, string],
  ): void {
    const subject = `-subj /CN=${name} -addext subjectAltName=${names}`;
    this.opensslLine(`req ${NEW_KEY} -keyout ${name}.key -out ${name}.csr ${subject}`);
    const files = `-in ${name}.csr -out ${name}.crt`;
    if (!dates) {
      const signer = `-CA ${authority}.crt -CAkey ${authority}.key -CAcreateserial`;
      this.opensslLine(`x509 -req ${files} ${signer} -days 2 -copy_extensions copy`);
      return;
    }
    writeFileSync(this.at('ca.cnf'), AUTHORITY_CONFIGURATION);
    writeFileSync(this.at('index.txt'), '');
    writeFileSync(this.at('serial'), '1000\n');
    const signer = `-cert ${authority}.crt -keyfile ${authority}.key`;
    this.opensslLine(
      `ca -batch -config ca.cnf -notext ${files} ${signer} -startdate ${dates[0]} -enddate ${dates[1]}`,
    );
  }

  async dispose(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    this.clock.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The error a promise rejects with; fails when it does not, or with something that is not ours. */
export async function failureOf(promise: Promise<unknown>): Promise<UpdateError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof UpdateError) return error;
    throw error;
  }
  throw new Error('found success, expected a failure');
}

/** Everything a log or a person could come to see of an error. */
export function everythingOf(error: UpdateError): string {
  const texts: string[] = [];
  for (let one: unknown = error; one instanceof Error; one = one.cause) {
    texts.push(one.message, one.stack ?? '', JSON.stringify(one), String(one));
  }
  return `${texts.join('\n')}\n${JSON.stringify(error.details)}`;
}
