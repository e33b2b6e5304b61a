/** The body of an authentication request and its signature. Source: spec/server-api.md sections 2.1 and 2.2. */
import type { DeviceKey } from './keys.ts';

export interface AuthRequestInput {
  /** JSON text of the identity object. */
  readonly identity: string;
  readonly key: DeviceKey;
  /** '' = none; blanks around it do not count. */
  readonly tenantToken: string;
  readonly tier: string;
}

export interface AuthRequestParts {
  /** Signed and sent byte for byte. */
  readonly body: Buffer;
  /** Value of `X-MEN-Signature`. */
  readonly signature: string;
}

/** Members and their order as the C++ client sends them. */
export function authRequestBody({ identity, key, tenantToken, tier }: AuthRequestInput): AuthRequestParts {
  const tenant = tenantToken.trim();
  const body = Buffer.from(
    JSON.stringify({
      id_data: identity,
      pubkey: key.publicPem,
      ...(tenant === '' ? {} : { tenant_token: tenant }),
      tier,
    }),
  );
  return { body, signature: key.sign(body) };
}
