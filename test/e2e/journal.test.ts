import { watch } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ASK, makeArtifact } from '../support/device.ts';
import { eventually } from '../support/eventually.ts';
import { Holder } from '../support/holder.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';
import { storedStates } from '../support/stored-state.ts';
import { withService, type ServiceHarness } from '../support/service.ts';

/** Proof of consent: every decision once, whatever happens in between (design/stories.md 24). */
const POINT = 'ArtifactInstall_Enter';

let folder: string;
let artifact: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-e2e-journal-'));
  artifact = await makeArtifact({ folder });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

type Line = Readonly<Record<string, unknown>>;

function journalPath(service: ServiceHarness): string {
  return join(service.device.stateDirectory, 'decisions.jsonl');
}

async function written(service: ServiceHarness): Promise<readonly Line[]> {
  const text = await readFile(journalPath(service), 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

async function exported(service: ServiceHarness, from = 1, max = 1000): Promise<readonly Line[]> {
  const [lines] = (await service.mustCall('History.ExportDecisions', 'tu', [String(from), String(max)])) as [
    string[],
  ];
  return lines.map((line) => JSON.parse(line) as Line);
}

function numbered(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

describe.concurrent('the journal of decisions', { timeout: 120_000 }, () => {
  it('has every decision of an update, and can be exported', () =>
    withService(
      { points: { [POINT]: ASK, ArtifactCommit_Enter: ASK }, needsReboot: 'No' },
      async (service) => {
        const person = await Holder.start(service);
        try {
          await service.mustCall('SetUpdatesEnabled', 'b', ['false']);
          await service.mustCall('SetUpdatesEnabled', 'b', ['true']);
          const id = await service.install(artifact);
          const { WaitTicket } = await service.waitAt(POINT);
          await person.must('Snooze', `('${String(WaitTicket)}', uint32 60)`);
          await person.must('EndSnooze', `('${id}',)`);
          await person.must('Pause', `('${id}',)`);
          await person.must('Resume', `('${id}',)`);
          const { WaitTicket: second } = await service.waitAt(POINT);
          await person.must('ContinueFull', `('${String(second)}', {'comment': <'we are closed'>})`);
          await service.waitAt('ArtifactCommit_Enter');
          await person.must('Rollback', `('${id}', 'the old one was nicer')`);
          await service.waitForEnd();
          const about = { uid: 0, app: 'python3', 'deployment-id': id, 'artifact-name': 'release-2' };
          await eventually('all is written', async () => (await written(service)).length === 8);
          const lines = await written(service);
          expect(lines).toMatchObject([
            { seq: 1, kind: 'updates-disabled', 'deployment-id': '' },
            { seq: 2, kind: 'updates-enabled', 'deployment-id': '' },
            { seq: 3, kind: 'postponement', seconds: 60, point: POINT, ...about },
            { seq: 4, kind: 'postponement-ended', ...about },
            { seq: 5, kind: 'pause', ...about },
            { seq: 6, kind: 'resume', ...about },
            { seq: 7, kind: 'consent', point: POINT, comment: 'we are closed', ...about },
            { seq: 8, kind: 'rollback-request', comment: 'the old one was nicer', ...about },
          ]);
          expect(lines[6]?.['digest']).toMatch(/^sha256:[0-9a-f]{64}$/);
          for (const { time } of lines)
            expect(Math.abs(Date.parse(String(time)) - Date.now())).toBeLessThan(60_000);
          expect(await exported(service)).toEqual(lines);
          expect(await exported(service, 3, 2)).toEqual(lines.slice(2, 4));
          expect(await exported(service, 9)).toEqual([]);
          expect((await stat(journalPath(service))).mode & 0o777).toBe(0o600);
          expect((await service.call('History.ExportDecisions', 'tu', ['1', '0'])).error).toContain(
            'at least 1',
          );
        } finally {
          await person.vanish();
        }
      },
    ));

  it('gets what could not be written when it can be written again, once', () =>
    withService({}, async (service) => {
      // Nothing can be appended to a folder.
      await mkdir(journalPath(service), { recursive: true });
      for (const value of ['false', 'true', 'false'])
        await service.mustCall('SetUpdatesEnabled', 'b', [value]);
      await eventually('the service complains', async () =>
        (await service.log()).includes('The journal of decisions could not be written'),
      );
      const [newest] = await storedStates(service.device.stateDirectory);
      expect(newest?.state.journal.unwritten.map(({ seq }) => seq)).toEqual([1, 2, 3]);
      await service.kill9();
      await rmdir(journalPath(service));
      await service.start();
      await eventually('all is written', async () => (await written(service)).length === 3);
      await service.restart();
      await service.mustCall('SetUpdatesEnabled', 'b', ['true']);
      await eventually('the next one too', async () => (await written(service)).length === 4);
      expect((await written(service)).map(({ seq }) => seq)).toEqual(numbered(4));
      expect(await exported(service)).toEqual(await written(service));
    }));

  it('loses what a power cut tore off and writes it again', () =>
    withService({}, async (service) => {
      for (const value of ['false', 'true']) await service.mustCall('SetUpdatesEnabled', 'b', [value]);
      await eventually('both are written', async () => (await written(service)).length === 2);
      await service.kill9();
      const text = await readFile(journalPath(service), 'utf8');
      await writeFile(journalPath(service), `${text}{"seq":3,"kind":"upda`);
      await service.start();
      await service.mustCall('SetUpdatesEnabled', 'b', ['false']);
      await eventually('the third is whole', async () => (await written(service)).length === 3);
      expect((await written(service)).map(({ seq, kind }) => [seq, kind])).toEqual([
        [1, 'updates-disabled'],
        [2, 'updates-enabled'],
        [3, 'updates-disabled'],
      ]);
    }));

  it('has every decision exactly once however often the service is killed between storing and writing', () =>
    withService({}, async (service) => {
      const seed = seedFromEnvironment();
      console.log(`seed ${seed}`);
      const random = randomFrom(seed);
      let isEnabled = true;
      let answered = 0;
      let behind = 0;
      const rounds = 24;
      for (let round = 0; round < rounds; round++) {
        const person = await Holder.start(service);
        // Every second time at the moment the state is stored and the journal is not written yet.
        const left = Math.floor(random() * 4);
        const kill = round % 2 === 0 ? killAtSave(service, left) : killAfter(service, random() * 60);
        for (;;) {
          const { error } = await person.call('SetUpdatesEnabled', `(${!isEnabled},)`);
          if (error !== '') break;
          isEnabled = !isEnabled;
          answered++;
        }
        await kill;
        await person.vanish();
        const [newest] = await storedStates(service.device.stateDirectory);
        if ((newest?.state.journal.lastSeq ?? 0) > (await written(service)).length) behind++;
        await service.start();
        // The order that got no answer may have been stored: then it counts.
        isEnabled = (await service.property('UpdatesEnabled')) === true;
      }
      await service.mustCall('SetUpdatesEnabled', 'b', [String(!isEnabled)]);
      answered++;
      await eventually('all is written', async () => {
        const [newest] = await storedStates(service.device.stateDirectory);
        return newest?.state.journal.lastSeq === (await written(service)).length;
      });
      const lines = await written(service);
      expect(lines.map(({ seq }) => seq)).toEqual(numbered(lines.length));
      // Each one is the opposite of the one before: none is missing, none is there twice.
      expect(lines.map(({ kind }) => kind)).toEqual(
        numbered(lines.length).map((seq) => (seq % 2 === 1 ? 'updates-disabled' : 'updates-enabled')),
      );
      expect(lines.length).toBeGreaterThanOrEqual(answered);
      expect(lines.length).toBeLessThanOrEqual(answered + rounds);
      expect(await exported(service)).toEqual(lines);
      console.log(
        `${lines.length} decisions, ${answered} of them answered; ${rounds} kills, ${behind} of them in between`,
      );
      expect(behind).toBeGreaterThan(0);
    }));
});

async function killAfter(service: ServiceHarness, delayMs: number): Promise<void> {
  const startedMs = performance.now();
  await eventually('it is time', () => performance.now() - startedMs >= delayMs);
  await service.kill9();
}

/** kill -9 as soon as a generation of the state has its name, after having let some pass. */
async function killAtSave(service: ServiceHarness, letPass: number): Promise<void> {
  let left = letPass;
  await new Promise<void>((resolve) => {
    const watcher = watch(service.device.stateDirectory, (_event, name) => {
      if (name === null || !/^state-[ab]\.json$/.test(name) || left-- > 0) return;
      process.kill(service.pid, 'SIGKILL');
      watcher.close();
      resolve();
    });
  });
  await service.exited();
}
