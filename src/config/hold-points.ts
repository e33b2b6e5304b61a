/** `Points` of holdpoint.json → the policy the core knows. Keys: schema.ts. */
import { UpdateError } from '../core/errors.ts';
import {
  DEFAULT_HOLD_POINT_POLICY,
  HOLD_POINTS,
  type HoldPointPolicy,
  type HoldPointSettings,
} from '../core/hold-point.ts';
import type { Layers } from './layers.ts';
import type { HOLDPOINT_RULES } from './schema.ts';

/**
 * Throws (kind `config`) when a consent is required without saying what silence means: it must never be an answer
 * by accident. Source: design/compatibility.md "Ends of waits".
 */
export function holdPointPolicy(layers: Layers<typeof HOLDPOINT_RULES>, warnings: string[]): HoldPointPolicy {
  const entries = HOLD_POINTS.map((point): [string, HoldPointSettings] => {
    const base = DEFAULT_HOLD_POINT_POLICY[point];
    const consent = layers.get(`Points.${point}.consent`) ?? base.consent;
    const onExpire = layers.get(`Points.${point}.on-expire`);
    const timeoutSeconds = layers.get(`Points.${point}.timeout`);
    const ceilingSeconds = layers.get(`Points.${point}.ceiling`) ?? base.ceilingSeconds;
    if (consent === 'required' && onExpire === undefined) {
      throw new UpdateError(
        'config',
        `Points.${point}: consent is required but on-expire is not given; ` +
          'say "continue", "fail" or "keep-waiting" for the case that nobody answers',
        { details: { key: `Points.${point}.on-expire` } },
      );
    }
    if (consent === 'none' && (onExpire !== undefined || timeoutSeconds !== undefined)) {
      warnings.push(`Points.${point}: timeout and on-expire have no effect without "consent": "required"`);
    }
    if (consent === 'required' && ceilingSeconds > 0 && (timeoutSeconds ?? 0) > ceilingSeconds) {
      warnings.push(
        `Points.${point}: the timeout of ${timeoutSeconds} seconds is never reached, the ceiling ends the wait after ${ceilingSeconds}`,
      );
    }
    return [
      point,
      {
        consent,
        consentTimeoutSeconds: timeoutSeconds ?? base.consentTimeoutSeconds,
        onExpire: onExpire ?? base.onExpire,
        ceilingSeconds,
        onCeiling: layers.get(`Points.${point}.on-ceiling`) ?? base.onCeiling,
      },
    ];
  });
  return Object.fromEntries(entries) as Record<(typeof HOLD_POINTS)[number], HoldPointSettings>;
}
