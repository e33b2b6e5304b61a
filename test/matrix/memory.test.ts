/** As test/faults/memory.test.ts, whole: R29 of design/faults.md. */
import { describe, it } from 'vitest';
import { installWithin } from '../faults/memory.ts';

describe('64 MiB of memory (R29)', () => {
  it('are enough for an artifact of 2 GiB', () => installWithin(2 * 1024 ** 3, 500_000));
});
