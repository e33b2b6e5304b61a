/**
 * Whether the link costs. Source of the meanings: NetworkManager's NMMetered: 0 unknown, 1 yes, 2 no, 3 guessed yes,
 * 4 guessed no. Unknown (0) counts as not metered: NetworkManager says so where there is no link at all or nobody
 * has said anything, and a device that nobody has told anything must still be able to update. That NetworkManager
 * cannot be asked is another matter: then it is not known, and not met.
 */
import { map, type Observable } from 'rxjs';
import type { MeteredRule } from '../../core/control/condition-settings.ts';
import { malformed, propertyChanges, readProperty, watchRemote$ } from './bus.ts';
import { finding, notKnown, type Finding } from './finding.ts';
import type { RemoteDeps } from './power.ts';

const NAME = 'org.freedesktop.NetworkManager';
const MANAGER = { name: NAME, path: '/org/freedesktop/NetworkManager', interface: NAME };
const Metered = { yes: 1, guessYes: 3 } as const;

/** Never completes, never fails. Equal findings are repeated. */
export function metered$(rule: MeteredRule, deps: RemoteDeps): Observable<readonly Finding[]> {
  const { isSkippable } = rule;
  return watchRemote$({
    ...deps,
    name: NAME,
    signals: [propertyChanges(MANAGER)],
    read: async () => {
      const metered = await readProperty(deps.bus, MANAGER, 'Metered');
      if (typeof metered !== 'number') throw malformed('Metered of NetworkManager', metered);
      return metered;
    },
  }).pipe(
    map((reading): readonly Finding[] => {
      if (reading.kind !== 'known') {
        return [notKnown('metered', 'network-manager', { isSkippable, message: reading.message })];
      }
      const isGuess = reading.value === Metered.guessYes;
      if (reading.value !== Metered.yes && !isGuess) return [];
      return [finding('metered', 'metered-link', { isSkippable, details: { 'is-guess': isGuess } })];
    }),
  );
}
