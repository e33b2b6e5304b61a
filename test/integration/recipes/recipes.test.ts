/**
 * The recipes of docs/recipes.md, run as they stand there: one shell, block after block, against the real service. A
 * block that fails or prints something else than the document says fails the test.
 */
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runTool } from '../../support/bus-tools.ts';
import { builtCommand } from '../../support/command.ts';
import { ASK, makeArtifact } from '../../support/device.ts';
import { ServiceHarness } from '../../support/service.ts';

const DOCUMENT = resolve(import.meta.dirname, '../../../docs/recipes.md');
const MARK = '=== end of a block ===';

interface Recipe {
  readonly line: number;
  readonly script: string;
  /** null = nothing is said about it. */
  readonly prints: string | null;
}

function recipesOf(text: string): readonly Recipe[] {
  const found: { line: number; script: string; prints: string | null }[] = [];
  for (const match of text.matchAll(/^```(\w*)\n(.*?)^```$/gms)) {
    const [, language, body = ''] = match;
    const line = text.slice(0, match.index).split('\n').length;
    if (language === 'sh') found.push({ line, script: body, prints: null });
    else if (language === 'text' && found.at(-1)?.prints === null)
      (found.at(-1) as { prints: string }).prints = body;
    else throw new Error(`line ${line}: found a block of "${language}", expected sh, or text behind sh`);
  }
  return found;
}

/** `…` stands for anything. */
function patternOf(prints: string): RegExp {
  const escaped = prints.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('…', '[^]*')}$`);
}

let folder: string;
let artifact: string;
let service: ServiceHarness;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-recipes-'));
  artifact = await makeArtifact({ folder });
  await writeFile(
    join(folder, 'holdpoint'),
    `#!/bin/sh\nexec '${process.execPath}' '${await builtCommand()}' "$@"\n`,
  );
  await chmod(join(folder, 'holdpoint'), 0o755);
  service = await ServiceHarness.create({
    points: { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK },
    holdpointConf: { Health: { checkers: ['kiosk-app'], deadline: 120 } },
  });
  await service.start();
  await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
}, 60_000);

afterAll(async () => {
  await service.dispose();
  await rm(folder, { recursive: true, force: true });
});

describe('docs/recipes.md', { timeout: 120_000 }, () => {
  it('does what it says, block after block', async () => {
    const recipes = recipesOf(await readFile(DOCUMENT, 'utf8'));
    expect(recipes.length).toBeGreaterThan(20);
    const script = recipes.map((recipe) => `${recipe.script}printf '%s\\n' '${MARK}'\n`).join('');
    const path = join(folder, 'recipes.sh');
    await writeFile(path, `set -e\n${script}`);
    const { stdout, stderr, status } = await runTool(
      'bash',
      [path],
      { timeoutMs: 110_000 },
      {
        ...(service.device.environment as Record<string, string>),
        DBUS_SYSTEM_BUS_ADDRESS: service.bus.address,
        PATH: `${folder}:/usr/bin:/bin`,
        ARTIFACT: artifact,
      },
    );
    const outputs = stdout.split(`${MARK}\n`);
    const reached = outputs.length - 1;
    const stopped = recipes[reached];
    if (stopped)
      throw new Error(`the block of line ${stopped.line} failed: ${outputs[reached] ?? ''}${stderr}`);
    expect(status).toBe(0);
    for (const [index, { line, prints }] of recipes.entries()) {
      if (prints === null) continue;
      expect(`line ${line}: ${outputs[index]?.trim() ?? ''}`).toMatch(
        new RegExp(`^line ${line}: ${patternOf(prints).source.slice(1)}`),
      );
    }
  });
});
