/**
 * Artifact downloads: links that expire and cannot be made by others, single ranges, and answers that let a client go
 * on where it was cut off. Source: spec/server-api.md section 9; RFC 9110 sections 13.1.5 and 14.
 */
import { createHmac } from 'node:crypto';
import { open } from 'node:fs/promises';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DownloadFault } from './faults.ts';
import { HttpError } from './http-error.ts';
import type { Exchange } from './http.ts';
import type { ArtifactRecord } from './records.ts';
import { isSameSecret } from './secrets.ts';

export const DOWNLOAD_PATH = '/api/devices/v1/deployments/download/:artifact_id';
const READ_BYTES = 256 * 1024;

export interface LinkFacts {
  readonly artifactId: string;
  readonly deploymentId: string;
  readonly deviceId: string;
  readonly expiresS: number;
}

/** Path and query. Good for GET and HEAD until it expires, for whoever has it. */
export function signedPath(facts: LinkFacts, secret: Buffer): string {
  const query = new URLSearchParams({
    deployment: facts.deploymentId,
    device: facts.deviceId,
    expire: String(facts.expiresS),
    signature: signatureOf(facts, secret),
  });
  return `${DOWNLOAD_PATH.replace(':artifact_id', facts.artifactId)}?${query.toString()}`;
}

/** Throws HttpError 403 for a link that is not ours, was changed, or has expired. */
export function readLink(
  artifactId: string,
  query: URLSearchParams,
  secret: Buffer,
  nowMs: number,
): LinkFacts {
  const expire = query.get('expire') ?? '';
  const facts: LinkFacts = {
    artifactId,
    deploymentId: query.get('deployment') ?? '',
    deviceId: query.get('device') ?? '',
    expiresS: /^\d{1,12}$/.test(expire) ? Number(expire) : 0,
  };
  if (!isSameSecret(query.get('signature') ?? '', signatureOf(facts, secret))) {
    throw new HttpError(403, 'the signature of the link is wrong');
  }
  if (facts.expiresS * 1000 <= nowMs) throw new HttpError(403, 'the link has expired');
  return facts;
}

function signatureOf({ artifactId, deploymentId, deviceId, expiresS }: LinkFacts, secret: Buffer): string {
  const text = JSON.stringify([artifactId, deploymentId, deviceId, expiresS]);
  return createHmac('sha256', secret).update(text).digest('base64url');
}

export type RangeVerdict =
  | { readonly kind: 'whole' }
  | { readonly kind: 'unsatisfiable' }
  | { readonly kind: 'part'; readonly first: number; readonly last: number };

/** What a Range header asks for. What is no single range of bytes is passed over, as RFC 9110 section 14.2 allows. */
export function rangeOf(header: string | undefined, sizeBytes: number): RangeVerdict {
  const match = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/i.exec(header ?? '');
  const [, from = '', to = ''] = match ?? [];
  if (!match || (from === '' && to === '')) return { kind: 'whole' };
  if (from === '') {
    const length = Math.min(Number(to), sizeBytes);
    if (length === 0) return { kind: 'unsatisfiable' };
    return { kind: 'part', first: sizeBytes - length, last: sizeBytes - 1 };
  }
  const first = Number(from);
  if (to !== '' && Number(to) < first) return { kind: 'whole' };
  if (first >= sizeBytes) return { kind: 'unsatisfiable' };
  return { kind: 'part', first, last: to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1) };
}

/** Answers GET and HEAD. The file is known by its checksum: a strong ETag. */
export async function sendArtifact(
  { request, response }: Exchange,
  artifact: ArtifactRecord,
  path: string,
  fault: DownloadFault,
): Promise<void> {
  const file = await open(path, 'r').catch(() => {
    throw new HttpError(404, 'the artifact is gone');
  });
  try {
    const { sizeBytes } = artifact;
    if ((await file.stat()).size !== sizeBytes) throw new HttpError(500, 'the artifact is damaged');
    const etag = `"${artifact.sha256}"`;
    const modified = new Date(artifact.uploadedMs).toUTCString();
    response.setHeader('Accept-Ranges', 'bytes');
    response.setHeader('ETag', etag);
    response.setHeader('Last-Modified', modified);
    response.setHeader('Cache-Control', 'no-store, no-transform');
    response.setHeader('Content-Type', 'application/vnd.mender-artifact');
    const condition = request.headers['if-range'];
    const isSame = condition === undefined || condition === etag || condition === modified;
    // Range is for GET alone (RFC 9110 section 14.2).
    const isRanged = isSame && request.method === 'GET';
    const range = rangeOf(isRanged ? request.headers.range : undefined, sizeBytes);
    if (range.kind === 'unsatisfiable') {
      throw new HttpError(416, `the artifact has ${sizeBytes} bytes`, {
        'Content-Range': `bytes */${sizeBytes}`,
      });
    }
    const { first, last } = range.kind === 'part' ? range : { first: 0, last: sizeBytes - 1 };
    if (range.kind === 'part') response.setHeader('Content-Range', `bytes ${first}-${last}/${sizeBytes}`);
    response.writeHead(range.kind === 'part' ? 206 : 200, { 'Content-Length': last - first + 1 });
    if (request.method === 'HEAD' || sizeBytes === 0) {
      response.end();
      return;
    }
    const content = file.createReadStream({
      start: first,
      end: last,
      highWaterMark: READ_BYTES,
      autoClose: false,
    });
    await pipeline(
      content,
      spoiled(fault, first, () => response.destroy()),
      response,
    );
  } finally {
    await file.close();
  }
}

/** What a fault makes of the content; without one nothing. `first`: the offset it begins at. */
function spoiled(fault: DownloadFault, first: number, cut: () => void): Transform {
  let at = first;
  return new Transform({
    highWaterMark: READ_BYTES,
    transform(chunk: Buffer, _encoding, done) {
      const { cutAfterBytes, bytesPerSecond } = fault;
      at += chunk.length;
      if (cutAfterBytes !== null && at > cutAfterBytes) {
        const keep = chunk.length - (at - cutAfterBytes);
        if (keep > 0) this.push(chunk.subarray(0, keep));
        // What was pushed goes out first.
        setTimeout(cut, 50);
        return;
      }
      if (bytesPerSecond === null) done(null, chunk);
      else void slowly(this, chunk, bytesPerSecond).then(() => done());
    },
  });
}

const SLOW_PIECES_A_SECOND = 10;

async function slowly(out: Transform, chunk: Buffer, bytesPerSecond: number): Promise<void> {
  const pieceBytes = Math.max(1, Math.floor(bytesPerSecond / SLOW_PIECES_A_SECOND));
  for (let start = 0; start < chunk.length && !out.destroyed; start += pieceBytes) {
    out.push(chunk.subarray(start, start + pieceBytes));
    await sleep((1000 * Math.min(pieceBytes, chunk.length - start)) / bytesPerSecond);
  }
}
