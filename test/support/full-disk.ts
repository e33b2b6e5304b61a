/** Fills the file system of a folder to the last byte, with a file that can be removed again. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';

/** Path of the file that takes all the room. */
export async function fillDisk(directory: string): Promise<string> {
  const path = join(directory, 'filler');
  const file = await open(path, 'w');
  try {
    for (;;) await file.write(Buffer.alloc(4096, 1));
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  } finally {
    await file.close();
  }
  return path;
}
