/** Watches the condition scripts for one point: all of them again and again, a few at a time. */
import { concat, defer, EMPTY, from, map, mergeMap, Observable, of, repeat } from 'rxjs';
import type { ScriptRule } from '../../core/control/condition-settings.ts';
import type { HoldPoint } from '../../core/hold-point.ts';
import type { Log } from '../../ports/log.ts';
import { findScripts, MAX_SCRIPTS, type FoundScript } from './find-scripts.ts';
import type { Finding } from './finding.ts';
import { LONGEST_END_MS, NOT_MET, runScript, type ScriptDeps } from './run-script.ts';

const AT_ONCE = 4;

export interface ScriptsOptions extends ScriptDeps {
  /** conditions.d; looked at anew in each round. */
  readonly folder: string;
}

/** By then every script has ended or been given up, however many there are. */
export function longestRoundMs(rule: ScriptRule): number {
  return Math.ceil(MAX_SCRIPTS / AT_ONCE) * (rule.timeoutSeconds * 1000 + LONGEST_END_MS);
}

/**
 * First when every script has ended once; later after each script. Never completes. Unsubscribing ends the process
 * groups that are running.
 */
export function scripts$(
  point: HoldPoint,
  rule: ScriptRule,
  options: ScriptsOptions,
): Observable<readonly Finding[]> {
  return defer(() => {
    let isFirstRound = true;
    let known: ReadonlyMap<string, Finding | null> = new Map();
    const told = new Set<string>();
    const list = (): readonly Finding[] => [...known.values()].filter((one) => one !== null);

    const round$ = defer(() => findScripts(options.folder)).pipe(
      mergeMap(({ scripts, ignored }) => {
        for (const name of ignored.filter((one) => !told.has(one))) {
          told.add(name);
          options.log.warn('A file among the condition scripts is not executable and is ignored', { name });
        }
        // Of scripts that are gone nothing is kept, and the order is that of the names.
        known = new Map(scripts.map(({ name }) => [name, known.get(name) ?? null]));
        const runs$ = from(scripts).pipe(
          mergeMap((script) => run$(script, point, rule, options), AT_ONCE),
          mergeMap(([name, outcome]) => {
            complain(options.log, known.get(name) ?? null, outcome);
            known = new Map([...known].map(([key, value]) => [key, key === name ? outcome : value]));
            return isFirstRound ? EMPTY : of(list());
          }),
        );
        const end$ = defer(() => {
          isFirstRound = false;
          return of(list());
        });
        return concat(runs$, end$);
      }),
    );
    return round$.pipe(repeat({ delay: () => options.clock.timer(rule.intervalSeconds * 1000) }));
  });
}

/** Once for as long as a script does not work in the same way; one that only says no is nothing to log. */
function complain(log: Log, before: Finding | null, outcome: Finding | null): void {
  if (outcome === null || outcome.reasonCode === NOT_MET || outcome.reasonCode === before?.reasonCode) return;
  log.warn('A condition script does not work, which counts as not met', {
    script: outcome.owner,
    reasonCode: outcome.reasonCode,
    // Not by its own name: the logger would glue it to the sentence.
    errorMessage: outcome.details['message'],
    exitStatus: outcome.details['exit-status'],
  });
}

/** Cancelled with the subscription. */
function run$(
  script: FoundScript,
  point: HoldPoint,
  rule: ScriptRule,
  deps: ScriptDeps,
): Observable<readonly [name: string, outcome: Finding | null]> {
  return new Observable<Finding | null>((subscriber) => {
    const controller = new AbortController();
    void runScript(script, point, rule, deps, controller.signal).then((outcome) => {
      subscriber.next(outcome);
      subscriber.complete();
    });
    return () => controller.abort();
  }).pipe(map((outcome) => [script.name, outcome] as const));
}
