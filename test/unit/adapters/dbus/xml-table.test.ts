import { describe, expect, test } from 'vitest';
import { loadHoldpointTable } from '../../../../src/adapters/dbus/interface-xml.ts';
import { parseInterfaceXml } from '../../../../src/adapters/dbus/xml-table.ts';
import { FAILURE_NAMES } from '../../../../src/core/errors.ts';
import { HOLD_POINTS } from '../../../../src/core/hold-point.ts';
import { REFUSAL_NAMES } from '../../../../src/core/refusal.ts';
import { ACTIVITIES, PUBLIC_STATES, RESULTS } from '../../../../src/core/state.ts';

describe('introspection XML becomes a table', () => {
  test('of methods, properties and signals with their types', () => {
    const { interfaces } = parseInterfaceXml(`<?xml version="1.0"?>
      <!-- a > comment with - dashes and <tags/> -->
      <node><interface name='a.B'>
        <method name="M"><arg name="x" type="a{sv}"/><arg type="u" direction="out"/><arg name="y" type="s" direction='in'/></method>
        <signal name="S"><arg name="t" type="t"/></signal>
        <property name="P" type="(sb)" access="read"><annotation
          name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="invalidates"/></property>
        <property name="Q" type="d" access="readwrite"/>
      </interface></node>`);
    const table = interfaces.get('a.B');
    expect(table?.methods.get('M')).toEqual({
      name: 'M',
      in: [
        { name: 'x', type: 'a{sv}' },
        { name: 'y', type: 's' },
      ],
      out: [{ name: '', type: 'u' }],
      inSignature: 'a{sv}s',
      outSignature: 'u',
    });
    expect(table?.signals.get('S')?.signature).toBe('t');
    expect(table?.properties.get('P')).toEqual({
      name: 'P',
      type: '(sb)',
      access: 'read',
      emits: 'invalidates',
    });
    expect(table?.properties.get('Q')?.emits).toBe('true');
  });

  test.each([
    ['a tag that is not closed', '<node><interface name="a.B"></node>', /<\/node>, expected <\/interface>/],
    ['an end inside an element', '<node>', /the end inside <node>/],
    ['a second root', '<node/><node/>', /second root/],
    ['text', '<node>hello</node>', /line 1: found hello/],
    ['another root', '<interface name="a.B"/>', /expected <node>/],
    ['a comment with two dashes', '<node><!-- a -- b --></node>', /found <!--/],
    ['an attribute twice', '<node name="a" name="b"/>', /attribute name twice/],
    ['an unknown entity', '<node name="&nbsp;"/>', /"&nbsp;" in an attribute/],
    ['an entity without end', '<node name="a & b"/>', /in an attribute/],
    ['an internal document type', '<!DOCTYPE node [<!ENTITY a "b">]><node/>', /found <!DOCTYPE/],
    ['an interface without name', '<node><interface/></node>', /no name/],
    [
      'a method twice',
      '<node><interface name="a.B"><method name="M"/><method name="M"/></interface></node>',
      /twice/,
    ],
    [
      'an argument of two types',
      '<node><interface name="a.B"><method name="M"><arg type="ss"/></method></interface></node>',
      /no single complete type/,
    ],
    [
      'a file descriptor',
      '<node><interface name="a.B"><method name="M"><arg type="ah"/></method></interface></node>',
      /no file descriptors/,
    ],
    [
      'an unknown direction',
      '<node><interface name="a.B"><method name="M"><arg type="s" direction="both"/></method></interface></node>',
      /in or out/,
    ],
    [
      'a property without access',
      '<node><interface name="a.B"><property name="P" type="s"/></interface></node>',
      /no access/,
    ],
    [
      'an unknown access',
      '<node><interface name="a.B"><property name="P" type="s" access="all"/></interface></node>',
      /access "all"/,
    ],
    ['an empty file', '', /no element/],
  ])('and %s is refused with a place', (_what, xml, expected) => {
    expect(() => parseInterfaceXml(xml)).toThrow(expected);
    expect(() => parseInterfaceXml(xml)).toThrow(expect.objectContaining({ kind: 'config' }));
  });
});

describe('the shipped XML', () => {
  const table = loadHoldpointTable();
  const main = table.interfaces.get('io.holdpoint.Update1');

  test('has the four interfaces and their members', () => {
    const shape = [...table.interfaces.values()].map((entry) => [
      entry.name,
      entry.methods.size,
      entry.properties.size,
      entry.signals.size,
    ]);
    expect(shape).toEqual([
      ['io.holdpoint.Update1', 13, 37, 6],
      ['io.holdpoint.Update1.Holds', 6, 1, 0],
      ['io.holdpoint.Update1.Install', 3, 0, 0],
      ['io.holdpoint.Update1.History', 4, 0, 0],
    ]);
    expect(main?.properties.get('Blockers')?.type).toBe('a(ssssa{sv})');
    expect(main?.methods.get('ContinueFull')?.inSignature).toBe('sa{sv}');
  });

  test('can be written by nobody, and says of each property how its change is announced', () => {
    for (const { properties } of table.interfaces.values()) {
      for (const property of properties.values()) expect(property.access, property.name).toBe('read');
    }
    const annotated = table.xml.match(/EmitsChangedSignal" value=/g)?.length;
    expect(annotated).toBe(38);
    const constants = [...(main?.properties.values() ?? [])].filter(({ emits }) => emits === 'const');
    expect(constants.map(({ name }) => name)).toEqual([
      'InterfaceRevision',
      'Version',
      'Capabilities',
      'KnownPoints',
    ]);
  });

  test('names every argument and has a comment for every member', () => {
    for (const entry of table.interfaces.values()) {
      for (const { name, in: inArgs, out } of entry.methods.values()) {
        for (const arg of [...inArgs, ...out])
          expect(arg.name, `${name} of ${entry.name}`).toMatch(/^[a-z_]+$/);
      }
      const members = [...entry.methods.keys(), ...entry.properties.keys(), ...entry.signals.keys()];
      for (const member of members) expect(table.xml).toMatch(new RegExp(`<!--\\s+${member}:\\s`));
      expect(table.xml).toContain(`    ${entry.name}:\n    @short_description:`);
    }
  });

  test('says of each method when it may be called and what it leads to', () => {
    const holds = table.xml.indexOf('<interface name="io.holdpoint.Update1.Holds">');
    expect(holds).toBeGreaterThan(0);
    for (const entry of table.interfaces.values()) {
      for (const method of entry.methods.keys()) {
        const at = table.xml.indexOf(`<method name="${method}"`);
        const comment = table.xml.slice(table.xml.lastIndexOf('<!--', at), at);
        expect(comment, method).toMatch(/Callable[:,]/);
        expect(comment, method).toMatch(/[Ll]eads to[:,]/);
      }
    }
  });

  test('speaks of every state, activity, result, point, failure and error there is', () => {
    const words = new Set(table.xml.match(/[A-Za-z_-]+/g));
    const known = [...PUBLIC_STATES, ...ACTIVITIES, ...RESULTS, ...HOLD_POINTS, ...FAILURE_NAMES];
    for (const word of [...known, ...REFUSAL_NAMES]) {
      if (word === 'FileNotFound') continue; // reserved: absent paths are PathNotAllowed
      expect(words.has(word), word).toBe(true);
    }
  });

  test('gives code generators the Qt type of every compound that Qt cannot guess', () => {
    expect(main?.properties.get('Deployment')?.type).toBe('a{sv}');
    const methods = [...table.interfaces.values()].flatMap(({ methods: all }) => [...all.values()]);
    for (const { name, in: inArgs, out } of methods) {
      const at = table.xml.indexOf(`<method name="${name}"`);
      const body = table.xml.slice(at, table.xml.indexOf('</method>', at));
      inArgs.forEach(({ type }, index) => {
        if (type.includes('{')) expect(body).toContain(`QtTypeName.In${index}"`);
      });
      out.forEach(({ type }, index) => {
        if (type.includes('{')) expect(body).toContain(`QtTypeName.Out${index}"`);
      });
    }
  });
});
