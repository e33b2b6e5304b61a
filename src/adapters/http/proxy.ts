/**
 * Which proxy a request goes through, from the environment. Source: spec/server-api.md section 11.
 *
 * - `http_proxy` counts for http, `https_proxy` for https, in either letter case; the lower one wins.
 * - `no_proxy` is separated by commas or blanks. An entry is `*`, a host name (it and everything below it), `.name` or
 *   `*.name` (only what lies below it), an IP address, or a range of addresses `192.0.2.0/24`; with `:port` it counts
 *   for that port only.
 * - The device itself (`localhost`, loopback addresses) is never asked for through a proxy.
 */
import { BlockList, isIP } from 'node:net';
import { UpdateError } from '../../core/errors.ts';

export interface Proxy {
  /** Without user and password. */
  readonly url: URL;
  /** Value of `Proxy-Authorization`; null = none. */
  readonly authorization: string | null;
}

export type ProxyEnvironment = Readonly<Record<string, string | undefined>>;

/** null = directly. Throws (kind `config`) when the proxy's own URL cannot be understood. */
export function proxyFor(target: URL, environment: ProxyEnvironment): Proxy | null {
  const name = target.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const text = valueOf(environment, name).trim();
  if (text === '' || isLoopback(hostOf(target))) return null;
  if (isExcluded(target, valueOf(environment, 'no_proxy'))) return null;
  return parseProxy(text, name);
}

/** Names of variables that are set in both letter cases to different values: only one can be meant. */
export function contradictoryProxyVariables(environment: ProxyEnvironment): readonly string[] {
  return ['http_proxy', 'https_proxy', 'no_proxy'].filter((name) => {
    const [lower, upper] = [environment[name], environment[name.toUpperCase()]];
    return lower && upper && lower !== upper;
  });
}

function valueOf(environment: ProxyEnvironment, name: string): string {
  return environment[name] || environment[name.toUpperCase()] || '';
}

function parseProxy(text: string, name: string): Proxy {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  let url: URL | null = null;
  try {
    url = new URL(withScheme);
  } catch {
    // The error of the parser repeats the text, which may hold a password.
  }
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.hostname === '') {
    throw new UpdateError(
      'config',
      `${name}: found no URL of a proxy, expected http://[USER:PASSWORD@]HOST[:PORT]`,
      {
        details: { key: name, reason: 'proxy' },
      },
    );
  }
  const user = decoded(url.username);
  const password = decoded(url.password);
  const authorization =
    user === '' && password === '' ? null : `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  return { url: new URL(url.origin), authorization };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A password with a bare percent sign.
    return text;
  }
}

/** Lower case, without the brackets of an IPv6 address and a final dot. */
function hostOf(url: URL): string {
  return url.hostname
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
}

function portOf(url: URL): string {
  return url.port || (url.protocol === 'https:' ? '443' : '80');
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || (isIP(host) === 4 && host.startsWith('127.')) || host === '::1';
}

function isExcluded(target: URL, list: string): boolean {
  const host = hostOf(target);
  const port = portOf(target);
  return list.split(/[\s,]+/).some((entry) => entry !== '' && covers(entry.toLowerCase(), host, port));
}

function covers(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const { name, entryPort } = splitPort(entry);
  if (entryPort !== '' && entryPort !== port) return false;
  if (isIP(host) !== 0) return coversAddress(name, host);
  const suffix = name.replace(/^\*/, '');
  if (suffix.startsWith('.')) return host.endsWith(suffix) && host.length > suffix.length;
  return suffix !== '' && (host === suffix || host.endsWith(`.${suffix}`));
}

function splitPort(entry: string): { readonly name: string; readonly entryPort: string } {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(entry);
  if (bracketed) return { name: bracketed[1] ?? '', entryPort: bracketed[2] ?? '' };
  // An IPv6 address without brackets has several colons and no port.
  const named = /^([^:]+):(\d+)$/.exec(entry);
  return named ? { name: named[1] ?? '', entryPort: named[2] ?? '' } : { name: entry, entryPort: '' };
}

function coversAddress(name: string, address: string): boolean {
  const [network = '', bits] = name.split('/', 2);
  const family = isIP(network);
  if (family === 0 || family !== isIP(address)) return false;
  const type = family === 6 ? 'ipv6' : 'ipv4';
  const range = new BlockList();
  if (bits === undefined) {
    range.addAddress(network, type);
  } else {
    const prefix = /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
    if (prefix < 0 || prefix > (family === 6 ? 128 : 32)) return false;
    range.addSubnet(network, prefix, type);
  }
  return range.check(address, type);
}
