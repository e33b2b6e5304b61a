/** What clients were shown of how an update ended. */
import { expect } from 'vitest';
import type { Properties } from '../support/property-watch.ts';
import type { ServiceHarness } from '../support/service.ts';

export function isCommitNotStored(seen: Properties): boolean {
  return (seen['Deployment'] as { readonly notice?: string } | undefined)?.notice === 'commit-not-stored';
}

/** Neither now nor at any moment since the service was first started. */
export function expectNoResultShown(service: ServiceHarness): void {
  const shown = service.watch.changes.map(({ changed }) => changed['LastResult']);
  expect(shown.filter((result) => result !== undefined && result !== 'none')).toEqual([]);
  expect(service.watch.present()).toMatchObject({ LastResult: 'none' });
  expect(resultsAnnounced(service)).toEqual([]);
}

export function resultsAnnounced({ watch }: ServiceHarness): readonly string[] {
  return watch.signals.flatMap(({ member, args }) =>
    member === 'DeploymentFinished' ? [String(args[2])] : [],
  );
}
