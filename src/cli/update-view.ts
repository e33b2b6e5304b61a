/**
 * The service's state in words and in JSON. Nothing here knows the bus.
 */
import type { PlainMap, PlainValue, RemoteHold, RemoteSnapshot } from '../adapters/dbus/update-client.ts';
import { holdSummary } from './hold-view.ts';
import { durationText, oneLine, sizeText, timeText, type Meter } from './terminal.ts';
import { isSnoozed, waitLines, waitSentence } from './wait-text.ts';

/** Exit status of `holdpoint install` by the result of the deployment. Source: design/entry-points.md. */
export const INSTALL_EXIT: Readonly<Record<string, number>> = {
  success: 0,
  failure: 1,
  inconsistent: 1,
  'rolled-back': 4,
  aborted: 5,
};

const RESULT_TEXTS: Readonly<Record<string, string>> = {
  success: 'installed and committed',
  failure: 'failed',
  inconsistent: 'failed, and the system may be in an inconsistent state',
  'rolled-back': 'failed and was rolled back',
  aborted: 'aborted',
};

export function resultText(result: string): string {
  return RESULT_TEXTS[result] ?? `ended with the result ${result}`;
}

const FAILURE_PREFIX = 'io.holdpoint.Update1.Failure.';

/** The failure's own name, `StateScript`. */
export function failureName(errorName: string): string {
  return errorName.startsWith(FAILURE_PREFIX) ? errorName.slice(FAILURE_PREFIX.length) : errorName;
}

export function meterOf(shown: RemoteSnapshot): Meter {
  const details: string[] = [];
  if (shown.activity === 'downloading' && shown.downloadedBytes > 0) {
    const of = shown.downloadSizeBytes > 0 ? ` of ${sizeText(shown.downloadSizeBytes)}` : '';
    details.push(`${sizeText(shown.downloadedBytes)}${of}`);
    if (shown.bytesPerSecond > 0) details.push(`${sizeText(shown.bytesPerSecond)}/s`);
    if (shown.remainingSeconds >= 0) details.push(`${durationText(shown.remainingSeconds)} left`);
  }
  return { percent: shown.progress, label: stateText(shown), details: details.join('  ') };
}

/** Release notes of what is coming, line by line; empty = none. */
export function notesOf({ deployment }: RemoteSnapshot): readonly string[] {
  const notes = deployment['release-notes'];
  return typeof notes === 'string' && notes !== '' ? notes.split('\n') : [];
}

/** `ArtifactInstall (waiting at ArtifactInstall_Enter)`. */
export function stateText(shown: RemoteSnapshot): string {
  if (isSnoozed(shown)) return `${shown.state} (put off at ${shown.waitPoint})`;
  if (shown.waitPoint !== '') return `${shown.state} (waiting at ${shown.waitPoint})`;
  if (shown.deployment['notice'] === 'commit-not-stored')
    return `${shown.state} (committed, waiting for the datastore to take it)`;
  return `${shown.state} (${shown.isPaused ? `${shown.activity}, paused` : shown.activity})`;
}

/** What `holdpoint status` prints. */
export function statusLines(shown: RemoteSnapshot, holds: readonly RemoteHold[] = []): readonly string[] {
  const rows: [string, string][] = [
    ['Installed', shown.currentArtifactName],
    ['State', `${stateText(shown)}, step ${shown.step}`],
    ['Updates', shown.areUpdatesEnabled ? 'enabled' : 'disabled'],
  ];
  if (shown.deploymentId !== '') {
    rows.push(['Update', shown.artifactName === '' ? '(not known yet)' : shown.artifactName]);
    rows.push(['Deployment', shown.deploymentId]);
    const notes = notesOf(shown);
    if (notes.length > 0) rows.push(['Notes', notes.join(' / ')]);
    if (shown.progress >= 0) {
      const { details } = meterOf(shown);
      rows.push(['Progress', `${Math.floor(shown.progress)} %${details === '' ? '' : `  ${details}`}`]);
    }
    if (shown.rebootRequired === 'yes') rows.push(['Reboot', 'needed']);
  }
  if (shown.lastResult !== 'none' && shown.lastResult !== '') {
    rows.push(['Last result', `${shown.lastResult}${errorText(shown)}`]);
  }
  rows.push(['Server', shown.serverStatus]);
  const next = timeText(shown.nextCheckUsec);
  if (next !== '') rows.push(['Next check', next]);
  for (const hold of holds) rows.push(['Held by', `${holdSummary(hold)} (${hold.id})`]);
  if (shown.allowedActions.length > 0) rows.push(['Possible now', shown.allowedActions.join(', ')]);
  const table = rows.map(([label, value]) => `${`${label}:`.padEnd(14)}${value}`);
  return [waitSentence(shown), ...table, ...waitLines(shown)];
}

function errorText({ lastErrorName, lastErrorMessage }: RemoteSnapshot): string {
  if (lastErrorName === '') return '';
  return ` (${failureName(lastErrorName)}: ${lastErrorMessage})`;
}

/** One line of JSON. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value);
}

/** What `holdpoint history` prints of one deployment. */
export function historyLines(entry: PlainMap): readonly string[] {
  const text = (key: string): string => plainText(entry[key]);
  const finished = typeof entry['finished-usec'] === 'number' ? timeText(entry['finished-usec']) : '';
  const lines = [
    `${finished.padEnd(20)} ${text('result').padEnd(12)} ${text('artifact-name')}  ${text('deployment-id')}`,
  ];
  const error = text('error-name');
  if (error !== '') lines.push(`${' '.repeat(21)}${failureName(error)}: ${text('error-message')}`);
  return lines;
}

function plainText(value: PlainValue | undefined): string {
  if (value === undefined) return '';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** A line of a deployment log, which is JSON with `timestamp`, `level`, `message`; anything else as it is. */
export function logLine(text: string): string {
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch {
    return oneLine(text);
  }
  if (typeof record !== 'object' || record === null) return oneLine(text);
  const { timestamp, level, message } = record as Record<string, unknown>;
  if (typeof message !== 'string') return oneLine(text);
  return oneLine(`${String(timestamp)} ${String(level).padEnd(7)} ${message}`);
}
