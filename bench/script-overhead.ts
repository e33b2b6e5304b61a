/** What running a state script costs beyond the script: many that do nothing, against the same update without any. */
import { execFile } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDevice, MODULE, writeScripts } from './device.ts';
import { writeArtifact } from './payloads.ts';
import type { Row } from './report.ts';
import type { Scratch } from './scratch.ts';
import { median } from './statistics.ts';
import { comparison } from './install-speed.ts';
import { takeTurns, timed, type Contest } from './turns.ts';

const run = promisify(execFile);
const EACH = 20;
/** Transitions of a standalone update. Source: spec/update-flow.md section 7.6. */
const ROOTFS = ['Download_Enter', 'Download_Leave'];
const ARTIFACT = [
  'ArtifactInstall_Enter',
  'ArtifactInstall_Leave',
  'ArtifactCommit_Enter',
  'ArtifactCommit_Leave',
];

export async function benchScripts(contest: Contest, scratch: Scratch): Promise<readonly Row[]> {
  const root = join(scratch.folder, 'script-device');
  const device = await createDevice(root);
  const payload = join(scratch.folder, 'small-payload');
  await writeFile(payload, 'nothing much\n');
  const base = { payloadType: MODULE.nothing, compression: 'none', files: [payload] };
  const without = join(scratch.folder, 'without-scripts.mender');
  const withScripts = join(scratch.folder, 'with-scripts.mender');
  const scripts = await writeScripts(join(scratch.folder, 'scripts'), root, ARTIFACT, EACH);
  await writeArtifact({ ...base, scripts: [], path: without }, scratch.signal);
  await writeArtifact({ ...base, scripts, path: withScripts }, scratch.signal);

  const plain = await takeTurns(contest, {
    name: 'update without scripts',
    artifact: without,
    device,
    expectedMarks: ['commit'],
  });
  const rootfs = await writeScripts(join(device.conf, 'scripts'), root, ROOTFS, EACH);
  await writeFile(join(device.conf, 'scripts/version'), '3');
  const count = scripts.length + rootfs.length;
  const full = await takeTurns(contest, {
    name: `update with ${count} scripts`,
    artifact: withScripts,
    device,
    expectedMarks: ['commit', ...Array.from({ length: count }, () => 'script')],
  });
  const floorMs: number[] = [];
  for (let round = 0; round < contest.rounds; round++) {
    const command = ['-c', 'for script; do "$script" || exit; done', 'sh', ...scripts, ...rootfs];
    floorMs.push((await timed(() => run('sh', command))) / count);
  }
  await rm(root, { recursive: true, force: true });

  const bare = comparison(plain, (usage) => usage.wallMs);
  const all = comparison(full, (usage) => usage.wallMs);
  return [
    { name: 'update with a no-op module, no scripts', unit: 'ms', ...bare, target: null },
    { name: `update with a no-op module and ${count} scripts`, unit: 'ms', ...all, target: null },
    {
      name: 'one more state script',
      unit: 'ms',
      ours: (all.ours - bare.ours) / count,
      peer: all.peer === null || bare.peer === null ? null : (all.peer - bare.peer) / count,
      target: { of: 'ratio', atMost: 1 },
    },
    {
      name: 'floor for a script: started by sh',
      unit: 'ms',
      ours: median(floorMs),
      peer: null,
      target: null,
      note: 'neither client; for scale',
    },
  ];
}
