/** A state file: refused as damage, or a state that the service can start with and go on from. */
import { isDeepStrictEqual } from 'node:util';
import { decodeRecord, encodeRecord } from '../../../src/adapters/store/record.ts';
import { documentOf, parseStateDocument } from '../../../src/adapters/store/state-document.ts';
import { UpdateError } from '../../../src/core/errors.ts';
import { snapshotOf } from '../../../src/core/snapshot.ts';
import { transition } from '../../../src/core/transition.ts';
import { FlowSimulator, SERVER_SETTINGS } from '../../support/flow-simulator.ts';
import { goTo } from '../../support/flow-steps.ts';
import { FLOW_STEPS } from '../../../src/core/state.ts';
import { demand, type FuzzTarget } from '../target.ts';

export const target: FuzzTarget = {
  maxBytes: 64 * 1024,
  isJson: true,
  dictionary: [
    ...FLOW_STEPS,
    'ArtifactInstall_Enter',
    'ArtifactReboot_Enter',
    'pause',
    'bound',
    'timed',
    'continue',
    'fail',
  ],
  // The document alone: `run` wraps it, so that a change gets behind the check sum.
  seeds: () =>
    FLOW_STEPS.map((step) => {
      const simulator = new FlowSimulator({ settings: SERVER_SETTINGS }).boot();
      goTo(simulator, step);
      return Buffer.from(JSON.stringify(documentOf(simulator.state)));
    }),
  run(input) {
    // As it stands, a file with any first line; then the document behind a header that fits.
    refusable(() => void decodeRecord(input));
    const state = refusable(() => parseStateDocument(decodeRecord(encodeRecord(1, input)).value).state);
    if (state === null) return;
    // What was believed must carry the service.
    const event = { at: { wallMs: 1e12, bootMs: 1e6 }, nonce: 'f'.repeat(32) };
    const { settings } = state;
    const started = {
      ...event,
      kind: 'ServiceStarted',
      bootId: 'another',
      settings,
      bootstrap: null,
    } as const;
    const first = transition(state, started);
    snapshotOf(first.state, event.at);
    const later = transition(first.state, { ...event, kind: 'AlarmRang' });
    const document = JSON.parse(JSON.stringify(documentOf(later.state))) as unknown;
    demand(isDeepStrictEqual(parseStateDocument(document), document), () => 'cannot be stored as it is');
  },
};

function refusable<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof UpdateError) || error.kind === 'internal') throw error;
    return null;
  }
}
