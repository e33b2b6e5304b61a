declare const HOLDPOINT_VERSION: string | undefined;

/** Of the package; the build puts it in. */
export const VERSION = typeof HOLDPOINT_VERSION === 'string' ? HOLDPOINT_VERSION : '0.0.0-checkout';
