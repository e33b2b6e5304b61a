/** Run as a program with one artifact: prints its verdict and by how much the process grew while judging it. */
import { createReadStream } from 'node:fs';
import { codeOf, judgeChunks } from './artifact-verdict.ts';

const path = process.argv[2] ?? '';
globalThis.gc?.();
const before = process.memoryUsage.rss();
let peak = before;
async function* watched(): AsyncGenerator<Uint8Array> {
  for await (const chunk of createReadStream(path)) yield chunk as Uint8Array;
}
const timer = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 1);
const verdict = await judgeChunks(watched());
clearInterval(timer);
peak = Math.max(peak, process.memoryUsage.rss());
process.stdout.write(JSON.stringify({ code: codeOf(verdict), growthBytes: peak - before }));
