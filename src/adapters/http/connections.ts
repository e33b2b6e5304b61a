/** The connections to the server, directly or through a proxy; made anew when a certificate file has changed. */
import { TLSSocket, type SecureContext } from 'node:tls';
import { Agent, buildConnector, Pool, ProxyAgent, type Dispatcher } from 'undici';
import { UpdateError } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import { ExpiryWatch } from './expiry-watch.ts';
import { contradictoryProxyVariables, proxyFor, type Proxy, type ProxyEnvironment } from './proxy.ts';
import { Trust, type TlsMaterial, type TrustOptions } from './trust.ts';

export interface ConnectionLimits {
  readonly connectMs: number;
  /** From the end of the request (or its last accepted piece) to the end of the answer's header. */
  readonly headersMs: number;
  /** Longest silence inside the answer. */
  readonly idleMs: number;
}

export interface ConnectionOptions extends TrustOptions {
  readonly isKeepAliveDisabled: boolean;
  /** 0 = none set: a minute. Networks forget silent connections without telling, and the next request would hang. */
  readonly idleConnectionTimeoutSeconds: number;
  /** Default: that of the process, read anew for each request. */
  readonly proxyEnvironment?: ProxyEnvironment;
}

const DEFAULT_IDLE_SECONDS = 60;

interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly secureContext: SecureContext;
  /** Milliseconds. */
  readonly timeout: number;
}

interface Generation {
  readonly version: string;
  readonly tls: TlsMaterial;
  /** By proxy; '' = directly. */
  readonly dispatchers: Map<string, Dispatcher>;
}

export class Connections {
  readonly #options: ConnectionOptions;
  readonly #limits: ConnectionLimits;
  readonly #trust: Trust;
  readonly #expiry: ExpiryWatch;
  #generation: Generation | null = null;
  /** The last look at the files; one at a time, so that nobody closes what another has just made. Never rejects. */
  #looking: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ConnectionOptions, limits: ConnectionLimits, clock: Clock, log: Log) {
    this.#options = options;
    this.#limits = limits;
    this.#expiry = new ExpiryWatch(log, () => clock.now().wallMs);
    this.#trust = new Trust(options, this.#expiry, log);
    const doubtful = contradictoryProxyVariables(this.#environment);
    if (doubtful.length > 0) {
      log.warn('proxy variables are set twice and differ; the one in lower case counts', {
        variables: doubtful.join(', '),
      });
    }
  }

  get #environment(): ProxyEnvironment {
    return this.#options.proxyEnvironment ?? process.env;
  }

  /** To be used at once. Rejects with kind `config` when a certificate or the proxy's URL cannot be used. */
  async to(target: URL): Promise<Dispatcher> {
    const proxy = proxyFor(target, this.#environment);
    const look = this.#looking.then(() => this.#current());
    this.#looking = look.catch(() => undefined);
    const { tls, dispatchers } = await look;
    if (this.#isClosed) throw new UpdateError('cancelled', 'the connections to the server were closed');
    const key = proxy === null ? '' : `${proxy.url.href} ${proxy.authorization ?? ''}`;
    let dispatcher = dispatchers.get(key);
    if (!dispatcher) {
      dispatcher = proxy === null ? this.#direct(tls) : this.#through(proxy, tls);
      dispatchers.set(key, dispatcher);
    }
    return dispatcher;
  }

  /** Ends every connection; requests under way fail. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#looking;
    const all = [...(this.#generation?.dispatchers.values() ?? [])];
    this.#generation = null;
    await Promise.all(all.map((one) => one.destroy().catch(() => undefined)));
  }

  async #current(): Promise<Generation> {
    const version = await this.#trust.version();
    if (this.#generation?.version === version) return this.#generation;
    const tls = await this.#trust.load();
    // Requests under way are let finish.
    for (const one of this.#generation?.dispatchers.values() ?? []) void one.close().catch(() => undefined);
    this.#generation = { version, tls, dispatchers: new Map() };
    return this.#generation;
  }

  get #common(): Agent.Options {
    const idleMs = (this.#options.idleConnectionTimeoutSeconds || DEFAULT_IDLE_SECONDS) * 1000;
    return {
      pipelining: 1,
      keepAliveTimeout: idleMs,
      keepAliveMaxTimeout: idleMs,
      headersTimeout: this.#limits.headersMs,
      bodyTimeout: this.#limits.idleMs,
    };
  }

  #direct(tls: TlsMaterial): Dispatcher {
    const connect = buildConnector(tlsOptions(tls, tls.server, this.#limits.connectMs));
    return new Agent({
      ...this.#common,
      connect: (options, callback) =>
        connect(options, (error, socket) => {
          if (error) return callback(error, null);
          if (socket instanceof TLSSocket) {
            this.#expiry.note(options.host ?? options.hostname, socket.getPeerCertificate().valid_to);
          }
          return callback(null, socket);
        }),
    });
  }

  #through(proxy: Proxy, tls: TlsMaterial): Dispatcher {
    const { connectMs, headersMs, idleMs } = this.#limits;
    return new ProxyAgent({
      ...this.#common,
      uri: proxy.url.href,
      ...(proxy.authorization === null ? {} : { token: proxy.authorization }),
      // Plain http is asked of the proxy itself: many allow tunnels to port 443 only.
      proxyTunnel: false,
      requestTls: tlsOptions(tls, tls.server, connectMs),
      proxyTls: tlsOptions(tls, tls.proxy, connectMs),
      clientFactory: (origin, options) =>
        new Pool(origin, { ...options, headersTimeout: headersMs, bodyTimeout: idleMs }),
      factory: (origin, options: Pool.Options) => {
        const { connect } = options;
        if (typeof connect !== 'function') return new Pool(origin, options);
        return new Pool(origin, { ...options, connect: withoutEndlessRetries(connect) });
      },
    });
  }
}

/**
 * undici takes a failure of this code for one of a connection that was kept, and connects again at once, without end: a
 * proxy that closes the connection instead of opening a tunnel would be asked thousands of times a second.
 */
function withoutEndlessRetries(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) =>
    connect(options, (...[error, socket]) => {
      if (error === null) return callback(error, socket);
      const isEndless = 'code' in error && error.code === 'UND_ERR_SOCKET';
      return callback(isEndless ? lostConnection(error) : error, null);
    });
}

function lostConnection(cause: Error): Error {
  const error = new Error(`the proxy closed the connection: ${cause.message}`, { cause });
  return Object.assign(error, { code: 'ECONNRESET' });
}

function tlsOptions(tls: TlsMaterial, secureContext: SecureContext, timeout: number): TlsOptions {
  return { rejectUnauthorized: tls.rejectUnauthorized, secureContext, timeout };
}
