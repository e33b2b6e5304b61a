import { expect, it } from 'vitest';
import { FLOW_STEPS } from '../../../src/core/state.ts';
import { cutCases, NOT_CUT } from '../../boot/support/cases.ts';

it('cuts the power of a machine at every step that is stored, or says why not', () => {
  const cut = new Set(cutCases().flatMap((one) => (one.cut?.kind === 'entered' ? [one.cut.step] : [])));
  for (const step of FLOW_STEPS) {
    expect(cut.has(step) !== step in NOT_CUT, step).toBe(true);
  }
});
