import { busctl } from './bus-tools.ts';

/** What the daemon keeps for one of its clients, from org.freedesktop.DBus.Debug.Stats (root only). */
export interface ClientStats {
  readonly matchRules: number;
  readonly incomingBytes: number;
  readonly outgoingBytes: number;
}

export async function clientStats(address: string, name: string): Promise<ClientStats> {
  const result = await busctl(address, [
    '--json=short',
    'call',
    'org.freedesktop.DBus',
    '/org/freedesktop/DBus',
    'org.freedesktop.DBus.Debug.Stats',
    'GetConnectionStats',
    's',
    name,
  ]);
  if (result.status !== 0) throw new Error(`statistics of ${name}: ${result.stderr}`);
  const [stats] = (JSON.parse(result.stdout) as { data: [Record<string, { data: number }>] }).data;
  const figure = (key: string): number => {
    const value = stats[key]?.data;
    if (value === undefined) throw new Error(`found no ${key} in ${Object.keys(stats).join(', ')}`);
    return value;
  };
  return {
    matchRules: figure('MatchRules'),
    incomingBytes: figure('IncomingBytes'),
    outgoingBytes: figure('OutgoingBytes'),
  };
}
