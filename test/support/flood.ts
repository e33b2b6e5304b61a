import { resolve } from 'node:path';
import { runTool } from './bus-tools.ts';

export interface FloodResult {
  readonly calls: number;
  readonly seconds: number;
  /** By error name; '' = replies. */
  readonly answers: Readonly<Record<string, number>>;
}

export interface FloodCall {
  /** Behind `io.holdpoint.Update1`: '' or for example `.History`. */
  readonly suffix: string;
  readonly member: string;
  /** GVariant text; '' = none. */
  readonly args: string;
}

/**
 * Floods the service from a process of its own; resolves when that has ended and every call has been answered.
 * `perSecond` 0 = as fast as the service answers.
 */
export async function flood(
  address: string,
  { seconds, perSecond }: { readonly seconds: number; readonly perSecond: number },
  { suffix, member, args }: FloodCall,
): Promise<FloodResult> {
  const result = await runTool(
    '/usr/bin/python3',
    [resolve('test/support/flood.py'), String(seconds), String(perSecond), suffix, member, args],
    { timeoutMs: (seconds + 60) * 1000 },
    { DBUS_SYSTEM_BUS_ADDRESS: address },
  );
  if (result.status !== 0) throw new Error(`the flood ended with ${result.status}: ${result.stderr}`);
  return JSON.parse(result.stdout) as FloodResult;
}
