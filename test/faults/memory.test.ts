/** Little memory (R29). The whole 2 GiB: test/matrix/memory.test.ts. */
import { describe, it } from 'vitest';
import { installWithin, surviveOutOfMemory } from './memory.ts';

describe('64 MiB of memory (R29)', { timeout: 120_000 }, () => {
  it('are enough for an artifact that is four times as large', () =>
    installWithin(256 * 1024 * 1024, 90_000));

  it('and more, used up by a module, cost the update and not the service', () => surviveOutOfMemory());
});
