import type { HoldPoint } from './hold-point.ts';

/**
 * Who may what: the words for it. How a caller is identified and what each call needs is the D-Bus adapter's matter.
 * Source: design/dbus-api.md section 6.
 */

/** What a right is given for; with the prefix `io.holdpoint.update1.` the id of a polkit action. Public names. */
export const ACCESS_ACTIONS = [
  'check',
  'enable',
  'continue',
  'hold',
  'abort',
  'override',
  'install',
  'install-untrusted',
  'inspect',
  'rollback',
  'health',
  'control-map',
  'read-log',
] as const;
export type AccessAction = (typeof ACCESS_ACTIONS)[number];

export function isAccessAction(text: string): text is AccessAction {
  return (ACCESS_ACTIONS as readonly string[]).includes(text);
}

/** The actions that are done at a hold point, so that a right to them can be limited to some points. */
export const POINT_ACTIONS: readonly AccessAction[] = [
  'continue',
  'hold',
  'abort',
  'override',
  'rollback',
  'health',
];

/** One line of the access table: any of these users and groups may do any of these actions. */
export interface AccessRule {
  /** Names, or numbers for those whom this device has no name for. */
  readonly users: readonly (string | number)[];
  readonly groups: readonly (string | number)[];
  readonly actions: readonly AccessAction[];
  /** null = everywhere. Otherwise only what concerns these points and no other. */
  readonly points: readonly HoldPoint[] | null;
}

/**
 * `auto`: ask polkit for what the table does not allow; a device without polkit has the table alone. `required`: the
 * same, but without polkit on the bus nobody but root may do anything. `off`: the table alone.
 */
export const POLKIT_MODES = ['auto', 'required', 'off'] as const;
export type PolkitMode = (typeof POLKIT_MODES)[number];

export interface AccessSettings {
  readonly polkit: PolkitMode;
  /** Allow only; whom no rule allows may still be allowed by polkit. */
  readonly rules: readonly AccessRule[];
}

/** What holds until the configuration has rules of its own. A group that does not exist has no members. */
export const DEFAULT_ACCESS: AccessSettings = {
  polkit: 'auto',
  rules: [
    {
      users: [],
      groups: ['holdpoint'],
      actions: ['check', 'continue', 'hold', 'abort', 'inspect'],
      points: null,
    },
  ],
};
