/** Every call that the D-Bus reference shows, as it stands there, on a simulated device: understood, whatever the answer is. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { examplesOf, parseInterfaces } from '../../scripts/reference/dbus-xml.ts';
import { OTHER_UID, runTool } from '../support/bus-tools.ts';
import { startSessionBus, startSimulation, type SessionBus, type Simulation } from '../support/simulation.ts';

const xml = readFileSync('src/adapters/dbus/io.holdpoint.Update1.xml', 'utf8');
const methods = parseInterfaces(xml)
  .interfaces.flatMap(({ members }) => members)
  .filter(({ kind }) => kind === 'method');

let bus: SessionBus;
let simulation: Simulation;
let cppCalls: string;
beforeAll(async () => {
  bus = await startSessionBus();
  cppCalls = await compileCpp(bus.folder);
  simulation = startSimulation(bus, ['wait-install', '--speed', '50']);
  await simulation.line('; ticket ');
}, 600_000);
afterAll(async () => {
  await simulation?.stop();
  await bus.dispose();
});

/** One program with the calls in C++ of all methods; its argument is the method's name, it exits as the others do. */
async function compileCpp(folder: string): Promise<string> {
  const functions = methods.map((method, index) => {
    const example = examplesOf(method.interfaceName, method).find(({ language }) => language === 'cpp');
    return `static QDBusMessage call${index}() {\n${example?.code}\nreturn reply;\n}`;
  });
  const cases = methods.map(
    ({ interfaceName, name }, index) => `if (name == "${interfaceName}.${name}") reply = call${index}();`,
  );
  const source = `#include <QtDBus>
#include <cstdio>
static const QString ticket = qEnvironmentVariable("TICKET"), id = qEnvironmentVariable("ID"), hold = qEnvironmentVariable("HOLD");
${functions.join('\n')}
int main(int argc, char **argv) {
  QCoreApplication application(argc, argv);
  const QString name = argv[1];
  QDBusMessage reply;
  ${cases.join('\n  ')}
  if (reply.type() == QDBusMessage::ReplyMessage) return 0;
  fprintf(stderr, "%s: %s\\n", qPrintable(reply.errorName()), qPrintable(reply.errorMessage()));
  return 1;
}
`;
  await writeFile(join(folder, 'calls.cpp'), source);
  const program = join(folder, 'calls');
  const command = `g++ -std=c++17 -fPIC -Wall -Werror -o ${program} calls.cpp $(pkg-config --cflags --libs Qt6DBus)`;
  await promisify(execFile)('sh', ['-c', command], { cwd: folder });
  await chmod(program, 0o755);
  return program;
}

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
        const [command, args] = programOf(language, code, `${method.interfaceName}.${method.name}`);
        const { status, stderr } = await runTool(
          command,
          args,
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

function programOf(language: string, code: string, name: string): [string, string[]] {
  if (language === 'sh') return ['bash', ['-c', code]];
  return language === 'cpp' ? [cppCalls, [name]] : ['/usr/bin/python3', ['-c', code]];
}
