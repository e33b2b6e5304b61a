/** The message catalogues of the frontends: every code that we give out has its words, in every language. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FAILURE_NAMES } from '../../../src/core/errors.ts';
import { HOLD_POINTS } from '../../../src/core/hold-point.ts';
import { REFUSAL_NAMES } from '../../../src/core/refusal.ts';
import { ACTIVITIES, RESULTS } from '../../../src/core/state.ts';

const FOLDER = 'examples/catalogue';
const xml = readFileSync('src/adapters/dbus/io.holdpoint.Update1.xml', 'utf8');

function messagesOf(file: string): Readonly<Record<string, string>> {
  return (JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as { messages: Record<string, string> })
    .messages;
}

function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

/** Kinds as the manual of the property lists them. */
function blockerKinds(): readonly string[] {
  const [, list = ''] = /The kind is an open set: (.*?)\. The owner is/s.exec(xml) ?? [];
  const kinds = list
    .replaceAll(/\([^)]*\)/g, '')
    .replace('and the conditions', ',')
    .split(/,|\band\b/)
    .map((word) => word.trim())
    .filter((word) => word !== '');
  if (kinds.length < 14) throw new Error(`the XML lists only ${kinds.join(', ')}`);
  return kinds;
}

/** Codes as the sources give them out. */
function reasonCodes(): readonly string[] {
  const sources = [...filesIn('src/core'), ...filesIn('src/adapters/conditions')].map((path) =>
    readFileSync(path, 'utf8'),
  );
  const direct = /(?:reasonCode: |finding\([^,()]+, |\bunmet\(|NOT_MET = )'([a-z-]+)'/g;
  const chosen = /\? '([a-z]+-[a-z]+)' : '([a-z]+-[a-z]+)';|'(held|hold-overdue|owner-lost|owner-expected)'/g;
  return sources.flatMap((text) => [
    ...[...text.matchAll(direct)].map(([, code]) => code as string),
    ...[...text.matchAll(chosen)]
      .flatMap((match) => match.slice(1))
      .filter(
        (code): code is string => code !== undefined && /^(?:held|hold-|owner-|unsafe-|script-)/.test(code),
      ),
  ]);
}

const languages = readdirSync(FOLDER);
const english = messagesOf('en.json');

describe('message catalogues', () => {
  it('are there in English and German', () => {
    expect(languages).toEqual(expect.arrayContaining(['en.json', 'de.json']));
  });

  it.each(languages)('%s has words for every code', (file) => {
    const messages = messagesOf(file);
    const families = {
      failure: FAILURE_NAMES,
      refusal: REFUSAL_NAMES,
      activity: ACTIVITIES,
      result: [...RESULTS, 'none'],
      point: HOLD_POINTS,
      blocker: blockerKinds(),
      reason: reasonCodes(),
    };
    const missing = Object.entries(families).flatMap(([family, codes]) =>
      codes.map((code) => `${family}.${code}`).filter((key) => !messages[key]),
    );
    expect(missing).toEqual([]);
    // Open sets: for what is added later.
    for (const family of ['failure', 'refusal', 'activity', 'result', 'point', 'blocker']) {
      expect(messages[`${family}.*`]).toBeTruthy();
    }
  });

  it.each(languages)('%s has the keys and the placeholders of the English one', (file) => {
    const messages = messagesOf(file);
    expect(Object.keys(messages)).toEqual(Object.keys(english));
    const holes = (text = ''): readonly string[] => (text.match(/\{[a-z]+\}/g) ?? []).sort();
    for (const [key, text] of Object.entries(english))
      expect([key, holes(messages[key])]).toEqual([key, holes(text)]);
  });

  it('finds the codes in the sources', () => {
    expect(reasonCodes()).toEqual(
      expect.arrayContaining([
        'consent-required',
        'owner-lost',
        'outside-window',
        'unsafe-permissions',
        'condition-not-met',
      ]),
    );
  });
});

describe('frontends', () => {
  const programs = filesIn('examples').filter((path) => /\.(?:py|c|sh|js|html|css|cpp|qml)$/.test(path));

  it.each(programs)('%s is short and may be copied', (path) => {
    const text = readFileSync(path, 'utf8');
    expect(text.split('\n').length).toBeLessThan(250);
    expect(text).toContain('SPDX-License-Identifier: 0BSD');
  });

  it('use no message that is not there', () => {
    const used = programs.flatMap((path) =>
      [...readFileSync(path, 'utf8').matchAll(/["'](ui\.[a-z-]+)["']/g)].map(([, key]) => key as string),
    );
    expect(used.length).toBeGreaterThan(5);
    expect(used.filter((key) => english[key] === undefined)).toEqual([]);
  });
});
