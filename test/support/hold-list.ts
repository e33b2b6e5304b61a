import { busctl, TARGET } from './bus-tools.ts';
import type { Properties } from './property-watch.ts';
import type { ServiceHarness } from './service.ts';

/** `Holds` and `Blockers` as a client sees them, with names instead of positions. */
export interface ListedHold {
  readonly id: string;
  readonly lifetime: string;
  readonly points: readonly string[];
  readonly owner: string;
  readonly why: string;
  readonly uid: number;
  readonly action: string;
  readonly onExpire: string;
  /** 0 = its time does not run. */
  readonly expiresUsec: number;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface ListedBlocker {
  readonly id: string;
  readonly kind: string;
  readonly owner: string;
  readonly reasonCode: string;
  readonly details: Readonly<Record<string, unknown>>;
}

type Tagged = Readonly<Record<string, { readonly type: string; readonly data: unknown }>>;

/** Read by busctl, as anybody may. */
export async function listedHolds({ bus }: Pick<ServiceHarness, 'bus'>): Promise<readonly ListedHold[]> {
  const { name, path } = TARGET;
  const result = await busctl(bus.address, [
    '--json=short',
    'get-property',
    name,
    path,
    `${TARGET.main}.Holds`,
    'Holds',
  ]);
  if (result.status !== 0) throw new Error(`reading Holds: ${result.stderr}`);
  const { data } = JSON.parse(result.stdout) as { data: readonly (readonly unknown[])[] };
  return data.map((row) => ({
    id: row[0] as string,
    lifetime: row[1] as string,
    points: row[2] as string[],
    owner: row[3] as string,
    why: row[4] as string,
    uid: row[5] as number,
    action: row[6] as string,
    onExpire: row[7] as string,
    expiresUsec: Number(row[8]),
    details: Object.fromEntries(
      Object.entries(row[9] as Tagged).map(([key, { data: value }]) => [key, value]),
    ),
  }));
}

export function listedBlockers(seen: Properties): readonly ListedBlocker[] {
  return (seen['Blockers'] as readonly (readonly unknown[])[]).map((row) => ({
    id: row[0] as string,
    kind: row[1] as string,
    owner: row[2] as string,
    reasonCode: row[3] as string,
    details: row[4] as Record<string, unknown>,
  }));
}

export function blockerKinds(seen: Properties): readonly string[] {
  return listedBlockers(seen).map(({ kind }) => kind);
}
