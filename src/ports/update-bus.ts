import type { Notice } from '../core/effect.ts';
import type { Snapshot } from '../core/snapshot.ts';

/** Where the state of the service is published. Losing the bus is the adapter's trouble, never the caller's. */
export interface UpdateBus {
  /** Makes this what every reader sees from now on; changed properties are announced, at most 4 times a second for progress. */
  publish(snapshot: Snapshot): void;
  /** Tells clients that something happened; what was published before is on the wire first. */
  announce(notice: Notice): void;
  /** Resolves when everything published, announced and replied so far has been handed to the bus. */
  flush(): Promise<void>;
}
