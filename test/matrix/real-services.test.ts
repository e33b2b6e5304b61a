/** What services.test.ts shows with stand-ins, with the real UPower and NetworkManager. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startSystemBus } from '../support/dbusmock.ts';
import type { PrivateBus } from '../support/private-bus.ts';
import { RealNetworkManager, realServicesUnavailable, RealUPower } from '../support/real-services.ts';
import { meteredCases, powerCases } from '../integration/conditions/service-cases.ts';
import { watch, type Watched } from '../integration/conditions/support.ts';
import type { ConditionSettings } from '../../src/core/control/condition-settings.ts';

const unavailable = realServicesUnavailable();

it('are there in continuous integration', () => {
  if (process.env['CI']) expect(unavailable).toBe(null);
});

describe.skipIf(unavailable)(`the real services${unavailable === null ? '' : ` (${unavailable})`}`, () => {
  let bus: PrivateBus;
  let watched: Watched | null = null;

  beforeAll(async () => {
    bus = await startSystemBus();
  });

  afterAll(async () => {
    await bus.dispose();
  });

  afterEach(() => {
    watched?.stop();
    watched = null;
  });

  function start(settings: Partial<ConditionSettings>): Watched {
    watched = watch(settings, { address: bus.address });
    return watched;
  }

  describe('UPower', () => {
    let service: RealUPower;

    beforeEach(async () => {
      service = new RealUPower(bus.address);
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
      service = new RealNetworkManager(bus.address);
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
