/**
 * Which traces are replayed, and which lanes of which trace each replay is compared in. Where the C++ client has a trace it
 * is the reference for requests, bodies, module calls and scripts; the Go client is it for control maps, gates, the bus and
 * pause statuses, and for the faults that only it has a trace of.
 */
import type { Lane } from './canon.ts';
import type { ReplayOptions } from './replay.ts';

export interface Scenario {
  readonly name: string;
  /** The trace whose server, settings and calls are repeated. */
  readonly driving: string;
  readonly references: readonly { readonly trace: string; readonly lanes: readonly Lane[] }[];
  readonly options?: ReplayOptions;
  /** The device's own time decides, so nothing else may run beside it. */
  readonly isTimed?: true;
}

const cpp = (name: string): string => `mender-cpp-5.1-${name}`;
const go = (name: string): string => `mender-go-3.4-${name}`;
const flowOf = (trace: string, name: string): Scenario => ({
  name,
  driving: trace,
  references: [{ trace, lanes: ['flow'] }],
});
const gatesOf = (name: string, options: ReplayOptions = {}): Scenario => ({
  name,
  driving: go(name),
  references: [{ trace: go(name), lanes: ['gates', 'bus'] }],
  options,
});

export const SCENARIOS: readonly Scenario[] = [
  ...[
    'success',
    'success-plain',
    'auth-rejected-twice',
    'next-500',
    'token-expired',
    'v1-only',
    'wrong-device-type',
    'install-failure-rollback',
    'install-failure-no-rollback',
    'commit-failure-rollback',
  ].map((name) => flowOf(cpp(name), name)),
  {
    name: 'already-installed',
    driving: cpp('already-installed'),
    references: [
      { trace: cpp('already-installed'), lanes: ['flow'] },
      // Here the Go client is followed : already-installed is reported, and nothing done.
      { trace: go('already-installed'), lanes: ['flow'] },
    ],
  },
  flowOf(go('aborted-409'), 'aborted-409'),
  flowOf(go('status-500'), 'status-500'),
  {
    name: 'server-map-pause-continue',
    driving: go('server-map-pause-continue'),
    references: [
      { trace: cpp('server-map-pause-continue'), lanes: ['flow'] },
      { trace: go('server-map-pause-continue'), lanes: ['gates', 'bus'] },
    ],
  },
  gatesOf('pause-continue'),
  gatesOf('pause-fail'),
  // The map lives 6 s, and the device has to be at the gate before its end.
  { ...gatesOf('pause-expire'), isTimed: true },
  // Ours waits on, until the map expires: it is enough to see that it does.
  gatesOf('pause-executed-continue', { endsAtStatus: 'pause_before_installing' }),
  { name: 'dbus', driving: go('dbus'), references: [{ trace: go('dbus'), lanes: ['bus'] }] },
];

/** Traces that lie beside the others and are not compared, and why. */
export const NOT_COMPARED: Readonly<Record<string, string>> = {
  [go('download-resume')]:
    'an interrupted download is not resumed yet (src/adapters/source/url-source.ts); compare it as soon as it is',
};
