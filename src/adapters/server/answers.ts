/**
 * What a server answers, checked. Members we do not know are ignored; the control map is handed on as it was sent, for
 * others to judge. Source: spec/server-api.md sections 1, 4.2 and 7.
 */
import * as v from 'valibot';
import type { GivenMap } from '../../core/server-map.ts';
import type { DeploymentOffer } from '../../ports/deployment-server.ts';
import { rawMember } from './raw-json.ts';

const MAX_URL_CHARACTERS = 16 * 1024;

/** It becomes part of paths and file names: neither `..` nor a slash. */
const deploymentId = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/, 'a deployment id'));

const artifactUrl = v.pipe(
  v.string(),
  v.maxLength(MAX_URL_CHARACTERS),
  v.check((text) => /^https?:\/\//i.test(text) && URL.canParse(text), 'a URL with http:// or https://'),
);

const OFFER = v.object({
  id: deploymentId,
  artifact: v.object({
    artifact_name: v.nullish(v.pipe(v.string(), v.maxLength(4096)), ''),
    source: v.object({ uri: artifactUrl }),
  }),
});

const MAP_MEMBER = 'update_control_map';
/** Beside the map, from servers that know us: docs/decisions/0025. */
const RELEASES_MEMBER = 'holdpoint';

export type Parsed<T> =
  { readonly value: T; readonly problem: '' } | { readonly value: null; readonly problem: string };

export function parseOffer(text: string): Parsed<DeploymentOffer> {
  const json = parseJson(text);
  if (json.value === null) return json;
  const result = v.safeParse(OFFER, json.value);
  if (!result.success) return bad(issueText(result.issues[0]));
  const { id, artifact } = result.output;
  return good({
    deploymentId: id,
    artifactName: artifact.artifact_name,
    location: { kind: 'url', url: artifact.source.uri },
    controlMapText: rawMember(text, MAP_MEMBER),
    ...releasesIn(text),
  });
}

/** The text of the map in the answer to a refresh, and of what was announced beside it. */
export function parseMapAnswer(text: string): Parsed<GivenMap> {
  const json = parseJson(text);
  if (json.value === null) return json;
  const map = rawMember(text, MAP_MEMBER);
  return map === null ? bad(`found no ${MAP_MEMBER}`) : good({ text: map, ...releasesIn(text) });
}

function releasesIn(text: string): { readonly mapReleasesText?: string } {
  const mapReleasesText = rawMember(text, RELEASES_MEMBER);
  return mapReleasesText === null ? {} : { mapReleasesText };
}

/** The `error` of a server's error body; other bodies as they are; '' = none. */
export function errorText(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'error' in value && typeof value.error === 'string') {
      return value.error;
    }
  } catch {
    // Not ours to understand.
  }
  return text.trim();
}

/**
 * Whether an answer without success is the server's own: with an error body, or none. Load balancers answer 404 in its
 * place while it is being restarted, with a page or a plain text, and that must not end a deployment.
 */
export function isServersOwn(answer: { readonly text: string; readonly isWebPage: boolean }): boolean {
  if (answer.isWebPage) return false;
  return answer.text.trim() === '' || parseJson(answer.text).value !== null;
}

function parseJson(text: string): Parsed<NonNullable<unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Not shown: in pieces or not, it may hold a signed link.
    return bad(`found ${text.length} characters that are not JSON`);
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? good(value)
    : bad(`found ${text.length} characters of JSON that are not an object`);
}

/** Never with the value itself: the URL of an artifact is a credential. */
function issueText(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue) ?? 'the answer';
  const found =
    issue.input === undefined
      ? 'nothing'
      : `a value of type ${issue.input === null ? 'null' : typeof issue.input}`;
  return `${path}: found ${found} that does not fit, expected ${issue.expected ?? issue.message}`;
}

function good<T>(value: T): Parsed<T> {
  return { value, problem: '' };
}

function bad(problem: string): { readonly value: null; readonly problem: string } {
  return { value: null, problem };
}
