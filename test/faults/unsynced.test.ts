/**
 * Power cuts that take what was not synced (design/faults.md R2): the datastore is on a block device that forgets any part of
 * what it was not told to flush, under a real ext4, and the service is cut off at one stored step after the other. What it
 * goes on with was whole on the disk: its record, the scripts of the artifact, the payload.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { FlowStep } from '../../src/core/state.ts';
import { FLOW } from '../../src/core/transition-table.ts';
import { DEVICE_TYPE, PAYLOAD_TYPE } from '../support/device.ts';
import { ForgetfulDisk } from '../support/forgetful-disk.ts';
import { randomFrom, seedFromEnvironment } from '../support/random.ts';
import { ServiceHarness } from '../support/service.ts';
import { FORWARD_STEPS, nextStored, storedStates, type Stored } from '../support/stored-state.ts';

const run = promisify(execFile);

const CUT_AT: readonly FlowStep[] = [
  'download',
  'download-leave',
  'install-gate',
  'install-enter',
  'install',
  'commit-gate',
  'commit',
  'commit-leave',
  'cleanup-after-success',
];
/** At any moment, while the artifact is being stored. */
const RANDOM_CUTS = 5;
const SCRIPTS = ['ArtifactInstall_Enter', 'ArtifactInstall_Leave', 'ArtifactCommit_Enter'];

/** Says that it has run, and whether it is there from its first to its last line. */
const scriptText = (artifact: string): string =>
  [
    '#!/bin/sh',
    'C="${0%/*}/../../control"',
    `[ "$(tail -n 1 "$0")" = '# whole' ] || echo "$0" >>"$C/half"`,
    `echo "${artifact} \${0##*/}" >>"$C/ran"`,
    'exit 0',
    ...Array.from({ length: 2_000 }, (_nothing, line) => `# ${artifact} line ${line} of what makes it long`),
    '# whole',
    '',
  ].join('\n');

/** Its payload is a file with the name of its own checksum. */
const moduleText = (control: string): string =>
  [
    '#!/bin/sh',
    'case "$1" in',
    'NeedsArtifactReboot) echo No ;;',
    'SupportsRollback) echo Yes ;;',
    'ArtifactInstall)',
    '  for file in "$2"/files/*; do',
    `    [ "$(sha256sum <"$file" | cut -d ' ' -f 1)" = "\${file##*/}" ] || echo "$file" >>'${control}/half'`,
    '  done ;;',
    'esac',
    '',
  ].join('\n');

async function makeArtifact(folder: string, name: string): Promise<string> {
  const work = join(folder, name);
  await mkdir(work);
  const payload = Buffer.alloc(2 << 20, `${name} `);
  const file = join(work, createHash('sha256').update(payload).digest('hex'));
  await writeFile(file, payload);
  const scripts: string[] = [];
  for (const script of SCRIPTS) {
    const path = join(work, `${script}_00_probe`);
    await writeFile(path, scriptText(name), { mode: 0o755 });
    scripts.push('-s', path);
  }
  const path = join(work, `${name}.mender`);
  const what = ['-T', PAYLOAD_TYPE, '-f', file, '-t', DEVICE_TYPE, '-n', name, '--compression', 'none'];
  await run('mender-artifact', ['write', 'module-image', ...what, ...scripts, '-o', path]);
  return path;
}

const linesOf = async (path: string): Promise<readonly string[]> =>
  (await readFile(path, 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');

it(
  'R2: what a power cut takes of what was not synced is missed by nobody',
  { timeout: 600_000 },
  async () => {
    const seed = seedFromEnvironment();
    const random = randomFrom(seed);
    const work = await mkdtemp(join(tmpdir(), 'holdpoint-unsynced-'));
    const service = await ServiceHarness.create();
    const { device } = service;
    const disk = await ForgetfulDisk.at(device.data, join(work, 'made-of'));
    const lines: string[] = [];
    try {
      await writeFile(join(device.share, 'modules/v3', PAYLOAD_TYPE), moduleText(device.control));
      await service.start();
      const cuts: readonly (FlowStep | null)[] = [
        ...CUT_AT,
        ...Array.from({ length: RANDOM_CUTS }, (): null => null),
      ];
      let installed = 'unknown';
      let lostInAll = 0;
      for (const [index, step] of cuts.entries()) {
        const name = `release-${index + 2}`;
        const artifact = await makeArtifact(work, name);
        let seen: Stored | null = null;
        const reached =
          step === null
            ? sleep(random() * 400)
            : nextStored(device.stateDirectory, ({ state: { deployment, history, step: at } }) => {
                // On a machine that is busy it may be over when it is looked at.
                if (deployment === null) return history[0]?.artifactName === name;
                return FORWARD_STEPS.indexOf(at) >= FORWARD_STEPS.indexOf(step);
              }).then((stored) => (seen = stored));
        await service.install(artifact);
        await reached;
        await service.kill9();
        // Of others, and in the cache of the drive.
        const direct = [
          'if=/dev/urandom',
          `of=${join(device.data, 'others')}`,
          'bs=64k',
          'count=1',
          'oflag=direct',
        ];
        await run('dd', direct);
        const lost = await disk.cutPower();
        lostInAll += lost;
        await disk.powerOn(seed + index + 1);

        const [stored] = await storedStates(device.stateDirectory);
        if (stored === undefined) throw new Error('nothing is stored any more');
        const at = stored.state.deployment === null ? 'over' : stored.state.step;
        // What has been acknowledged stays so.
        expect(stored.generation).toBeGreaterThanOrEqual((seen as Stored | null)?.generation ?? 0);
        await service.start({ boot: 'next' });
        const end = await service.waitFor(
          `${name} is over`,
          (now) => now['LastResult'] !== 'none' && now['DeploymentId'] === '' && now['Step'] === 'Idle',
        );
        const isLost = at !== 'over' && FLOW[at].isRestartFailure === true;
        lines.push(`${step ?? 'any moment'}: stored ${at}, ${lost} lost, ${String(end['LastResult'])}`);
        expect(await linesOf(join(device.control, 'half')), lines.at(-1)).toEqual([]);
        if (isLost) {
          expect(end['LastErrorName'], lines.at(-1)).toBe('io.holdpoint.Update1.Failure.PowerLoss');
        } else {
          expect(end['LastResult'], lines.at(-1)).toBe('success');
          installed = name;
          const ran = (await linesOf(join(device.control, 'ran'))).filter((line) =>
            line.startsWith(`${name} `),
          );
          expect(new Set(ran)).toEqual(new Set(SCRIPTS.map((script) => `${name} ${script}_00_probe`)));
        }
        expect(end['CurrentArtifactName'], lines.at(-1)).toBe(installed);
        expect((await service.log()).includes('is damaged'), lines.at(-1)).toBe(false);
      }
      // Without a loss it was no test.
      expect(lostInAll).toBeGreaterThan(0);
      console.log(`${lines.join('\n')}\nTEST_SEED=${seed}`);
    } finally {
      await service.kill9().catch(() => {});
      await disk.dispose();
      await service.dispose();
      await rm(work, { recursive: true, force: true });
    }
  },
);
