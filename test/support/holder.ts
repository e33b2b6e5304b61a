import { BusCaller, type CallerOptions, type Outcome } from './bus-caller.ts';
import type { ServiceHarness } from './service.ts';

/** An application written with GDBus in a process of its own, which holds updates as long as it lives. */
export interface HoldWords {
  readonly why?: string;
  /** Seconds; 0 = bound. */
  readonly timeout?: number;
  readonly onExpire?: string;
  /** '' = none. */
  readonly appId?: string;
  /** Further options as GVariant text, for example `'once': <true>`. */
  readonly more?: string;
}

const ROOT: CallerOptions = { uid: 0, gids: [0] };
const MAIN = 'io.holdpoint.Update1';

export class Holder {
  readonly caller: BusCaller;

  static async start({ bus }: Pick<ServiceHarness, 'bus'>, user = ROOT): Promise<Holder> {
    return new Holder(await BusCaller.start(bus.address, user));
  }

  private constructor(caller: BusCaller) {
    this.caller = caller;
  }

  /** Resolves with the id; rejects with the error of the service. */
  async hold(points: readonly string[], words: HoldWords = {}): Promise<string> {
    const { why = 'patient on table', timeout = 0, onExpire = 'keep-waiting', appId = '', more = '' } = words;
    const options = [...(appId === '' ? [] : [`'app-id': <'${appId}'>`]), ...(more === '' ? [] : [more])];
    const list = points.map((point) => `'${point}'`).join(', ');
    const reply = await this.must(
      'Holds.AddHold',
      `([${list}], '${why}', uint32 ${timeout}, '${onExpire}', @a{sv} {${options.join(', ')}})`,
    );
    return /'([0-9a-f]{12})'/.exec(reply)?.[1] ?? '';
  }

  /** `member` behind `io.holdpoint.Update1.`; args as GVariant text. */
  call(member: string, args = ''): Promise<Outcome> {
    const dot = member.lastIndexOf('.');
    const owner = dot < 0 ? MAIN : `${MAIN}.${member.slice(0, dot)}`;
    return this.caller.call({ interface: owner, member: member.slice(dot + 1), args });
  }

  async must(member: string, args = ''): Promise<string> {
    const { error, message, reply = '' } = await this.call(member, args);
    if (error !== '') throw new Error(`${member}${args}: ${error}: ${message}`);
    return reply;
  }

  /** It hangs, or goes on. */
  freeze(isFrozen: boolean): void {
    process.kill(this.caller.pid, isFrozen ? 'SIGSTOP' : 'SIGCONT');
  }

  /** kill -9. */
  vanish(): Promise<void> {
    return this.caller.vanish();
  }
}
