import { NO_PROGRESS, type Progress } from './state.ts';

/**
 * One honest figure: never goes back within a deployment, reaches 100 only when the update is committed and
 * done, and says −1 where nothing is known. Source: design/stories.md 7.
 */

/** Rate and remaining time are not published before this much of the download has been seen. */
const SETTLE_MS = 10_000;
/** The rate is the mean over this long. */
const WINDOW_MS = 15_000;
const MAX_SAMPLES = 64;

export function progressAt(progress: Progress, overall: number): Progress {
  return { ...progress, overall: Math.max(progress.overall, overall), step: -1 };
}

export function progressStarted(sizeBytes: number): Progress {
  return { ...NO_PROGRESS, overall: 0, sizeBytes };
}

/** `span` is the share of the whole that the download stands for, percent from and to. */
export function progressDownloaded(
  progress: Progress,
  downloadedBytes: number,
  bootMs: number,
  span: readonly [number, number],
): Progress {
  const bytes = Math.max(progress.downloadedBytes, downloadedBytes);
  const share = progress.sizeBytes > 0 ? Math.min(1, bytes / progress.sizeBytes) : -1;
  const samples = [...progress.samples, [bootMs, bytes] as const].filter(
    ([at], index, all) => index === all.length - 1 || bootMs - at <= WINDOW_MS,
  );
  return {
    ...progress,
    downloadedBytes: bytes,
    step: share < 0 ? -1 : Math.max(progress.step, share * 100),
    overall: share < 0 ? progress.overall : Math.max(progress.overall, span[0] + share * (span[1] - span[0])),
    samples: samples.length > MAX_SAMPLES ? thin(samples) : samples,
  };
}

export interface Pace {
  /** −1 = unknown. */
  readonly bytesPerSecond: number;
  readonly remainingSeconds: number;
}

export const NO_PACE: Pace = { bytesPerSecond: -1, remainingSeconds: -1 };

export function paceOf(progress: Progress): Pace {
  const first = progress.samples[0];
  const last = progress.samples.at(-1);
  if (!first || !last || last[0] <= first[0]) return NO_PACE;
  const bytesPerSecond = ((last[1] - first[1]) * 1000) / (last[0] - first[0]);
  if (last[0] - first[0] < SETTLE_MS || progress.sizeBytes < 0 || bytesPerSecond <= 0) {
    return { bytesPerSecond: Math.round(bytesPerSecond), remainingSeconds: -1 };
  }
  return {
    bytesPerSecond: Math.round(bytesPerSecond),
    remainingSeconds: Math.ceil(Math.max(0, progress.sizeBytes - progress.downloadedBytes) / bytesPerSecond),
  };
}

/** Every other sample goes, the newest stays: memory stays bounded whatever the rate of events. */
function thin<T>(samples: readonly T[]): readonly T[] {
  return samples.filter((_, index) => (samples.length - 1 - index) % 2 === 0);
}
