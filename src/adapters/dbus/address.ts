import { UpdateError } from '../../core/errors.ts';

/**
 * Bus addresses. Source: D-Bus specification, "Server Addresses". Only unix sockets: the service is root, and
 * only there does the kernel vouch for who the peer is.
 */
export const STANDARD_SYSTEM_BUS_ADDRESS = 'unix:path=/var/run/dbus/system_bus_socket';

/** `DBUS_SYSTEM_BUS_ADDRESS` if set and not empty, else the standard one. */
export function systemBusAddress(environment: Readonly<Record<string, string | undefined>>): string {
  const given = environment['DBUS_SYSTEM_BUS_ADDRESS'];
  return given === undefined || given === '' ? STANDARD_SYSTEM_BUS_ADDRESS : given;
}

/** Socket paths to try in this order (a leading NUL = abstract). Throws kind `config` if there is none. */
export function socketPaths(address: string): readonly string[] {
  const paths: string[] = [];
  for (const entry of address.split(';')) {
    if (!entry.startsWith('unix:')) continue;
    for (const pair of entry.slice('unix:'.length).split(',')) {
      const [key, value] = splitOnce(pair, '=');
      if (value === '') continue;
      if (key === 'path') paths.push(unescapeValue(value, address));
      if (key === 'abstract') paths.push(`\0${unescapeValue(value, address)}`);
    }
  }
  if (paths.length === 0) {
    throw new UpdateError(
      'config',
      `bus address "${address}": found no unix:path= or unix:abstract=, expected at least one`,
    );
  }
  return paths;
}

function unescapeValue(value: string, address: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    throw new UpdateError('config', `bus address "${address}": found a malformed % escape`);
  }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
