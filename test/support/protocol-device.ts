/** A device that is nothing but its key and the HTTP calls a Mender client makes (spec/server-api.md). */
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { answerOf, type Answer } from './dev-server.ts';

export type KeyType = 'rsa' | 'ec' | 'ed25519';

export interface KeyPair {
  readonly type: KeyType;
  readonly secret: KeyObject;
  readonly pem: string;
}

export function makeKeyPair(type: KeyType): KeyPair {
  const pair =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2048 })
      : type === 'ec'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : generateKeyPairSync('ed25519');
  const pem = pair.publicKey.export({ type: 'spki', format: 'pem' }) as string;
  return { type, secret: pair.privateKey, pem };
}

export interface CallOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

const DEPLOYMENTS = 'deployments/device/deployments';

export class ProtocolDevice {
  readonly url: string;
  readonly identity: Readonly<Record<string, unknown>>;
  readonly keys: KeyPair;
  readonly deviceType: string;
  artifactName: string;
  token = '';

  constructor(
    url: string,
    options: {
      readonly serial: string;
      readonly keys?: KeyPair;
      readonly deviceType?: string;
      readonly artifactName?: string;
    },
  ) {
    this.url = url;
    this.identity = { serial: options.serial };
    this.keys = options.keys ?? makeKeyPair('ed25519');
    this.deviceType = options.deviceType ?? 'test-device';
    this.artifactName = options.artifactName ?? 'original';
  }

  /** With the end of line the Go client signs too. */
  authBody(): string {
    return `${JSON.stringify({
      id_data: JSON.stringify(this.identity),
      pubkey: this.keys.pem,
      tenant_token: '',
    })}\n`;
  }
  signatureOf(body: string): string {
    const hash = this.keys.type === 'ed25519' ? null : 'sha256';
    return sign(hash, Buffer.from(body), this.keys.secret).toString('base64');
  }
  async authenticate(
    body = this.authBody(),
    headers: Readonly<Record<string, string>> = { 'X-MEN-Signature': this.signatureOf(body) },
  ): Promise<Answer> {
    const answer = await answerOf(
      await fetch(`${this.url}/api/devices/v1/authentication/auth_requests`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', ...headers },
        body,
      }),
    );
    if (answer.status === 200) this.token = answer.text;
    return answer;
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Answer> {
    const { body, headers } = options;
    return answerOf(
      await fetch(`${this.url}/api/devices/${path}`, {
        method,
        headers: {
          Authorization: `Bearer ${this.token}`,
          ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      }),
    );
  }

  get provides(): Readonly<Record<string, string>> {
    return { device_type: this.deviceType, artifact_name: this.artifactName };
  }
  inventory(attributes: unknown, method = 'PUT'): Promise<Answer> {
    return this.call(method, 'v1/inventory/device/attributes', { body: attributes });
  }
  next(more: Readonly<Record<string, unknown>> = { update_control_map: true }): Promise<Answer> {
    return this.call('POST', `v2/${DEPLOYMENTS}/next`, { body: { device_provides: this.provides, ...more } });
  }
  nextPost(): Promise<Answer> {
    return this.call('POST', `v1/${DEPLOYMENTS}/next`, { body: this.provides });
  }
  nextGet(): Promise<Answer> {
    return this.call('GET', `v1/${DEPLOYMENTS}/next?${new URLSearchParams(this.provides).toString()}`);
  }
  status(deploymentId: string, status: string, substate?: string): Promise<Answer> {
    return this.call('PUT', `v1/${DEPLOYMENTS}/${deploymentId}/status`, {
      body: { status, ...(substate === undefined ? {} : { substate }) },
    });
  }
  log(deploymentId: string, messages: unknown): Promise<Answer> {
    return this.call('PUT', `v1/${DEPLOYMENTS}/${deploymentId}/log`, { body: { messages } });
  }
  map(deploymentId: string): Promise<Answer> {
    return this.call('GET', `v2/${DEPLOYMENTS}/${deploymentId}/update_control_map`);
  }
}
