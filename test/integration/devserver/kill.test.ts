import { randomInt } from 'node:crypto';
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { makeArtifact } from '../../support/device.ts';
import { makeKeyPair, ProtocolDevice } from '../../support/protocol-device.ts';

/** kill -9 while devices and people change things: what was acknowledged is there afterwards, and whole. */
const ROUNDS = 12;
const DEVICES = 4;
let folder: string;
let artifact: Buffer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-artifacts-'));
  artifact = await readFile(
    await makeArtifact({ folder }, { name: 'release-2', payload: 'x'.repeat(400_000) }),
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Status counters as a device reports them; `sent` was sent, `saved` was acknowledged. */
interface Progress {
  sent: number;
  saved: number;
}

describe('after kill -9', () => {
  it('has everything it has acknowledged, and nothing torn', async () => {
    const seed = randomInt(2 ** 31);
    console.info(`seed ${seed}`);
    let random = seed;
    const next = (below: number): number => {
      random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fffffff;
      return random % below;
    };
    let server = await startDevServer({ options: ['--auto-accept'] });
    const { folder: data } = server;
    try {
      const { id: artifactId } = await server.must('POST', '/artifacts', artifact);
      const keys = Array.from({ length: DEVICES }, () => makeKeyPair('ed25519'));
      const tokens: string[] = [];
      for (const [index, pair] of keys.entries()) {
        const one = new ProtocolDevice(server.url, { serial: `d${index}`, keys: pair });
        expect((await one.authenticate()).status).toBe(200);
        tokens.push(one.token);
      }
      const { id } = await server.must('POST', '/deployments', {
        artifact_id: artifactId,
        devices: { all: true },
        update_control_map: { states: { ArtifactCommit_Enter: { action: 'pause' } } },
      });
      const progress = keys.map((): Progress => ({ sent: 0, saved: 0 }));
      const priority: Progress = { sent: 0, saved: 0 };
      const uploads = new Set<string>();
      let cutUploads = 0;

      for (let round = 0; round < ROUNDS; round++) {
        const devices = keys.map((pair, index) => {
          const one = new ProtocolDevice(server.url, { serial: `d${index}`, keys: pair });
          // Of before the kill: the server's own key has survived it.
          one.token = tokens[index] ?? '';
          return one;
        });
        let isDown = false;
        const untilDown = async (work: () => Promise<void>): Promise<void> => {
          while (!isDown) {
            try {
              await work();
            } catch (error) {
              if (!isDown) throw error;
            }
          }
        };
        const busy = [
          ...devices.map((device, index) =>
            untilDown(async () => {
              const mine = progress[index]!;
              const answer = await device.status(id, 'installing', `step ${++mine.sent}`);
              expect(answer.status).toBe(204);
              mine.saved = mine.sent;
            }),
          ),
          untilDown(async () => {
            const value = ++priority.sent;
            await server.must('PUT', `/deployments/${id}/update_control_map`, {
              update_control_map: { priority: value % 10, states: {} },
            });
            priority.saved = value;
          }),
          untilDown(async () => {
            const file = await makeArtifact(
              { folder },
              { name: `more-${round}-${uploads.size}-${next(1e6)}` },
            );
            const answer = await server.manage('POST', '/artifacts', await readFile(file));
            if (answer.status === 201) uploads.add(answer.json.id);
          }),
        ];
        await sleep(20 + next(250));
        isDown = true;
        await server.kill();
        await Promise.all(busy);
        cutUploads += (await readdir(join(data, 'data/artifacts'))).filter((name) =>
          name.endsWith('.part'),
        ).length;

        server = await startDevServer({ folder: data, options: ['--auto-accept'] });
        expect(server.output()).not.toMatch(/damaged|is not what it was/);
        const { devices: runs, update_control_map: map } = await server.must('GET', `/deployments/${id}`);
        const known = await server.must('GET', '/devices');
        for (const [index, { sent, saved }] of progress.entries()) {
          const { id: deviceId } = known.find((one: any) => one.identity.serial === `d${index}`);
          const run = runs.find((one: any) => one.device_id === deviceId);
          const step = Number(/^step (\d+)$/.exec(run.substate)?.[1] ?? 0);
          expect(step).toBeGreaterThanOrEqual(saved);
          expect(step).toBeLessThanOrEqual(sent);
        }
        if (priority.sent > 0) {
          // One that was not acknowledged may have been saved, of this round or of an earlier one.
          const possible = Array.from(
            { length: priority.sent - priority.saved + 1 },
            (_, index) => (priority.saved + index) % 10,
          );
          expect(possible).toContain(map.priority);
          priority.saved += possible.indexOf(map.priority);
        }
        const shelf = await server.must('GET', '/artifacts?limit=500');
        for (const upload of uploads) expect(shelf.map((one: any) => one.id)).toContain(upload);
        const files = await readdir(join(data, 'data/artifacts'));
        expect(files.sort()).toEqual(shelf.map((one: any) => `${one.id}.mender`).sort());
        for (const one of shelf) {
          expect((await readFile(join(data, 'data/artifacts', `${one.id}.mender`))).length).toBe(
            one.size_bytes,
          );
        }
      }
      expect(progress.every(({ saved }) => saved > ROUNDS)).toBe(true);
      console.info(`acknowledged ${progress.map(({ saved }) => saved).join(' ')}, cut uploads ${cutUploads}`);
    } finally {
      await server.dispose();
    }
  }, 120_000);

  it('drops half a line at the end and says so', async () => {
    const server = await startDevServer({ options: ['--auto-accept'] });
    let again: DevServerProcess | null = null;
    try {
      await new ProtocolDevice(server.url, { serial: 'kept' }).authenticate();
      await server.kill();
      await appendFile(join(server.folder, 'data/state.journal'), '0123456789abcdef [["devices","half');
      again = await startDevServer({ folder: server.folder });
      expect(again.output()).toContain('an interrupted write was dropped');
      expect(await again.must('GET', '/devices')).toHaveLength(1);
    } finally {
      await again?.dispose();
      await server.dispose();
    }
  });

  it('refuses to begin on a file that is not its own, and a second server on the same folder', async () => {
    const server = await startDevServer();
    try {
      await expect(startDevServer({ folder: server.folder })).rejects.toThrow(
        /has ended: .*in use|has ended: .*holdpoint-server/s,
      );
      await server.kill();
      await writeFile(join(server.folder, 'data/state.journal'), 'something else\n');
      await expect(startDevServer({ folder: server.folder })).rejects.toThrow(/another kind or format/);
      expect(await readFile(join(server.folder, 'data/state.journal'), 'utf8')).toBe('something else\n');
    } finally {
      await server.dispose();
    }
  });
});
