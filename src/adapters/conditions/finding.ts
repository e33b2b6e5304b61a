/** What one look at one condition says: an unmet condition without the time it was first seen. */
import type { UnmetCondition } from '../../core/control/condition.ts';
import type { Details } from '../../core/errors.ts';
import { printable } from '../../core/printable.ts';

export type Finding = Omit<UnmetCondition, 'sinceWallMs'>;

export type FindingKind = 'window' | 'freeze' | 'power' | 'metered' | 'inhibitor' | 'script';

interface FindingFields {
  /** Default: the kind, for conditions there is one of. */
  readonly id?: string;
  readonly owner?: string;
  readonly endsWallMs?: number;
  readonly isSkippable: boolean;
  readonly details?: Details;
}

export function finding(kind: FindingKind, reasonCode: string, fields: FindingFields): Finding {
  const { id = kind, owner = '', endsWallMs = 0, isSkippable, details = {} } = fields;
  return { id, kind, owner, reasonCode, endsWallMs, isSkippable, details };
}

/** What cannot be found out counts as not met. `what` names it for logs. */
export function notKnown(
  kind: FindingKind,
  what: string,
  fields: Omit<FindingFields, 'details'> & { readonly message?: string },
): Finding {
  const { message, ...rest } = fields;
  const details = message === undefined ? { what } : { what, message: bounded(message) };
  return finding(kind, 'not-known', { ...rest, details });
}

/** Longest foreign text that is passed on. Source: design/dbus-api.md section 4, Limits. */
const MAX_TEXT = 200;

/** Foreign text as one line of at most 200 printable characters. */
export function bounded(text: string): string {
  return [...printable(text)].slice(0, MAX_TEXT).join('');
}
