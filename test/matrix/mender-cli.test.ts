import { afterAll, beforeAll, describe, it } from 'vitest';
import { CASE_NAMES, compareCase, openShelf, type OpenShelf } from '../integration/mender-cli/comparison.ts';
import { whyNoTwins } from '../integration/mender-cli/twins.ts';

/** The command `mender` beside Debian's `mender` 3.4: every case. */
const reason = await whyNoTwins();
if (reason !== null) console.warn(`Debian's mender cannot be run here: ${reason}`);

describe.skipIf(reason !== null)('mender beside mender 3.4', () => {
  let shelf: OpenShelf;
  beforeAll(async () => {
    shelf = await openShelf();
  });
  afterAll(() => shelf.close());

  it.each(Object.values(CASE_NAMES).flat())('%s', (name) => compareCase(name, shelf));
});
