/**
 * The recipes of docs/recipes.md, run as they stand there: one shell, block after block, against the real service. A
 * block that fails or prints something else than the document says fails the test, and so does one that cannot be run.
 * Python blocks are run by python3; of units and crontabs their commands, with the paths of an installation replaced.
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
    const script = scriptOf(language ?? '', body);
    if (script !== null) found.push({ line, script, prints: null });
    else if (language === 'text' && found.at(-1)?.prints === null)
      (found.at(-1) as { prints: string }).prints = body;
    else
      throw new Error(
        `line ${line}: found a block of "${language}", expected sh, python, ini, cron, or text behind one`,
      );
  }
  return found;
}

/** What the shell is given of a block; null = it is none to be run. */
function scriptOf(language: string, body: string): string | null {
  switch (language) {
    case 'sh':
      return body;
    case 'python':
      // The names of the shell are the program's environment.
      return `export ARTIFACT\n/usr/bin/python3 - <<'PYTHON'\n${body}PYTHON\n`;
    case 'ini':
      return installed(body.matchAll(/^Exec\w+=-?(.*)$/gm));
    case 'cron':
      return installed(body.matchAll(/^[-0-9*,/]+(?: +[-0-9*,/]+){4} +root +(.*)$/gm));
    default:
      return null;
  }
}

/** Commands as they stand in files of the system, which this machine does not have. */
function installed(commands: Iterable<RegExpMatchArray>): string {
  const lines = [...commands].map(([, command = '']) => command);
  if (lines.length === 0) throw new Error('a block without a command to run');
  return `${lines.join('\n').replaceAll('/usr/bin/holdpoint', 'holdpoint').replaceAll('/usr/local/bin/', '').replaceAll('/run/', '"$WORK"/')}\n`;
}

/** `…` stands for anything within a line. */
function patternOf(prints: string): RegExp {
  const escaped = prints.trim().replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('…', '[^\\n]*')}$`);
}

let folder: string;
let artifact: string;
let service: ServiceHarness;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-recipes-'));
  artifact = await makeArtifact({ folder });
  const programs = {
    holdpoint: `exec '${process.execPath}' '${await builtCommand()}' "$@"`,
    backup: 'exec holdpoint holds --json > /dev/null',
    'kiosk-selftest': 'exit 0',
  };
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(folder, name), 0o755);
  }
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
    expect(recipes.length).toBeGreaterThan(35);
    const script = recipes.map((recipe) => `${recipe.script}printf '%s\\n' '${MARK}'\n`).join('');
    const path = join(folder, 'recipes.sh');
    // What a block leaves running in the background ends with the shell.
    await writeFile(path, `set -e -o pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n${script}`);
    const { stdout, stderr, status } = await runTool(
      'bash',
      [path],
      { timeoutMs: 110_000 },
      {
        ...(service.device.environment as Record<string, string>),
        DBUS_SYSTEM_BUS_ADDRESS: service.bus.address,
        PATH: `${folder}:/usr/bin:/bin`,
        ARTIFACT: artifact,
        TMPDIR: folder,
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
      expect
        .soft(`line ${line}: ${outputs[index]?.trim() ?? ''}`)
        .toMatch(new RegExp(`^line ${line}: ${patternOf(prints).source.slice(1)}`));
    }
  });
});
