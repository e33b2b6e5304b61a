/** The object that gives out the token and the forwarder behind it, on a bus of a test, with attempts a test decides. */
import { resolve } from 'node:path';
import { BehaviorSubject } from 'rxjs';
import { Bus, type NameReport } from '../../src/adapters/dbus/connection.ts';
import { Dispatcher } from '../../src/adapters/dbus/dispatcher.ts';
import { HOLDPOINT_BUS_NAME, MENDER_AUTH_BUS_NAME } from '../../src/adapters/dbus/interface-xml.ts';
import { MenderAuthManager } from '../../src/adapters/dbus/mender-auth-object.ts';
import { RateLimiter } from '../../src/adapters/dbus/rate-limit.ts';
import { Forwarder } from '../../src/adapters/forwarder/forwarder.ts';
import { BearerToken } from '../../src/adapters/server/bearer-token.ts';
import { SystemClock } from '../../src/adapters/system/clock.ts';
import { UpdateError } from '../../src/core/errors.ts';
import type { Authentication, AuthenticationState, Credentials } from '../../src/ports/authentication.ts';
import { eventually } from './eventually.ts';
import { RecordingLog } from './recording-log.ts';

export const MENDER_AUTH_POLICY_PATH = resolve('dbus-policy/io.mender.AuthenticationManager.conf');

export interface AuthServiceOptions {
  readonly isServerConfigured?: boolean;
}

export class AuthService implements Authentication {
  readonly log = new RecordingLog();
  readonly names: NameReport[] = [];
  readonly #states = new BehaviorSubject<AuthenticationState>({
    status: 'none',
    credentials: null,
    failure: '',
  });
  readonly state$ = this.#states.asObservable();
  /** Attempts asked for that have not been decided. */
  readonly asked: {
    readonly resolve: (credentials: Credentials) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  readonly bus: Bus;
  readonly forwarder: Forwarder;
  readonly manager: MenderAuthManager;

  constructor(address: string, { isServerConfigured = true }: AuthServiceOptions = {}) {
    this.bus = new Bus({
      address,
      names: [{ name: HOLDPOINT_BUS_NAME }, { name: MENDER_AUTH_BUS_NAME }],
      log: this.log,
    });
    this.forwarder = new Forwarder(
      {
        serverCertificatePath: null,
        isTlsVerificationSkipped: false,
        clientCertificate: null,
        isKeepAliveDisabled: false,
        idleConnectionTimeoutSeconds: 0,
        proxyEnvironment: {},
      },
      new SystemClock(),
      this.log,
    );
    this.manager = new MenderAuthManager(this.bus, {
      authentication: this,
      forwarder: this.forwarder,
      isServerConfigured,
      log: this.log,
    });
    const rateLimiter = new RateLimiter({ burst: 1e6, perSecond: 1, nowMs: () => performance.now() });
    const dispatcher = new Dispatcher({ objects: [this.manager.object], log: this.log, rateLimiter });
    this.bus.serve(dispatcher.handle);
    this.bus.name$.subscribe((report) => this.names.push(report));
    this.bus.start();
  }

  async ready(): Promise<this> {
    await eventually('the service is connected', () => this.bus.state === 'connected', 30_000);
    return this;
  }

  cached(): Credentials | null {
    return this.#states.value.credentials;
  }

  authenticate(): Promise<Credentials> {
    return new Promise((resolve, reject) => this.asked.push({ resolve, reject }));
  }

  /** An attempt ends, for all who have asked. */
  succeed(token: string, serverUrl = 'http://127.0.0.1:9'): void {
    const credentials = { token: new BearerToken(token), serverUrl };
    this.#states.next({ status: 'authorized', credentials, failure: '' });
    for (const { resolve } of this.asked.splice(0)) resolve(credentials);
  }

  /** `isTokenKept`: a network failure says nothing about the token. */
  fail(isTokenKept: boolean): void {
    const credentials = isTokenKept ? this.cached() : null;
    this.#states.next({ status: 'unreachable', credentials, failure: 'it failed' });
    this.failUntold();
  }

  /** One that ends before it has an outcome. */
  failUntold(): void {
    const error = new UpdateError('cancelled', 'it was stopped');
    for (const { reject } of this.asked.splice(0)) reject(error);
  }

  async close(): Promise<void> {
    this.manager.close();
    this.bus.close();
    await this.forwarder.close();
  }
}
