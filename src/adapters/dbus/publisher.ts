import type { Subscription } from 'rxjs';
import type { Notice } from '../../core/effect.ts';
import type { Snapshot } from '../../core/snapshot.ts';
import type { Log } from '../../ports/log.ts';
import type { UpdateBus } from '../../ports/update-bus.ts';
import type { Bus } from './connection.ts';
import { Emitter } from './emit.ts';
import { busCall } from './link.ts';
import type { ServedObject } from './served-object.ts';
import { MAIN } from './update-object.ts';
import { deploymentMap, detailsMap, failureErrorName, unsigned } from './update-values.ts';
import { variant } from './values.ts';

const FLUSH_TIMEOUT_MS = 2_000;

/** The only writer of properties and signals. Reads the same snapshot that Get and GetAll answer from. */
export class Publisher implements UpdateBus {
  readonly #bus: Bus;
  readonly #emitter: Emitter;
  readonly #subscription: Subscription;
  #shown: Snapshot;
  /** The beginning of a wait that nobody has been told of yet, because there was no bus. */
  #untold: Extract<Notice, { kind: 'WaitStarted' }> | null = null;

  constructor(bus: Bus, object: (snapshot: () => Snapshot) => ServedObject, first: Snapshot, log: Log) {
    this.#bus = bus;
    this.#shown = first;
    this.object = object(() => this.#shown);
    this.#emitter = new Emitter(bus, this.object, log);
    // After the emitter's own subscription: the properties are out before.
    this.#subscription = bus.state$.subscribe((state) => {
      const notice = this.#untold;
      if (state !== 'connected' || notice === null) return;
      this.#untold = null;
      if (notice.ticket === this.#shown.waitTicket) this.announce(notice);
    });
  }

  readonly object: ServedObject;

  publish(snapshot: Snapshot): void {
    this.#shown = snapshot;
    this.#emitter.publish();
  }

  announce(notice: Notice): void {
    const { serial, deploymentId, deployment, state, step } = this.#shown;
    const at = unsigned(serial);
    switch (notice.kind) {
      case 'StateChanged':
        return this.#signal('StateChanged', [at, deploymentId, state, step]);
      case 'WaitStarted':
        if (this.#bus.state !== 'connected') {
          this.#untold = notice;
          return;
        }
        return this.#signal('WaitStarted', [
          at,
          notice.ticket,
          deploymentId,
          notice.point,
          new Map([
            [
              'blockers',
              variant(
                'as',
                notice.blockers.map(({ kind }) => kind),
              ),
            ],
          ]),
        ]);
      case 'WaitEnded':
        return this.#signal('WaitEnded', [at, notice.ticket, notice.outcome, detailsMap(notice.details)]);
      case 'DeploymentStarted':
        return this.#signal('DeploymentStarted', [at, notice.deploymentId, deploymentMap(deployment)]);
      case 'DeploymentFinished':
        return this.#signal('DeploymentFinished', [
          at,
          notice.deploymentId,
          notice.result,
          failureErrorName(notice.errorName),
          detailsMap(notice.details),
        ]);
      case 'CheckFinished':
        return this.#signal('CheckFinished', [at, notice.result, failureErrorName(notice.errorName)]);
    }
  }

  /** The bus handles messages of one connection in order: once it answers, it has everything sent before. */
  async flush(): Promise<void> {
    await this.#bus.call(busCall('GetId'), FLUSH_TIMEOUT_MS).catch(() => {});
  }

  close(): void {
    this.#subscription.unsubscribe();
    this.#emitter.close();
  }

  #signal(member: string, args: readonly unknown[]): void {
    this.#emitter.signal(MAIN, member, args);
  }
}
