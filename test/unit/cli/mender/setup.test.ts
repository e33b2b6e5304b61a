import { describe, expect, it } from 'vitest';
import type { GivenOptions } from '../../../../src/cli/mender/command-line.ts';
import { askEverything, type Answers } from '../../../../src/cli/mender/setup/questions.ts';
import { mergeAnswers } from '../../../../src/cli/mender/setup/write.ts';

/** What the real client cannot be asked without a network; the rest is compared with it in test/integration/mender-cli. */
const ANSWERS: Answers = {
  deviceType: 'kiosk',
  serverUrl: 'https://one.example',
  demoServerIp: null,
  serverCertificate: '',
  tenantToken: '',
  intervals: { update: 60, inventory: 600, retry: 30 },
  isDemoPolling: false,
};
const AROUND = { deviceTypeFile: '/d/device_type', hasFallbackServer: false, demoCertificate: '/demo.crt' };

describe('what is written', () => {
  it('keeps what was not asked, unknown keys too, and replaces keys in any letter case', () => {
    const before = {
      serverurl: 'https://old',
      TENANTTOKEN: 'old',
      RootfsPartA: '/dev/a',
      Custom: { a: [1] },
    };
    expect(mergeAnswers(before, ANSWERS, AROUND)).toEqual({
      RootfsPartA: '/dev/a',
      Custom: { a: [1] },
      DeviceTypeFile: '/d/device_type',
      UpdatePollIntervalSeconds: 60,
      InventoryPollIntervalSeconds: 600,
      RetryPollIntervalSeconds: 30,
      Servers: [{ ServerURL: 'https://one.example' }],
    });
  });

  it('takes away the server of the fallback file, which would contradict the one that is set', () => {
    expect(mergeAnswers({}, ANSWERS, { ...AROUND, hasFallbackServer: true })).toMatchObject({
      ServerURL: '',
    });
  });
});

function ask(options: Readonly<Record<string, string | boolean>>, answers: readonly string[]) {
  const lines = [...answers];
  const logins: string[] = [];
  const next = (): Promise<string> => {
    const line = lines.shift();
    return line === undefined ? Promise.reject(new Error('no more answers')) : Promise.resolve(line);
  };
  const given: GivenOptions = {
    text: (name) => (typeof options[name] === 'string' ? (options[name] as string) : undefined),
    all: () => [],
    flag: (name) => (typeof options[name] === 'boolean' ? (options[name] as boolean) : undefined),
  };
  const result = askEverything({
    given,
    asker: { ask: next, askSecretly: next, close: () => {} },
    say: () => {},
    login: (username, password) => {
      logins.push(`${username}/${password}`);
      return Promise.resolve(password === 'right' ? { kind: 'token', token: 'tt-9' } : { kind: 'refused' });
    },
    defaultDeviceType: 'host-1',
    trustedCerts: undefined,
  });
  return { result, logins, left: lines };
}

describe('the login at hosted.mender.io', () => {
  it('asks for user and password until they are right, and for no empty ones', async () => {
    const { result, logins, left } = ask(
      { 'device-type': 'kiosk', 'hosted-mender': true, 'demo-polling': true },
      ['nobody', 'a@b.example', '', 'wrong', 'a@b.example', 'right'],
    );
    expect(await result).toMatchObject({ tenantToken: 'tt-9', serverUrl: 'https://hosted.mender.io' });
    expect(logins).toEqual(['a@b.example/wrong', 'a@b.example/right']);
    expect(left).toEqual([]);
  });

  it('takes them from options', async () => {
    const options = { username: 'a@b.example', password: 'right', 'hosted-mender': true, demo: true };
    expect(await ask(options, ['']).result).toMatchObject({ deviceType: 'host-1', tenantToken: 'tt-9' });
  });
});
