/** Control maps of programs and of the server: never throws, and what is accepted means the same when written again. */
import { controlMapJson, parseControlMap, parseServerMap } from '../../../src/core/control/control-map.ts';
import { insertMap } from '../../../src/core/control/map-pool.ts';
import { demand, type FuzzTarget } from '../target.ts';

const ID = '01234567-89ab-cdef-0123-456789abcdef';

export const target: FuzzTarget = {
  maxBytes: 72 * 1024,
  isJson: true,
  dictionary: [
    'id',
    'ID',
    'priority',
    'states',
    'States',
    'action',
    'on_map_expire',
    'on_action_executed',
    'ArtifactInstall_Enter',
    'ArtifactReboot_Enter',
    'ArtifactCommit_Enter',
    'pause',
    'continue',
    'fail',
    'force_continue',
    'null',
    ID,
  ],
  seeds: () =>
    [
      { id: ID, priority: 3, states: { ArtifactInstall_Enter: { action: 'pause', on_map_expire: 'fail' } } },
      { id: ID, states: { ArtifactReboot_Enter: { action: 'fail', on_action_executed: 'continue' } } },
      { id: ID, priority: -1, states: {} },
    ].map((map) => Buffer.from(JSON.stringify(map))),
  run(input) {
    const text = Buffer.from(input).toString('utf8');
    const local = parseControlMap(text);
    if (local.kind === 'map') {
      const again = parseControlMap(controlMapJson(local.map));
      demand(
        again.kind === 'map' && JSON.stringify(again.map) === JSON.stringify(local.map),
        () => `means another thing when it is written again: ${JSON.stringify(local.map)}`,
      );
      const { priority, states } = local.map;
      demand(Number.isInteger(priority) && Math.abs(priority) <= 10, () => `priority ${priority}`);
      if (Object.keys(states).length > 0) {
        const times = { nowWallMs: 0, nowBootMs: 0, lifetimeMs: 1_000 };
        demand(
          insertMap([], local.map, { origin: 'local', uid: 0, ...times }) !== null,
          () => 'not taken in',
        );
      }
    } else if (local.kind === 'invalid') {
      demand(!/[\n\0]/.test(local.message), () => 'a complaint of several lines');
    }
    const served = parseServerMap(text, ID);
    if (served.kind === 'map') {
      demand(served.map.id === ID, () => `a map of ${served.map.id}`);
      JSON.parse(text);
    }
  },
};
