import { readFileSync } from 'node:fs';
import { parseInterfaceXml, type InterfaceTable } from './xml-table.ts';

/** Names of our object. Source: design/dbus-api.md section 2. */
export const HOLDPOINT_BUS_NAME = 'io.holdpoint.Update1';
export const HOLDPOINT_PATH = '/io/holdpoint/Update1';

/** The shipped XML. It lies beside this module, and a build must put it beside the bundle. Throws if it does not. */
export function loadHoldpointTable(): InterfaceTable {
  return parseInterfaceXml(readFileSync(new URL('./io.holdpoint.Update1.xml', import.meta.url), 'utf8'));
}

/** Names of the object for Mender's clients. Source: spec/dbus-mender.md section 1. */
export const MENDER_BUS_NAME = 'io.mender.UpdateManager';
export const MENDER_PATH = '/io/mender/UpdateManager';

/** As above. */
export function loadMenderTable(): InterfaceTable {
  return parseInterfaceXml(readFileSync(new URL('./io.mender.Update1.xml', import.meta.url), 'utf8'));
}

/** Names of the object that gives Mender's add-ons the device's token. Source: spec/dbus-mender.md section 1. */
export const MENDER_AUTH_BUS_NAME = 'io.mender.AuthenticationManager';
export const MENDER_AUTH_PATH = '/io/mender/AuthenticationManager';
export const MENDER_AUTH_INTERFACE = 'io.mender.Authentication1';

/** As above. */
export function loadMenderAuthTable(): InterfaceTable {
  return parseInterfaceXml(readFileSync(new URL('./io.mender.Authentication1.xml', import.meta.url), 'utf8'));
}
