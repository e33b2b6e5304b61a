/** That the comparison sees what it is there to see: traces of the real clients beside themselves, changed in one place. */
import { describe, expect, it } from 'vitest';
import { compareTraces, judge, mistakesOf, type Rule } from './compare.ts';
import { readTrace, type HttpLine, type Line, type Trace } from './trace.ts';

const NAME = 'mender-cpp-5.1-success';
const success = readTrace(NAME);
const paused = readTrace('mender-go-3.4-pause-continue');
const changed = (trace: Trace, change: (lines: readonly Line[]) => readonly Line[]): Trace => ({
  ...trace,
  lines: change(trace.lines),
});
const isCall = (line: Line, what: string): boolean => 'what' in line && line.what === what;
const asHttp = (line: Line, change: (line: HttpLine) => HttpLine): Line =>
  line.src === 'http' ? change(line) : line;
const rule = (change: Partial<Rule>): Rule => ({
  scenarios: [NAME],
  field: 'flow: after script ArtifactInstall_Leave_00',
  expected: ['module NeedsArtifactReboot'],
  found: [],
  reason: 'a reason that is long enough',
  ...change,
});

describe('the comparison', () => {
  it('finds no difference between a trace and itself', () => {
    expect(compareTraces(success, success, ['flow', 'gates', 'bus'])).toEqual([]);
    expect(compareTraces(paused, paused, ['flow', 'gates', 'bus'])).toEqual([]);
  });

  it('names a call that is missing, in words, and takes exactly its rule for it', () => {
    const ours = changed(success, (lines) => lines.filter((line) => !isCall(line, 'NeedsArtifactReboot')));
    const differences = compareTraces(success, ours, ['flow']);
    expect(judge(NAME, differences, [])).toEqual({
      unexpected: [
        `${NAME}: flow: after script ArtifactInstall_Leave_00: ` +
          'the real client does module NeedsArtifactReboot, ours does nothing',
      ],
      unused: [],
    });
    expect(judge(NAME, differences, [rule({})])).toEqual({ unexpected: [], unused: [] });
    for (const other of [
      rule({ expected: [] }),
      rule({ field: 'flow: after script ArtifactInstall_Enter_00' }),
      rule({ found: ['module Cleanup'] }),
    ]) {
      const { unexpected, unused } = judge(NAME, differences, [other]);
      expect([unexpected.length, unused.length]).toEqual([1, 1]);
    }
  });

  it('names a call too many, and two that have changed places', () => {
    const twice = changed(success, (lines) =>
      lines.flatMap((line) => (isCall(line, 'ArtifactCommit') ? [line, line] : [line])),
    );
    expect(judge(NAME, compareTraces(success, twice, ['flow']), []).unexpected).toEqual([
      `${NAME}: flow: after module ArtifactCommit: the real client does nothing, ours does module ArtifactCommit`,
    ]);
    const enter = success.lines.find((line) => isCall(line, 'ArtifactCommit_Enter_00'))!;
    const swapped = changed(success, (lines) =>
      lines.flatMap((line) => {
        if (line === enter) return [];
        return isCall(line, 'ArtifactCommit') ? [line, enter] : [line];
      }),
    );
    expect(compareTraces(success, swapped, ['flow'])).toHaveLength(2);
  });

  it('names a field of a body, a status and a header that differ', () => {
    const ours = changed(success, (lines) =>
      lines.map((line) =>
        asHttp(line, (http) => {
          if (!http.path.endsWith('/status')) return http;
          return {
            ...http,
            status: 500,
            body: { ...(http.body as object), extra: 1 },
            req: { ...http.req, accept: 'x' },
          };
        }),
      ),
    );
    const fields = compareTraces(success, ours, ['flow']).map(({ field }) => field);
    expect(fields).toContain('flow: PUT v1/<id>/status success: body.extra');
    expect(fields).toContain('flow: PUT v1/<id>/status success: status');
    expect(fields).toContain('flow: PUT v1/<id>/status success: header accept');
  });

  it('names a gate that is passed too early', () => {
    const pause = paused.lines.findIndex(
      (line) => line.src === 'http' && JSON.stringify(line.body ?? '').includes('pause_'),
    );
    const enter = paused.lines.find((line) => isCall(line, 'ArtifactInstall_Enter_00'))!;
    const ours = changed(paused, (lines) => [
      ...lines.slice(0, pause + 1),
      enter,
      ...lines.slice(pause + 1).filter((line) => line !== enter),
    ]);
    const words = judge(paused.name, compareTraces(paused, ours, ['gates']), []).unexpected;
    expect(words.join('\n')).toContain(
      'pause_before_installing: the real client does call io.mender.Update1.SetUpdateControlMap',
    );
  });

  it('names an answer on the bus that differs', () => {
    const ours = changed(paused, (lines) =>
      lines.map((line) => (line.src === 'driver' ? { ...line, reply: { type: 'i', data: [29] } } : line)),
    );
    expect(compareTraces(paused, ours, ['bus']).map(({ found }) => found)).toEqual([
      '{"type":"i","data":[29]}',
      '{"type":"i","data":[29]}',
    ]);
  });

  it('says so when a rule is not needed any more', () => {
    expect(judge(NAME, [], [rule({})]).unused).toHaveLength(1);
    expect(judge('another', [], [rule({})]).unused).toEqual([]);
  });

  it.each([
    ['a wildcard for scenarios', rule({ scenarios: ['*'] }), /wildcard/],
    ['a wildcard for fields', rule({ field: 'flow: PUT *' }), /wildcard/],
    ['a scenario that is not there', rule({ scenarios: ['mender-cpp-5.1-sucess'] }), /not compared/],
    ['no scenario', rule({ scenarios: [] }), /no scenario/],
    ['no field', rule({ field: ' ' }), /no field/],
    ['no reason', rule({ reason: 'why not' }), /no reason/],
    ['nothing that is allowed', { ...rule({}), found: undefined } as unknown as Rule, /does not say what/],
  ])('refuses a rule with %s', (_, bad, expected) => {
    expect(mistakesOf([bad], [NAME]).join('\n')).toMatch(expected);
  });

  it('refuses the same rule twice, and takes a good one', () => {
    expect(mistakesOf([rule({}), rule({})], [NAME]).join('\n')).toMatch(/there twice/);
    expect(mistakesOf([rule({})], [NAME])).toEqual([]);
  });
});
