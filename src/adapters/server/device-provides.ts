/** What the device says it is when it asks for a deployment. Source: spec/server-api.md section 4.1. */
import type { Installed } from '../../core/artifact.ts';

export interface DeviceDescription {
  readonly installed: Installed;
  /** '' = unknown: no deployment can be asked for, the inventory is sent without it. */
  readonly deviceType: string;
}

/** A flat object with its keys sorted; the device's own facts win over equally named provides. */
export function deviceProvides({
  installed,
  deviceType,
}: DeviceDescription): Readonly<Record<string, string>> {
  const all: readonly (readonly [string, string])[] = [
    ...Object.entries(installed.provides),
    ['artifact_name', installed.artifactName],
    ...(installed.artifactGroup === '' ? [] : [['artifact_group', installed.artifactGroup] as const]),
    ['device_type', deviceType],
  ];
  const sorted = [...new Map(all)].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted);
}
