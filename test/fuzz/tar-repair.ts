/** Makes archives whole again after a change at random: check values of tar headers, and the sums of a manifest. */
import { createHash } from 'node:crypto';

const BLOCK = 512;

interface Member {
  readonly name: string;
  readonly content: Buffer;
}

/** Puts right the check value of each header, in place; what the archive then holds. */
export function repairTar(bytes: Buffer): readonly Member[] {
  const members: Member[] = [];
  for (let at = 0; at + BLOCK <= bytes.length;) {
    const header = bytes.subarray(at, at + BLOCK);
    if (header.every((byte) => byte === 0)) break;
    header.fill(32, 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    const size = Number.parseInt(header.toString('latin1', 124, 136), 8);
    const length = Number.isSafeInteger(size) && size >= 0 ? size : 0;
    const start = at + BLOCK;
    members.push({
      name: header.toString('latin1', 0, 100).replace(/\0.*/s, ''),
      content: bytes.subarray(start, start + length),
    });
    at = start + Math.ceil(length / BLOCK) * BLOCK;
  }
  return members;
}

/** Headers of the artifact and of the archives in it that are not compressed, then the sums of its manifest. */
export function repairArtifact(input: Uint8Array): Uint8Array {
  const bytes = Buffer.from(input);
  const members = repairTar(bytes);
  const contents = new Map<string, Buffer>();
  for (const { name, content } of members) {
    contents.set(name, content);
    if (name === 'header.tar') repairTar(content);
    if (name !== 'data/0000.tar') continue;
    for (const file of repairTar(content)) contents.set(`data/0000/${file.name}`, file.content);
  }
  const manifest = contents.get('manifest');
  if (manifest === undefined) return bytes;
  let at = 0;
  for (const line of manifest.toString('latin1').split('\n')) {
    const content = contents.get(line.slice(66));
    const isLine = /^[0-9a-f]{64} {2}/.test(line);
    if (isLine && content) manifest.write(createHash('sha256').update(content).digest('hex'), at, 'latin1');
    at += line.length + 1;
  }
  return bytes;
}
