import fc from 'fast-check';
import { finished } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { closeFrame, FrameStream } from '../../../../src/adapters/forwarder/web-socket-frames.ts';
import { seedFromEnvironment } from '../../../support/random.ts';
import { frameOf, OPCODE } from '../../../support/web-socket-peer.ts';

const anyFrame = fc
  .tuple(
    fc.constantFrom(OPCODE.text, OPCODE.binary, OPCODE.ping, OPCODE.pong),
    fc.oneof(fc.nat(130), fc.constantFrom(0, 125, 126, 127, 65_535, 65_536)),
    fc.boolean(),
  )
  .map(([opcode, size, isMasked]) => frameOf(opcode, Buffer.alloc(size, 0x88), isMasked));

const BYE = closeFrame(1000, 'bye', false);

/** Writes the bytes in pieces of these lengths, over and over; `at`: before which piece the end is asked for. */
async function through(
  bytes: Buffer,
  cuts: readonly number[],
  endAt: number,
): Promise<{ readonly out: Buffer; readonly closeFrames: number }> {
  const frames = new FrameStream();
  const out: Buffer[] = [];
  let closeFrames = 0;
  frames.on('data', (chunk: Buffer) => out.push(chunk)).on('closeFrame', () => (closeFrames += 1));
  let number = 0;
  for (let from = 0; from < bytes.length; number++) {
    if (number === endAt) frames.endWith(BYE);
    const size = cuts[number % cuts.length] ?? 1;
    frames.write(bytes.subarray(from, from + size));
    from += size;
  }
  frames.end();
  await finished(frames);
  return { out: Buffer.concat(out), closeFrames };
}

const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 70_000 })), {
  minLength: 1,
  maxLength: 6,
});

describe('the frames of one direction', () => {
  test('pass unchanged however they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyFrame, { maxLength: 6 }), cuts, async (frames, sizes) => {
        const bytes = Buffer.concat(frames);
        const { out, closeFrames } = await through(bytes, sizes, -1);
        expect(out.equals(bytes)).toBe(true);
        expect(closeFrames).toBe(0);
      }),
      { seed: seedFromEnvironment(), numRuns: 150 },
    );
  }, 60_000);

  test('end after a whole frame, with the close frame and nothing behind it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyFrame, { minLength: 1, maxLength: 6 }),
        cuts,
        fc.nat(10),
        async (frames, sizes, at) => {
          const { out } = await through(Buffer.concat(frames), sizes, at);
          const ends = frames.map((_frame, index) => Buffer.concat(frames.slice(0, index + 1)).length);
          const isClosed = out.subarray(-BYE.length).equals(BYE);
          const kept = isClosed ? out.length - BYE.length : out.length;
          expect([0, ...ends]).toContain(kept);
          expect(out.subarray(0, kept).equals(Buffer.concat(frames).subarray(0, kept))).toBe(true);
        },
      ),
      { seed: seedFromEnvironment(), numRuns: 150 },
    );
  }, 60_000);

  test('tell of a close frame once, also cut into bytes, and add none behind it', async () => {
    const bytes = Buffer.concat([
      frameOf(OPCODE.text, Buffer.from('x'), true),
      closeFrame(4001, 'own', true),
    ]);
    const frames = new FrameStream();
    const out: Buffer[] = [];
    let seen = 0;
    frames.on('data', (chunk: Buffer) => out.push(chunk)).on('closeFrame', () => (seen += 1));
    for (const byte of bytes) frames.write(Buffer.from([byte]));
    frames.endWith(BYE);
    frames.end();
    await finished(frames);
    expect([seen, frames.hasClosed, Buffer.concat(out).equals(bytes)]).toEqual([1, true, true]);
  });
});
