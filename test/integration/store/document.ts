/** The document the store tests save. */
import { UpdateError } from '../../../src/core/errors.ts';

export interface TestDocument {
  readonly count: number;
  readonly filler: string;
}

export function parseTestDocument(value: unknown): TestDocument {
  if (typeof value !== 'object' || value === null) {
    throw new UpdateError('store', `found ${JSON.stringify(value)}, expected an object`);
  }
  const { count, filler } = value as Record<string, unknown>;
  if (typeof count !== 'number' || typeof filler !== 'string') {
    throw new UpdateError(
      'store',
      `found count ${typeof count}, filler ${typeof filler}, expected number and string`,
    );
  }
  return { count, filler };
}

export function testDocument(count: number, sizeBytes = 2000): TestDocument {
  return { count, filler: String(count % 10).repeat(sizeBytes) };
}
