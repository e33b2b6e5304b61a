/** What a server answers: offers, maps, errors. */
import { MAP_POINTS } from '../../../src/core/control/control-map.ts';
import { parseReleases, releasesMember } from '../../../src/core/control/map-release.ts';
import { errorText, isServersOwn, parseMapAnswer, parseOffer } from '../../../src/adapters/server/answers.ts';
import { demand, type FuzzTarget } from '../target.ts';

const OFFER = {
  id: 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6',
  artifact: {
    artifact_name: 'release-2',
    source: { uri: 'https://example.com/artifact?a=b', expire: '2016-03-11T13:03:17.063+0000' },
    device_types_compatible: ['kiosk'],
  },
  update_control_map: { id: 'w81s4fae-7dec-11d0-a765-00a0c91e6bf6', priority: 0, states: {} },
};

const WITH_RELEASE = {
  ...OFFER,
  holdpoint: {
    releases: [{ point: 'ArtifactCommit_Enter', release_at: '2031-02-03T04:05:06.000Z', force: true }],
  },
};

export const target: FuzzTarget = {
  maxBytes: 32 * 1024,
  isJson: true,
  dictionary: [
    'id',
    'artifact',
    'source',
    'uri',
    'update_control_map',
    'holdpoint',
    'releases',
    'release_at',
    'null',
    'error',
    'http://',
    'HTTPS://x',
    '\\u0075',
  ],
  seeds: () =>
    [
      OFFER,
      { ...OFFER, update_control_map: null },
      WITH_RELEASE,
      { error: 'device unknown', request_id: '1' },
      {},
    ].map((one) => Buffer.from(JSON.stringify(one))),
  run(input) {
    const text = Buffer.from(input).toString('utf8');
    const offer = parseOffer(text);
    if (offer.value !== null) {
      const { deploymentId, location, controlMapText } = offer.value;
      demand(/^[A-Za-z0-9][\w.:-]*$/.test(deploymentId), () => `the deployment id ${deploymentId}`);
      demand(location.kind === 'url' && URL.canParse(location.url), () => 'a location that is no URL');
      sameAsJson(text, controlMapText);
    } else {
      demand(offer.problem !== '' && !offer.problem.includes('\n'), () => 'refused without a reason');
    }
    const map = parseMapAnswer(text);
    if (map.value !== null) {
      sameAsJson(text, map.value.text);
      const releases = parseReleases(map.value.mapReleasesText ?? null);
      if (!('kind' in releases)) {
        demand(releases.length <= MAP_POINTS.length, () => 'more releases than points');
        const again = parseReleases(JSON.stringify(releasesMember(releases)));
        demand(JSON.stringify(again) === JSON.stringify(releases), () => 'releases that change when written');
      }
    }
    demand(typeof errorText(text) === 'string', () => 'an error that is no text');
    isServersOwn({ text, isWebPage: false });
  },
};

/** The member cut out of the text is the one that a parser of JSON finds. */
function sameAsJson(text: string, found: string | null): void {
  const member = (JSON.parse(text) as { update_control_map?: unknown }).update_control_map ?? null;
  const cut: unknown = found === null ? null : JSON.parse(found);
  demand(
    JSON.stringify(cut) === JSON.stringify(member),
    () => `cut out ${found}, should be ${JSON.stringify(member)}`,
  );
}
