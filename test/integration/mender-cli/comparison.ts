import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createReadStream } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { ALLOWED } from './allowed-differences.ts';
import { artifactCases, COMMAND_LINE_CASES, setupCases, type Case, type Shelf } from './cases.ts';
import { Twin, type RunResult } from './twins.ts';

/**
 * `mender` as ours beside Debian's `mender` 3.4, in the same run: standard output, exit status, and what is left behind.
 * Standard error is for people and logs; ours is one line at most.
 */
const run = promisify(execFile);

export interface OpenShelf extends Shelf {
  close(): Promise<void>;
}

/** Artifacts, and a web server that has one of them. */
export async function openShelf(): Promise<OpenShelf> {
  const folder = await mkdtemp(join(tmpdir(), 'holdpoint-mender-cli-'));
  const make = async (name: string, args: readonly string[]): Promise<string> => {
    await run('mender-artifact', ['write', ...args, '-o', join(folder, name)]);
    return join(folder, name);
  };
  await writeFile(join(folder, 'payload'), Buffer.alloc(65_536, 'payload of release 2\n'));
  const payload = ['-f', join(folder, 'payload')];
  const artifact = await make('release-2.mender', [
    ...'module-image -T probe -n release-2 -t bench -g shop --provides probe.version:2&3'.split(' '),
    ...payload,
  ]);
  const cut = join(folder, 'cut.mender');
  await copyFile(artifact, cut);
  await truncate(cut, 3000);
  const { size } = await stat(artifact);
  const server = createServer((request, response) => {
    if (request.url !== '/artifact') return response.writeHead(404).end();
    response.writeHead(200, { 'content-length': size });
    return createReadStream(artifact).pipe(response);
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    artifact,
    cut,
    otherDevice: await make('other.mender', [
      'module-image',
      '-T',
      'probe',
      '-n',
      'x',
      '-t',
      'other',
      ...payload,
    ]),
    empty: await make('empty.mender', ['bootstrap-artifact', '-n', 'factory-1', '-t', 'bench']),
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

// The names are known before the artifacts are made.
const NAMELESS: Shelf = { artifact: '', otherDevice: '', cut: '', empty: '', url: '' };

/** Every case, by kind. */
export const CASE_NAMES = {
  artifacts: artifactCases(NAMELESS).map(({ name }) => name),
  'command lines': COMMAND_LINE_CASES.map(({ name }) => name),
  setup: setupCases().map(({ name }) => name),
} as const;

/** Runs the case on both devices, and fails for every difference that is not allowed, and for allowances without one. */
export function compareCase(name: string, shelf: Shelf): Promise<void> {
  const all = [...artifactCases(shelf), ...COMMAND_LINE_CASES, ...setupCases()];
  const one = all.find((candidate) => candidate.name === name);
  if (one === undefined) throw new Error(`there is no case ${name}`);
  return compare(one);
}

interface Story {
  readonly results: readonly RunResult[];
  readonly facts: Readonly<Record<string, unknown>>;
}

async function tell(device: Twin, { steps, facts }: Case): Promise<Story> {
  const results: RunResult[] = [];
  for (const { args, first, ...options } of steps) {
    await first?.(device);
    results.push(await device.run(args, options));
  }
  return { results, facts: (await facts?.(device)) ?? {} };
}

/** Field → theirs and ours, of those that differ. */
function differences(
  theirs: Story,
  ours: Story,
  wording: Case['wording'],
): ReadonlyMap<string, readonly [unknown, unknown]> {
  const pairs: [string, unknown, unknown][] = theirs.results.flatMap(({ status, stdout }, index) => {
    const mine = ours.results[index];
    return [
      [`step ${index + 1} status`, status, mine?.status],
      ...(wording === 'ours' ? [] : [[`step ${index + 1} stdout`, stdout, mine?.stdout]]),
    ] as [string, unknown, unknown][];
  });
  for (const name of Object.keys({ ...theirs.facts, ...ours.facts })) {
    pairs.push([`fact ${name}`, theirs.facts[name], ours.facts[name]]);
  }
  return new Map(
    pairs
      .filter(([, one, other]) => JSON.stringify(sorted(one)) !== JSON.stringify(sorted(other)))
      .map(([field, one, other]) => [field, [one, other]]),
  );
}

function sorted(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)));
}

async function compare(one: Case): Promise<void> {
  const [original, ours] = await Promise.all([Twin.original(), Twin.ours()]);
  try {
    const [theirStory, ourStory] = await Promise.all([tell(original, one), tell(ours, one)]);
    const found = differences(theirStory, ourStory, one.wording);
    const allowed = new Set(ALLOWED.filter(({ name }) => name === one.name).map(({ field }) => field));
    const unexpected = [...found].filter(([field]) => !allowed.has(field));
    const said = ourStory.results.map(({ stderr }) => stderr).join('');
    expect(unexpected, `theirs, ours: ${JSON.stringify(unexpected)}; ours said ${said}`).toEqual([]);
    const unused = [...allowed].filter((field) => !found.has(field));
    expect(unused, 'allowed, and no difference').toEqual([]);
    for (const { stderr, status } of ourStory.results) {
      expect(stderr).not.toMatch(/^\s+at /m);
      if (status !== 0 && status !== 4) expect(stderr).toMatch(/^mender: [^\n]+: [^\n]+\n$/);
    }
  } finally {
    await Promise.all([original.remove(), ours.remove()]);
  }
}
