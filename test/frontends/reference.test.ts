/** Every call that the D-Bus reference shows, as it stands there, on a simulated device: understood, whatever the answer is. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examplesOf, parseInterfaces } from '../../scripts/reference/dbus-xml.ts';
import { OTHER_UID, runTool } from '../support/bus-tools.ts';
import { startSessionBus, startSimulation, type SessionBus, type Simulation } from '../support/simulation.ts';

let bus: SessionBus;
let simulation: Simulation;
beforeAll(async () => {
  bus = await startSessionBus();
  simulation = startSimulation(bus, ['wait-install', '--speed', '50']);
  await simulation.line('; ticket ');
}, 120_000);
afterAll(async () => {
  await simulation.stop();
  await bus.dispose();
});

const xml = readFileSync('src/adapters/dbus/io.holdpoint.Update1.xml', 'utf8');
const methods = parseInterfaces(xml)
  .interfaces.flatMap(({ members }) => members)
  .filter(({ kind }) => kind === 'method');

describe('examples of the D-Bus reference', () => {
  it.each(methods.map((method) => [`${method.interfaceName}.${method.name}`, method] as const))(
    '%s',
    async (_, method) => {
      const environment = {
        DBUS_SYSTEM_BUS_ADDRESS: bus.address,
        TICKET: '0'.repeat(32),
        ID: '00000000-0000-4000-8000-000000000000',
        HOLD: '000000000000',
      };
      for (const { language, code } of examplesOf(method.interfaceName, method)) {
        // Those in C++ are made from the same values; they are not compiled here.
        if (language === 'cpp') continue;
        const [command, args] =
          language === 'sh' ? ['bash', ['-c', code]] : ['/usr/bin/python3', ['-c', code]];
        const { status, stderr } = await runTool(
          command as string,
          args as string[],
          { uid: OTHER_UID, timeoutMs: 60_000 },
          environment,
        );
        // Refused for what it is about is fine: nothing waits for this ticket. Not understood is not.
        expect(`${code}\n${stderr}`).not.toMatch(
          /InvalidArgs(?!: checker: )|UnknownMethod|UnknownInterface|signature|SyntaxError|TypeError|usage|Too (?:few|many)/i,
        );
        if (status !== 0) {
          expect(`${code}\n${stderr}`).toMatch(
            /ticket|update is under way|deployment|hold|checker|possible|Busy|WrongState/i,
          );
        }
      }
    },
    200_000,
  );
});
