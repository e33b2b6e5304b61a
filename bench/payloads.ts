/**
 * The artifacts that are installed, made by the real tool. Random content for what is not compressed; for the rest
 * log-like text that compresses to about a third, as the files of a system image do, and never repeats itself as a whole.
 */
import { execFile } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { access, mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MIB = 1024 * 1024;

export interface ArtifactPlan {
  readonly payloadType: string;
  readonly compression: 'none' | 'gzip' | 'xz';
  readonly sizeMib: number;
}

export const DEVICE_TYPE = 'bench-device';

/** Path of the artifact; made only when the folder does not have it. */
export async function artifactOf(plan: ArtifactPlan, folder: string, signal: AbortSignal): Promise<string> {
  const path = join(folder, `${plan.payloadType}-${plan.compression}-${plan.sizeMib}.mender`);
  const isThere = await access(path).then(
    () => true,
    () => false,
  );
  if (isThere) return path;
  await mkdir(folder, { recursive: true });
  const payload = `${path}.payload`;
  try {
    await writePayload(payload, plan);
    await writeArtifact({ ...plan, files: [payload], scripts: [], path: `${path}.new` }, signal);
    await rename(`${path}.new`, path);
  } finally {
    await rm(payload, { force: true });
    await rm(`${path}.new`, { force: true });
  }
  return path;
}

export interface WriteOrder {
  readonly payloadType: string;
  readonly compression: string;
  readonly files: readonly string[];
  readonly scripts: readonly string[];
  readonly path: string;
  /** Default bench-release. */
  readonly name?: string;
}

export async function writeArtifact(order: WriteOrder, signal: AbortSignal): Promise<void> {
  const args = [
    'write',
    'module-image',
    '-T',
    order.payloadType,
    '-t',
    DEVICE_TYPE,
    '-n',
    order.name ?? 'bench-release',
    '--compression',
    // Its name in Debian's version; what it writes is called data/0000.tar.xz.
    order.compression === 'xz' ? 'lzma' : order.compression,
    '-o',
    order.path,
    ...order.files.flatMap((file) => ['-f', file]),
    ...order.scripts.flatMap((script) => ['-s', script]),
  ];
  await run('mender-artifact', args, { signal });
}

async function writePayload(path: string, plan: ArtifactPlan): Promise<void> {
  const file = await open(path, 'w');
  try {
    // A key stream: random to every compressor, and the same on every run.
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16));
    const random = (bytes: number): Buffer => cipher.update(Buffer.alloc(bytes));
    for (let mib = 0; mib < plan.sizeMib; mib++) {
      await writeAll(file, plan.compression === 'none' ? random(MIB) : text(random(MIB / 4)));
    }
  } finally {
    await file.close();
  }
}

const WORDS = [
  'kernel',
  'systemd',
  'update',
  'started',
  'device',
  'eth0',
  'session',
  'opened',
  'for',
  'user',
];

/** 1 MiB of lines; every fourth byte of it stems from `random`, the rest is words. */
function text(random: Buffer): Buffer {
  const out = Buffer.alloc(MIB);
  for (let at = 0, used = 0; at < MIB; used += 16) {
    const words = Array.from({ length: 4 }, (_, index) => WORDS[random[used + index]! % WORDS.length]!);
    const line = `${words.join(' ')}: ${random.toString('base64', used, used + 12)}\n`;
    at += out.write(line, at, 'latin1');
  }
  return out;
}

async function writeAll(file: FileHandle, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) at += (await file.write(bytes, at)).bytesWritten;
}
