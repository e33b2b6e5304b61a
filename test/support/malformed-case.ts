/** One numbered defect of spec/artifact.md section 12, in one or more forms. */
import type { ArtifactErrorCode } from '../../src/core/artifact-error.ts';
import type { Installed } from '../../src/core/artifact.ts';
import { buildArtifact, type ArtifactPlan } from './artifact-builder.ts';

export type KeyName = 'ec' | 'rsa' | 'other';

export interface Variant {
  readonly as: string;
  readonly code: ArtifactErrorCode | 'valid';
  /**
   * Damaged compression of a payload may come out as nonsense before it is noticed; which of the two is told first
   * depends on when pieces arrive, and is a refusal either way.
   */
  readonly mayAlsoBe?: readonly ArtifactErrorCode[];
  /** `header`: refused before there is anything to install. */
  readonly phase: 'header' | 'policy' | 'payload' | 'valid';
  readonly bytes: () => Buffer;
  readonly keys?: readonly KeyName[];
  readonly deviceType?: string | null;
  readonly installed?: Installed;
}

export interface MalformedCase {
  readonly number: number;
  readonly defect: string;
  readonly variants: readonly Variant[];
}

type Extra = Partial<Pick<Variant, 'keys' | 'deviceType' | 'installed' | 'mayAlsoBe'>>;

export const NONSENSE: Extra = { mayAlsoBe: ['damaged-tar', 'checksum-mismatch', 'unexpected-end'] };
type Make = ArtifactPlan | (() => Buffer);

function variant(
  phase: Variant['phase'],
  code: Variant['code'],
  as: string,
  make: Make,
  extra: Extra,
): Variant {
  return { as, code, phase, bytes: typeof make === 'function' ? make : () => buildArtifact(make), ...extra };
}

export function header(code: ArtifactErrorCode, as: string, make: Make, extra: Extra = {}): Variant {
  return variant('header', code, as, make, extra);
}

export function payload(code: ArtifactErrorCode, as: string, make: Make, extra: Extra = {}): Variant {
  return variant('payload', code, as, make, extra);
}

export function policy(code: ArtifactErrorCode, as: string, make: Make, extra: Extra = {}): Variant {
  return variant('policy', code, as, make, extra);
}

export function accepted(as: string, make: Make, extra: Extra = {}): Variant {
  return variant('valid', 'valid', as, make, extra);
}

export function malformed(number: number, defect: string, ...variants: readonly Variant[]): MalformedCase {
  return { number, defect, variants };
}
