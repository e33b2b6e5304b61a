/** examples/c, compiled as its first lines say, answered through its standard input. */
import { execFile, spawn } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asUser, startSessionBus, startSimulation, type SessionBus } from '../support/simulation.ts';

let bus: SessionBus;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-c-'));
  await copyFile('examples/c/update_panel.c', join(folder, 'update_panel.c'));
  const source = await readFile(join(folder, 'update_panel.c'), 'utf8');
  const [, command = ''] = /^ \* {5}(cc .*)$/m.exec(source) ?? [];
  expect(command).not.toBe('');
  await promisify(execFile)('sh', ['-c', `${command} -Werror`], { cwd: folder });
  bus = await startSessionBus();
  await copyFile(join(folder, 'update_panel'), join(bus.folder, 'update_panel'));
}, 120_000);
afterAll(async () => {
  await bus.dispose();
  await rm(folder, { recursive: true, force: true });
});

interface Panel {
  readonly lines: readonly string[];
  /** The first line behind those seen before that fits. */
  line(pattern: RegExp): Promise<string>;
  type(key: string): void;
  stop(): Promise<void>;
}

function startPanel(): Panel {
  const [command, args] = asUser(join(bus.folder, 'update_panel'), []);
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: '/usr/bin:/bin', DBUS_SYSTEM_BUS_ADDRESS: bus.address },
  });
  const lines: string[] = [];
  let seen = 0;
  const reader = createInterface({ input: child.stdout });
  reader.on('line', (text) => lines.push(text));
  const ended = once(child, 'exit');
  return {
    lines,
    async line(pattern) {
      for (;;) {
        const at = lines.findIndex((text, index) => index >= seen && pattern.test(text));
        if (at >= 0) {
          seen = at + 1;
          return lines[at] as string;
        }
        await Promise.race([
          once(reader, 'line'),
          ended.then(() => Promise.reject(new Error(`it ended: ${lines.join('\n')}`))),
        ]);
      }
    },
    type: (key) => child.stdin.write(key),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

describe('the panel in C', () => {
  it('shows what comes, who blocks and until when, answers, and outlives the restart of the service', async () => {
    const panel = startPanel();
    const simulation = await panel
      .line(/^no service$/)
      .then(() => startSimulation(bus, ['kiosk', '--speed', '50']));
    try {
      const downloading = await panel.line(/^downloading .* 50331648 bytes \d+ %/);
      expect(downloading).toContain('release-1 -> release-2');
      await panel.line(/ \| Faster start, better printing\./);
      expect(await panel.line(/ArtifactInstall_Enter/)).toMatch(
        /consent by policy \(consent-required\) \| ends [1-9]\d+ \| n\/w\/l\?$/,
      );
      panel.type('n');
      await panel.line(/^installing /);
      expect(await panel.line(/ArtifactReboot_Enter/)).toContain('window by policy (outside-window)');
      panel.type('w');
      // The consent is kept; the window is left. Now after all.
      await panel.line(/ArtifactReboot_Enter: window by policy \(outside-window\) \|/);
      panel.type('n');
      await panel.line(/^no service$/);
      await panel.line(/^idle release-2 -> - .*last: success/);
    } finally {
      await simulation.stop();
      await panel.stop();
    }
  });

  it('tells why the last update failed, though it was started later', async () => {
    const simulation = startSimulation(bus, ['fail-no-space', '--speed', '100']);
    try {
      await simulation.line('last result: failure');
      const panel = startPanel();
      await panel.line(/last: failure NoSpace$/);
      await panel.stop();
    } finally {
      await simulation.stop();
    }
  });
});
