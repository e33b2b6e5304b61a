/** What services.test.ts shows with stand-ins, with the real UPower and NetworkManager. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RealNetworkManager, realServicesUnavailable, RealUPower } from '../support/real-services.ts';
import { meteredCases, powerCases } from '../integration/conditions/service-cases.ts';
import { onSystemBus } from '../integration/conditions/support.ts';

const unavailable = realServicesUnavailable();

it('are there in continuous integration', () => {
  // Whether a network of its own can be had is the machine's affair; the programs are ours to install.
  if (process.env['CI']) expect(unavailable ?? '').not.toContain('not installed');
});

describe.skipIf(unavailable)(`the real services${unavailable === null ? '' : ` (${unavailable})`}`, () => {
  const system = onSystemBus();
  const { start } = system;

  describe('UPower', () => {
    let service: RealUPower;

    beforeEach(async () => {
      service = new RealUPower(system.bus.address);
      await service.start();
    });

    afterEach(() => service.kill());

    powerCases(
      start,
      () => service,
      () => service,
    );
  });

  describe('NetworkManager', () => {
    let service: RealNetworkManager;

    beforeEach(async () => {
      service = new RealNetworkManager(system.bus.address);
      await service.start();
    });

    afterEach(() => service.kill());

    meteredCases(
      start,
      () => service,
      (isMetered) => service.set(isMetered),
    );
  });
});
