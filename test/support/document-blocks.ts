/**
 * Documents whose code blocks are run as they stand there: one shell, block after block. `text` behind a block is what it
 * prints (`…` stands for anything within a line), `json` is a configuration and must be one without a warning, Python is run
 * by python3, of units and crontabs the commands are run. `<!-- run: … -->` is run and not shown: what brings the device to
 * where the next block begins.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from './bus-tools.ts';

/** What other programs are given: nothing here could run it. */
const NOT_OURS: readonly string[] = ['uboot'];
const MARK = '=== end of a block ===';

export interface Block {
  readonly line: number;
  readonly script: string;
  /** null = nothing is said about it. */
  readonly prints: string | null;
}

export function blocksOf(text: string): readonly Block[] {
  const found: { line: number; script: string; prints: string | null }[] = [];
  for (const match of text.matchAll(/^(?:```(\w*)\n(.*?)^```|<!-- run: (.*?) -->)$/gms)) {
    const [, language = '', body = '', hidden] = match;
    const line = text.slice(0, match.index).split('\n').length;
    const script = hidden === undefined ? scriptOf(language, body) : `${hidden}\n`;
    if (NOT_OURS.includes(language)) continue;
    if (script !== null) found.push({ line, script, prints: null });
    else if (language === 'text' && found.at(-1)?.prints === null)
      (found.at(-1) as { prints: string }).prints = body;
    else
      throw new Error(
        `line ${line}: found a block of "${language}", expected sh, json, python, ini, cron, or text behind one`,
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
    case 'json':
      return `cat > "$TMPDIR/block.json" <<'JSON'\n${body}JSON\nholdpoint --holdpoint-config "$TMPDIR/block.json" check-config 2>&1 >/dev/null | { ! grep .; }\n`;
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

export interface BlockPlace {
  /** For the script and temporary files. */
  readonly folder: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Default: that of the test. */
  readonly uid?: number;
  readonly timeoutMs?: number;
}

/** Throws for the first block that fails, and for each that prints something else. @returns how many there are */
export async function runBlocks(document: string, place: BlockPlace): Promise<number> {
  const blocks = blocksOf(await readFile(document, 'utf8'));
  const script = blocks.map((block) => `${block.script}printf '%s\\n' '${MARK}'\n`).join('');
  const path = join(place.folder, 'blocks.sh');
  // What a block leaves running in the background ends with the shell.
  await writeFile(
    path,
    `set -e -o pipefail\ncd "$TMPDIR"\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n${script}`,
  );
  const { uid, timeoutMs = 110_000 } = place;
  const { stdout, stderr, status } = await runTool(
    'bash',
    [path],
    { timeoutMs, ...(uid !== undefined && { uid }) },
    { TMPDIR: place.folder, ...place.environment },
  );
  const outputs = stdout.split(`${MARK}\n`);
  const reached = outputs.length - 1;
  const stopped = blocks[reached];
  if (stopped)
    throw new Error(
      `${document}: the block of line ${stopped.line} failed: ${outputs[reached] ?? ''}${stderr}`,
    );
  if (status !== 0) throw new Error(`${document}: the shell ended with ${status}: ${stderr}`);
  const wrong = blocks.flatMap(({ line, prints }, index) => {
    const printed = outputs[index]?.trim() ?? '';
    return prints === null || patternOf(prints).test(printed) ? [] : [`line ${line} printed:\n${printed}`];
  });
  if (wrong.length > 0) throw new Error(`${document}: ${wrong.join('\n')}`);
  return blocks.length;
}
