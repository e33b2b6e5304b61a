/**
 * What whoever made an artifact says about it to people: release notes, and how urgent it is. The field has no place for
 * either, so they are taken from what is signed with the artifact and passes through its tools unchanged: the payload's
 * meta-data (`--meta-data FILE`), or, as `rootfs-image` has none, its provides (`--provides rootfs-image.release-notes:…`).
 */
import type { ArtifactInfo } from './artifact.ts';

export interface ReleaseFacts {
  /** Lines of text; empty = none given. */
  readonly releaseNotes: string;
  /** One word of whoever made it, as `security`; empty = none given. */
  readonly severity: string;
}

/** Goes to everybody on the bus with every change: notes, not a manual. */
export const MAX_RELEASE_NOTES = 4000;
const MAX_SEVERITY = 40;
/** Nothing that a bus refuses or that moves the cursor of a terminal. */
const UNFIT = /[\p{Cs}\p{Cf}\p{Zl}\p{Zp}]|(?!\n)\p{Cc}/gu;

export function releaseFactsOf(
  info: Pick<ArtifactInfo, 'metaDataJson' | 'payloadType' | 'provides'>,
): ReleaseFacts {
  const said = metaDataOf(info.metaDataJson);
  const find = (name: string, max: number): string => {
    const own = said[name];
    const text = typeof own === 'string' ? own : (info.provides?.[`${info.payloadType}.${name}`] ?? '');
    return [...text.replaceAll('\r\n', '\n').replaceAll(UNFIT, '').trim()].slice(0, max).join('');
  };
  return { releaseNotes: find('release-notes', MAX_RELEASE_NOTES), severity: find('severity', MAX_SEVERITY) };
}

/** Update modules define what stands there: anything is possible. */
function metaDataOf(json: string | null): Readonly<Record<string, unknown>> {
  const value: unknown = json === null ? null : JSON.parse(json);
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
