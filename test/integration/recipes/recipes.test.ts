/**
 * The documents that show what to type, run as they stand there against the real service (document-blocks.ts has the rules).
 * A block that fails or prints something else than the document says fails the test, and so does one that cannot be run.
 */
import { chmod, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { builtCommand } from '../../support/command.ts';
import { ASK, makeArtifact } from '../../support/device.ts';
import { runBlocks } from '../../support/document-blocks.ts';
import { ServiceHarness } from '../../support/service.ts';

let folder: string;
let service: ServiceHarness;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-recipes-'));
  const programs = {
    holdpoint: `exec '${process.execPath}' '${await builtCommand()}' "$@"`,
    backup: 'exec holdpoint holds --json > /dev/null',
    'kiosk-selftest': 'exit 0',
    // What it would do the tests have done before they began, or are; that there is such a script is seen.
    npm: `[ "$1" != run ] || jq -e --arg name "$2" '.scripts[$name]' '${resolve('package.json')}' >/dev/null`,
  };
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(folder, name), 0o755);
  }
  await symlink(resolve('examples'), join(folder, 'examples'));
  service = await ServiceHarness.create({
    points: { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK },
    holdpointConf: { Health: { checkers: ['kiosk-app'], deadline: 120 } },
  });
  await service.start();
  await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
}, 60_000);

afterEach(async () => {
  await service.dispose();
  await rm(folder, { recursive: true, force: true });
});

async function run(document: string): Promise<number> {
  return runBlocks(resolve(document), {
    folder,
    timeoutMs: 880_000,
    environment: {
      ...(service.device.environment as Record<string, string>),
      DBUS_SYSTEM_BUS_ADDRESS: service.bus.address,
      PATH: `${folder}:/usr/bin:/bin`,
      ARTIFACT: await makeArtifact({ folder }),
      HOME: folder,
    },
  });
}

describe('what the documents show', { timeout: 900_000 }, () => {
  it.each([
    ['docs/recipes.md', 36],
    ['docs/cookbook.md', 45],
    ['docs/guide/troubleshooting.md', 4],
    ['docs/guide/migration.md', 1],
    ['docs/ab-updates.md', 1],
    ['README.md', 4],
  ] as const)('%s does what it says, block after block', async (document, blocks) => {
    expect(await run(document)).toBeGreaterThanOrEqual(blocks);
  });
});
