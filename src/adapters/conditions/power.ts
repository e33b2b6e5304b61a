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
  CALL_TIMEOUT_MS,
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

/** Of all kinds: mice and keyboards have batteries too. */
const MAX_DEVICES = 64;

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
  if (percent === 0 && !(await hasBattery(bus))) return { isOnBattery, battery: null };
  const state = BATTERY_STATES[Number(device.get('State'))] ?? 'unknown';
  return { isOnBattery, battery: { percent, state } };
}

/**
 * Whether a battery is in the device. UPower (0.99.20) calls the sum of all batteries present at 0 % where there are only
 * empty bays: a device on mains whose battery was taken out would wait for ever.
 */
async function hasBattery(bus: ConditionBus): Promise<boolean> {
  const { name: destination, path } = UPOWER;
  const order = { destination, path, interface: NAME, member: 'EnumerateDevices' };
  const [paths] = await bus.call(order, CALL_TIMEOUT_MS);
  if (!Array.isArray(paths)) throw malformed('the devices of UPower', paths);
  for (const one of (paths as readonly string[]).slice(0, MAX_DEVICES)) {
    const device = await readProperties(bus, { ...DISPLAY_DEVICE, path: one });
    const isSupply = device.get('PowerSupply') === true && device.get('IsPresent') === true;
    if (isSupply && BATTERY_TYPES.includes(device.get('Type'))) return true;
  }
  return false;
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
