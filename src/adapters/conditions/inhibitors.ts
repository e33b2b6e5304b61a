/**
 * Whoever has asked logind not to shut down or reboot (systemd-inhibit --what=shutdown --mode=block). Source:
 * org.freedesktop.login1(5), ListInhibitors; design/faults.md R40.
 *
 * No logind means no inhibitors. No bus means the same after half a minute: nobody can be asked, and a rollback must
 * reboot also when it was the update that broke the bus (design/faults.md R23).
 */
import { createHash } from 'node:crypto';
import { defer, map, type Observable } from 'rxjs';
import { MAX_UNMET } from '../../core/control/condition.ts';
import { CALL_TIMEOUT_MS, malformed, propertyChanges, watchRemote$ } from './bus.ts';
import { bounded, finding, notKnown, type Finding } from './finding.ts';
import type { RemoteDeps } from './power.ts';

const NAME = 'org.freedesktop.login1';
const LOGIND = { name: NAME, path: '/org/freedesktop/login1', interface: `${NAME}.Manager` };
/** logind's own limit (InhibitorsMax) is 8192; what is more than is ever shown is not worth the work. */
const MAX_READ = 4 * MAX_UNMET;
export const BUS_PATIENCE_MS = 30_000;

interface Inhibitor {
  readonly what: string;
  readonly who: string;
  readonly why: string;
  readonly uid: number;
  readonly pid: number;
}

/** Never completes, never fails. Equal findings are repeated. `ownPid`: of which inhibitors do not count. */
export function inhibitors$(deps: RemoteDeps, ownPid: number = process.pid): Observable<readonly Finding[]> {
  return defer(() => {
    let unreachableSinceMs: number | null = null;
    return watchRemote$({
      ...deps,
      name: NAME,
      // At each coming and going of an inhibitor logind announces BlockInhibited, changed or not.
      signals: [propertyChanges(LOGIND)],
      read: () => readInhibitors(deps, ownPid),
    }).pipe(
      map((reading): readonly Finding[] => {
        const { bootMs } = deps.clock.now();
        if (reading.kind !== 'unreachable') unreachableSinceMs = null;
        else unreachableSinceMs ??= bootMs;
        if (reading.kind === 'known') return findingsOf(reading.value);
        if (reading.kind === 'absent') return [];
        if (unreachableSinceMs !== null && bootMs - unreachableSinceMs >= BUS_PATIENCE_MS) return [];
        return [notKnown('inhibitor', 'logind', { isSkippable: false, message: reading.message })];
      }),
    );
  });
}

async function readInhibitors(deps: RemoteDeps, ownPid: number): Promise<readonly Inhibitor[]> {
  const { name: destination, path, interface: interfaceName } = LOGIND;
  const call = { destination, path, interface: interfaceName, member: 'ListInhibitors' };
  const [rows] = await deps.bus.call(call, CALL_TIMEOUT_MS);
  if (!Array.isArray(rows)) throw malformed('the list of inhibitors', rows);
  const found: Inhibitor[] = [];
  for (const row of rows) {
    if (!Array.isArray(row) || row.length < 6) throw malformed('an inhibitor', row);
    const [what, who, why, mode, uid, pid] = row as readonly unknown[];
    if (mode !== 'block' || !String(what).split(':').includes('shutdown')) continue;
    if (pid === ownPid) continue;
    found.push({
      what: String(what),
      who: String(who),
      why: String(why),
      uid: Number(uid),
      pid: Number(pid),
    });
    if (found.length === MAX_READ) break;
  }
  return found;
}

function findingsOf(inhibitors: readonly Inhibitor[]): readonly Finding[] {
  const seen = new Map<string, number>();
  const findings = inhibitors.map(({ what, who, why, uid, pid }) => {
    const hash = createHash('sha256').update(JSON.stringify([what, who, why, uid, pid]));
    const key = `inhibitor:${pid}:${hash.digest('hex').slice(0, 12)}`;
    // One process may take the same lock twice; only when both are gone is it gone.
    const times = (seen.get(key) ?? 0) + 1;
    seen.set(key, times);
    return finding('inhibitor', 'shutdown-inhibited', {
      id: times === 1 ? key : `${key}:${times}`,
      owner: bounded(who),
      isSkippable: false,
      details: { why: bounded(why), uid, pid },
    });
  });
  // logind keeps them in a hash table: an order of our own keeps equal lists equal.
  return findings.sort((one, other) => (one.id < other.id ? -1 : 1));
}
