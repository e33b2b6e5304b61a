import { PassThrough } from 'node:stream';
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { UpdateError } from '../../../src/core/errors.ts';
import { createServiceLog, type LogLevel } from '../../../src/adapters/log/winston.ts';
import type { Log } from '../../../src/ports/log.ts';

function lines(use: (log: Log) => void, level: LogLevel = 'debug', isForJournal = true): string[] {
  const stream = new PassThrough();
  use(createServiceLog({ level, isForJournal, stream }));
  const text = String(stream.read() ?? '');
  if (text !== '') expect(text.endsWith('\n')).toBe(true);
  return text.split('\n').slice(0, -1);
}

describe('the service log', () => {
  it('gives journald the priority of every level and no time', () => {
    expect(
      lines((log) => {
        log.error('update failed', { deploymentId: 'd1' });
        log.warn('retried', { attempts: 3 });
        log.info('state changed', { from: 'Idle', isGood: true });
        log.debug('detail', { list: [1, 'a'], nothing: undefined, none: null });
      }),
    ).toEqual([
      '<3>update failed deploymentId=d1',
      '<4>retried attempts=3',
      '<6>state changed from=Idle isGood=true',
      '<7>detail list=[1,"a"] none=null',
    ]);
  });

  it('gives people the time and the level', () => {
    const [line] = lines((log) => log.info('started', { component: 'bus' }), 'info', false);
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info  started component=bus$/);
  });

  it('leaves out what is below its level', () => {
    expect(
      lines((log) => {
        log.debug('a');
        log.info('b');
        log.warn('c');
      }, 'warn'),
    ).toEqual(['<4>c']);
  });

  it('gives a child its component on every line', () => {
    expect(lines((log) => log.child({ component: 'modules' }).warn('x', { a: 1 }))).toEqual([
      '<4>x component=modules a=1',
    ]);
  });

  it('writes one line per record whatever the text holds', () => {
    const [line, more] = lines((log) =>
      log.info('two\nlines\u001b[31m', { v: 'a\nb "c" \u0007\u2028', k: 'with blank', e: '', 'n\nk': 'x' }),
    );
    expect(more).toBeUndefined();
    expect(line).toBe(
      '<6>two\\nlines\\u001b[31m v="a\\nb \\"c\\" \\u0007\\u2028" k="with blank" e="" n\\nk=x',
    );
  });

  it('spells an error out, with its causes and details', () => {
    const error = new UpdateError('module', 'it failed', {
      cause: new Error('outer', { cause: new Error('inner') }),
      details: { 'exit-status': 3 },
    });
    expect(lines((log) => log.error('update failed', { err: error }))).toEqual([
      '<3>update failed errorKind=module errorMessage="it failed" details={"exit-status":3} cause="outer: inner"',
    ]);
  });

  it('gives the stack of a defect, in one line, and none of an expected failure', () => {
    const [line] = lines((log) => log.error('x', { err: new TypeError('oops') }));
    expect(line).toContain('errorKind=TypeError errorMessage=oops errorStack="TypeError: oops\\n    at ');
    const [other] = lines((log) => log.error('x', { err: new UpdateError('server', 'no') }));
    expect(other).toBe('<3>x errorKind=server errorMessage=no');
    expect(lines((log) => log.error('x', { err: 'text' }))).toEqual([
      '<3>x errorKind=unknown errorMessage=text',
    ]);
  });

  it('is not confused by fields named like its own', () => {
    expect(lines((log) => log.info('sentence', { message: 'm', level: 'l', timestamp: 't' }))).toEqual([
      '<6>sentence message=m level=l timestamp=t',
    ]);
  });

  it('withholds secrets and what makes a URL a signed one', () => {
    const text = lines((log) =>
      log.info('x', {
        authToken: 'T0P',
        nested: { password: 'T0P' },
        url: 'https://user:T0P@host/a.mender?X-Amz-Signature=T0P&b=1',
        err: new Error('GET http://h/p?sig=T0P failed'),
      }),
    ).join();
    expect(text).not.toContain('T0P');
    expect(text).toContain('https://host/a.mender?[withheld]');
  });

  it('survives values that cannot be written, and cuts endless ones', () => {
    const loop: Record<string, unknown> = {};
    loop['self'] = loop;
    const [line] = lines((log) => log.info('x', { loop, big: 12n, long: 'y'.repeat(1_000_000) }));
    expect(line!.slice(0, 60)).toContain('loop=[not representable] big=12 ');
    expect(line!.length).toBeLessThan(33_000);
    expect(line!.slice(-10)).toContain('[cut]');
  });

  it('goes to standard error, with priorities only when systemd says so', () => {
    const script = `import('${new URL('../../../src/adapters/log/winston.ts', import.meta.url).pathname}').then((m) => m.createServiceLog({ level: 'info' }).info('hello'))`;
    const run = (env: NodeJS.ProcessEnv) =>
      spawnSync(process.execPath, ['--import', 'tsx', '-e', script], { env, encoding: 'utf8' });
    const { JOURNAL_STREAM: _omitted, ...env } = process.env;
    expect(run({ ...env, JOURNAL_STREAM: '8:1' }).stderr).toBe('<6>hello\n');
    expect(run(env).stderr).toMatch(/^\d{4}.* info {2}hello\n$/);
  });
});
