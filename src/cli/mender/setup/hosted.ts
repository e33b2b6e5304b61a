/** Logs in at hosted.mender.io to learn the token of the tenant. Neither password nor tokens reach a log or a message. */
import { HttpClient } from '../../../adapters/server/http.ts';
import type { Clock } from '../../../ports/clock.ts';
import type { Log } from '../../../ports/log.ts';
import type { ConnectionOptions } from '../../../adapters/http/connections.ts';
import type { PlausibleDates } from '../../../adapters/http/link-error.ts';
import { UpdateError } from '../../../core/errors.ts';
import { VERSION } from '../../../version.ts';

const LOGIN_PATH = '/api/management/v1/useradm/auth/login';
const TENANT_PATH = '/api/management/v1/tenantadm/user/tenant';

/** Rejects with kind `server` when the server cannot be reached, or answers something else. */
export type HostedLogin = (
  username: string,
  password: string,
) => Promise<{ readonly kind: 'token'; readonly token: string } | { readonly kind: 'refused' }>;

export function createHostedLogin(
  url: string,
  options: ConnectionOptions & { readonly plausibleDates: PlausibleDates },
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): HostedLogin {
  return async (username, password) => {
    const http = new HttpClient({ ...options, userAgent: `Holdpoint/${VERSION}` }, clock, log);
    try {
      const basic = Buffer.from(`${username}:${password}`).toString('base64');
      const login = await http.send(
        {
          doing: 'logging in',
          method: 'POST',
          url: new URL(LOGIN_PATH, url),
          headers: {},
          authorization: `Basic ${basic}`,
          body: Buffer.alloc(0),
        },
        signal,
      );
      if (login.status === 401) return { kind: 'refused' };
      const userToken = login.text.trim();
      if (login.status !== 200 || !/^[\x21-\x7e]{1,16384}$/.test(userToken))
        throw unexpected('logging in', login);
      const tenant = await http.send(
        {
          doing: 'asking for the token of the tenant',
          method: 'GET',
          url: new URL(TENANT_PATH, url),
          headers: {},
          authorization: `Bearer ${userToken}`,
          body: null,
        },
        signal,
      );
      const token = tenant.status === 200 ? tenantTokenIn(tenant.text) : null;
      if (token === null) throw unexpected('asking for the token of the tenant', tenant);
      return { kind: 'token', token };
    } finally {
      await http.close();
    }
  };
}

function tenantTokenIn(text: string): string | null {
  try {
    const { tenant_token: token } = JSON.parse(text) as { readonly tenant_token?: unknown };
    return typeof token === 'string' && token !== '' ? token : null;
  } catch {
    return null;
  }
}

/** The text is not shown: it may hold a token. */
function unexpected(
  doing: string,
  { status, host }: { readonly status: number; readonly host: string },
): UpdateError {
  const found = status === 200 ? 'an answer without a token' : `status ${status}`;
  return new UpdateError('server', `${doing} at ${host}: found ${found}, expected a token`);
}
