declare const HOLDPOINT_VERSION: string | undefined;

/** Of the package; the build puts it in. */
export const VERSION = typeof HOLDPOINT_VERSION === 'string' ? HOLDPOINT_VERSION : '0.0.0-checkout';

declare const HOLDPOINT_BUILT_MS: number | undefined;

/** Wall clock of the build (SOURCE_DATE_EPOCH where it is set): no true clock says less. From a checkout: 2026. */
export const BUILT_WALL_MS =
  typeof HOLDPOINT_BUILT_MS === 'number' ? HOLDPOINT_BUILT_MS : Date.UTC(2026, 0, 1);
