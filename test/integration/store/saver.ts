/** Child process of the kill test: saves 1, 2, 3, … and prints each number once its save has resolved. */
import { writeSync } from 'node:fs';
import { FileStore } from '../../../src/adapters/store/file-store.ts';
import { parseTestDocument, testDocument } from './document.ts';

const directory = process.argv[2];
if (directory === undefined) throw new Error('usage: saver DIRECTORY');
const store = new FileStore({ directory, name: 'state', parse: parseTestDocument });
const { document } = await store.load();
for (let count = (document?.count ?? 0) + 1; ; count++) {
  await store.save(testDocument(count, 200 + (count % 50) * 500));
  writeSync(1, `${count}\n`);
}
