import { describe, expect, it } from 'vitest';
import { contradictoryProxyVariables, proxyFor } from '../../../../src/adapters/http/proxy.ts';

const isDirect = (url: string, noProxy: string): boolean =>
  proxyFor(new URL(url), { http_proxy: 'http://p:1', https_proxy: 'http://p:1', no_proxy: noProxy }) === null;

describe('the choice of a proxy', () => {
  it('goes by the scheme, the lower case before the upper', () => {
    const environment = {
      http_proxy: 'http://low:1',
      HTTP_PROXY: 'http://up:1',
      HTTPS_PROXY: 'https://up:2',
    };
    expect(proxyFor(new URL('http://a.example'), environment)?.url.href).toBe('http://low:1/');
    expect(proxyFor(new URL('https://a.example'), environment)?.url.href).toBe('https://up:2/');
    expect(proxyFor(new URL('https://a.example'), { http_proxy: 'http://low:1' })).toBeNull();
    expect(proxyFor(new URL('http://a.example'), { http_proxy: '', HTTP_PROXY: 'up:3' })?.url.href).toBe(
      'http://up:3/',
    );
    expect(contradictoryProxyVariables(environment)).toEqual(['http_proxy']);
    expect(contradictoryProxyVariables({ no_proxy: 'a', NO_PROXY: 'a' })).toEqual([]);
  });

  it('takes user and password out of the URL', () => {
    const of = (text: string) => proxyFor(new URL('http://a.example'), { http_proxy: text });
    expect(of('http://us%40er:pa@ss@p:1')).toEqual({
      url: new URL('http://p:1'),
      authorization: `Basic ${Buffer.from('us@er:pa@ss').toString('base64')}`,
    });
    expect(of('u@p:1')?.authorization).toBe(`Basic ${Buffer.from('u:').toString('base64')}`);
    expect(of('http://u:100%@p:1')?.authorization).toBe(`Basic ${Buffer.from('u:100%').toString('base64')}`);
    expect(of('http://p:1/path')?.url.href).toBe('http://p:1/');
    for (const bad of ['ftp://u:geheim@p:1', 'http://', 'http://u:geheim@p:99999999', 'socks5://p:1']) {
      expect(() => of(bad)).toThrow(/http_proxy: found no URL of a proxy/);
      expect(() => of(bad)).not.toThrow(/geheim/);
    }
  });

  it('never applies to the device itself', () => {
    for (const host of ['localhost', 'LOCALHOST', 'localhost.', '127.0.0.1', '127.1.2.3', '[::1]']) {
      expect(isDirect(`http://${host}:8080/x`, '')).toBe(true);
    }
    expect(isDirect('http://128.0.0.1/', '')).toBe(false);
    expect(isDirect('http://localhost.example/', '')).toBe(false);
  });

  const url = 'https://api.mender.example/x';
  const cases: readonly (readonly [noProxy: string, url: string, isDirect: boolean])[] = [
    ['', url, false],
    ['api.mender.example', url, true],
    ['API.Mender.Example', url, true],
    ['mender.example', url, true],
    ['ender.example', url, false],
    ['.mender.example', url, true],
    ['*.mender.example', url, true],
    ['.api.mender.example', url, false],
    ['*', url, true],
    ['other,mender.example', url, true],
    ['other mender.example', url, true],
    [' other ,\t mender.example ', url, true],
    ['mender.example:443', url, true],
    ['mender.example:8443', url, false],
    ['mender.example:8443', 'https://mender.example:8443/', true],
    ['mender.example:80', 'http://mender.example/', true],
    ['192.0.2.7', 'http://192.0.2.7/', true],
    ['192.0.2.8', 'http://192.0.2.7/', false],
    ['192.0.2.0/24', 'http://192.0.2.7/', true],
    ['192.0.2.0/30', 'http://192.0.2.7/', false],
    ['192.0.2.0/33', 'http://192.0.2.7/', false],
    ['192.0.2.0/x', 'http://192.0.2.7/', false],
    ['0.0.0.0/0', 'http://192.0.2.7/', true],
    ['192.0.2.7:81', 'http://192.0.2.7/', false],
    ['0.2.7', 'http://192.0.2.7/', false],
    ['2001:db8::1', 'http://[2001:db8:0::1]/', true],
    ['[2001:db8::1]:80', 'http://[2001:db8::1]/', true],
    ['[2001:db8::1]:81', 'http://[2001:db8::1]/', false],
    ['2001:db8::/32', 'http://[2001:db8:5::1]/', true],
    ['2001:db8::/32', 'http://192.0.2.7/', false],
  ];
  for (const [noProxy, target, expected] of cases) {
    it(`with no_proxy "${noProxy}" is ${expected ? 'none' : 'the proxy'} for ${target}`, () => {
      expect(isDirect(target, noProxy)).toBe(expected);
    });
  }
});
