/** Asks the server for its deployment again, because that is how a link is renewed (design/faults.md R15, R16). */
import type { Deployment } from '../core/state.ts';
import type { DeploymentServer } from '../ports/deployment-server.ts';
import type { LinkRefresher } from '../ports/link-refresher.ts';

export interface LinkTools {
  /** The deployment under way; null = none. */
  readonly deployment: () => Pick<Deployment, 'id' | 'source' | 'location' | 'announcedName'> | null;
  readonly server: () => Pick<DeploymentServer, 'isConfigured' | 'checkForDeployment'>;
}

/** Other downloads than that of the server's deployment get no link, and neither does another deployment's artifact. */
export function createLinkRefresher({ deployment, server }: LinkTools): LinkRefresher {
  let issued: { readonly deploymentId: string; readonly urls: Set<string> } = {
    deploymentId: '',
    urls: new Set(),
  };
  return {
    async refresh(expiredUrl, signal) {
      const current = deployment();
      if (current === null || current.source !== 'server' || !server().isConfigured) return null;
      const { id, location, announcedName } = current;
      if (issued.deploymentId !== id) issued = { deploymentId: id, urls: new Set() };
      const isOurs =
        location.kind === 'url' && (sameUrl(location.url, expiredUrl) || issued.urls.has(expiredUrl));
      if (!isOurs) return null;
      const offer = await server().checkForDeployment(signal);
      if (offer === null || offer.deploymentId !== id || offer.location.kind !== 'url') return null;
      if (announcedName !== '' && offer.artifactName !== announcedName) return null;
      // As the one that asks writes it.
      issued.urls.add(new URL(offer.location.url).href);
      return offer.location.url;
    },
  };
}

function sameUrl(one: string, other: string): boolean {
  return URL.canParse(one) && URL.canParse(other) && new URL(one).href === new URL(other).href;
}
