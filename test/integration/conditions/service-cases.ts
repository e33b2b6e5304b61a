/** What is true of the conditions whoever the service is: the real one, or the one that stands in for it. */
import { expect, it } from 'vitest';
import type { ConditionSettings, PowerRule } from '../../../src/core/control/condition-settings.ts';
import { UPOWER, type PowerControl } from '../../support/dbusmock.ts';
import { POINT, type Watched } from './support.ts';

export interface Service {
  kill(): Promise<void>;
  start(): Promise<void>;
}

type Watch = (settings: Partial<ConditionSettings>) => Watched;

export const POWER: PowerRule = {
  points: [POINT],
  minBatteryPercent: 50,
  isMainsRequired: true,
  assumesMainsWithoutUPower: false,
  isSkippable: false,
};

/** `service` and `control` are asked for in each test: they may be new ones. */
export function powerCases(watch: Watch, service: () => Service, control: () => PowerControl): void {
  it('is met on mains with a full battery, and with no battery at all', async () => {
    await control().set({ isOnBattery: false, percent: 80 });
    const conditions = watch({ power: POWER });
    await conditions.becomes([]);
    await control().set({ isOnBattery: false, percent: null });
    await control().set({ isOnBattery: true, percent: 10 });
    await conditions.becomes(['power/on-battery']);
    await control().set({ isOnBattery: false, percent: null });
    await conditions.becomes([]);
  });

  it('follows the plug and the battery, and says how full it is', async () => {
    await control().set({ isOnBattery: true, percent: 80 });
    const conditions = watch({ power: POWER });
    await conditions.becomes(['power/on-battery']);
    const { sinceWallMs } = conditions.latest()[0]!;
    expect(conditions.latest()[0]).toEqual({
      id: 'power',
      kind: 'power',
      owner: '',
      reasonCode: 'on-battery',
      sinceWallMs,
      endsWallMs: 0,
      isSkippable: false,
      details: { 'battery-percent': 80, 'battery-state': 'discharging' },
    });
    expect(Math.abs(sinceWallMs - Date.now())).toBeLessThan(60_000);
    await control().set({ isOnBattery: false, percent: 30 });
    await conditions.becomes(['power/battery-low']);
    // Not met all along: it began then.
    expect(conditions.latest()[0]).toMatchObject({
      sinceWallMs,
      details: { 'battery-percent': 30, 'battery-state': 'charging', 'min-battery-percent': 50 },
    });
    await control().set({ isOnBattery: false, percent: 50 });
    await conditions.becomes([]);
  });

  it('does not look at the plug when only the battery matters', async () => {
    await control().set({ isOnBattery: true, percent: 51 });
    const conditions = watch({ power: { ...POWER, isMainsRequired: false } });
    await conditions.becomes([]);
    await control().set({ isOnBattery: true, percent: 49 });
    await conditions.becomes(['power/battery-low']);
  });

  it('is not known while UPower is gone, and is seen again when it comes back', async () => {
    await control().set({ isOnBattery: false, percent: 90 });
    const conditions = watch({ power: POWER });
    await conditions.becomes([]);
    await service().kill();
    await conditions.becomes(['power/not-known']);
    expect(
      conditions.log.records.some(({ level, fields }) => level === 'warn' && fields['service'] === UPOWER),
    ).toBe(true);
    await service().start();
    // The stand-in starts with mains and no battery.
    await conditions.becomes([]);
    await control().set({ isOnBattery: true, percent: 90 });
    await conditions.becomes(['power/on-battery']);
  });
}

/** Of NetworkManager: `isMetered` is what the user has said of the link; null = there is none. */
export function meteredCases(
  watch: Watch,
  service: () => Service,
  set: (isMetered: boolean | null) => Promise<void>,
): void {
  it('is waited for as long as NetworkManager calls the link metered', async () => {
    await set(false);
    const conditions = watch({ metered: { points: [POINT], isSkippable: true } });
    await conditions.becomes([]);
    await set(true);
    await conditions.becomes(['metered/metered-link']);
    expect(conditions.latest()[0]).toMatchObject({ isSkippable: true, details: { 'is-guess': false } });
    await set(false);
    await conditions.becomes([]);
    await set(true);
    await conditions.becomes(['metered/metered-link']);
    await set(null);
    await conditions.becomes([]);
  });

  it('is not known while NetworkManager is gone', async () => {
    await set(false);
    const conditions = watch({ metered: { points: [POINT], isSkippable: true } });
    await conditions.becomes([]);
    await service().kill();
    await conditions.becomes(['metered/not-known']);
    await service().start();
    await set(true);
    await conditions.becomes(['metered/metered-link']);
  });
}
