/**
 * Enough power to update: mains, and a battery that is full enough. Source of the meanings: UPower's
 * org.freedesktop.UPower and org.freedesktop.UPower.Device.
 */
import { map, type Observable } from 'rxjs';
import type { PowerRule } from '../../core/control/condition-settings.ts';
import type { Details } from '../../core/errors.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import {
  malformed,
  propertyChanges,
  readProperties,
  watchRemote$,
  type ConditionBus,
  type Reading,
} from './bus.ts';
import { finding, notKnown, type Finding } from './finding.ts';

export interface RemoteDeps {
  readonly bus: ConditionBus;
  readonly clock: Clock;
  readonly log: Log;
}

const NAME = 'org.freedesktop.UPower';
const UPOWER = { name: NAME, path: '/org/freedesktop/UPower', interface: NAME };
const DISPLAY_DEVICE = {
  name: NAME,
  path: '/org/freedesktop/UPower/devices/DisplayDevice',
  interface: 'org.freedesktop.UPower.Device',
};
/** Source: UPower, Device.Type. */
const BATTERY_TYPES: readonly unknown[] = [2, 3];
/** Source: UPower, Device.State. */
const BATTERY_STATES = [
  'unknown',
  'charging',
  'discharging',
  'empty',
  'fully-charged',
  'pending-charge',
  'pending-discharge',
];

interface Power {
  readonly isOnBattery: boolean;
  /** null = there is none. */
  readonly battery: { readonly percent: number; readonly state: string } | null;
}

/** Never completes, never fails. Equal findings are repeated. */
export function power$(rule: PowerRule, deps: RemoteDeps): Observable<readonly Finding[]> {
  return watchRemote$({
    ...deps,
    name: NAME,
    signals: [propertyChanges(UPOWER), propertyChanges(DISPLAY_DEVICE)],
    read: () => readPower(deps.bus),
  }).pipe(map((reading) => judge(rule, reading)));
}

async function readPower(bus: ConditionBus): Promise<Power> {
  const [upower, device] = await Promise.all([
    readProperties(bus, UPOWER),
    readProperties(bus, DISPLAY_DEVICE),
  ]);
  const isOnBattery = upower.get('OnBattery');
  if (typeof isOnBattery !== 'boolean') throw malformed('OnBattery of UPower', isOnBattery);
  const isPresent = device.get('IsPresent') === true && BATTERY_TYPES.includes(device.get('Type'));
  if (!isPresent) return { isOnBattery, battery: null };
  const percent = device.get('Percentage');
  if (typeof percent !== 'number') throw malformed('Percentage of the battery', percent);
  const state = BATTERY_STATES[Number(device.get('State'))] ?? 'unknown';
  return { isOnBattery, battery: { percent, state } };
}

function judge(rule: PowerRule, reading: Reading<Power>): readonly Finding[] {
  const { isSkippable, minBatteryPercent } = rule;
  if (reading.kind !== 'known') {
    if (reading.kind === 'absent' && rule.assumesMainsWithoutUPower) return [];
    return [notKnown('power', 'upower', { isSkippable, message: reading.message })];
  }
  const { isOnBattery, battery } = reading.value;
  const details: Details =
    battery === null
      ? {}
      : { 'battery-percent': Math.round(battery.percent), 'battery-state': battery.state };
  if (rule.isMainsRequired && isOnBattery) {
    return [finding('power', 'on-battery', { isSkippable, details })];
  }
  if (minBatteryPercent !== null && battery !== null && battery.percent < minBatteryPercent) {
    const asked = { ...details, 'min-battery-percent': minBatteryPercent };
    return [finding('power', 'battery-low', { isSkippable, details: asked })];
  }
  return [];
}
