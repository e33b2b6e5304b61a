import { UpdateError } from '../../core/errors.ts';
import type { Log } from '../../ports/log.ts';
import { rootOrReading } from './authorise.ts';
import type { ErrorReply } from './errors.ts';
import { loadMenderTable, MENDER_PATH } from './interface-xml.ts';
import type { HandlerCall, ServedObject } from './served-object.ts';

/**
 * The object /io/mender/UpdateManager, for programs written for Mender 2.7 to 3.x. It knows nothing of maps: text in,
 * seconds out, and of everything that goes wrong only that it went wrong. Source: spec/update-control.md section 7.
 */
export interface MenderUpdateObjectOptions {
  /**
   * Takes the text as it came, from root or the user the service runs as; resolves with the time in which the caller
   * must call again, whole seconds. Any rejection is answered `io.mender.Failed`.
   */
  readonly setControlMap: (text: string, uid: number) => Promise<number>;
  /** Gets the reasons, which the caller is told to look for there. */
  readonly log?: Log;
}

const METHOD = 'io.mender.Update1.SetUpdateControlMap';
/** What Mender 3.4 answers, byte for byte; programs may compare it. */
const FAILED: ErrorReply = {
  name: 'io.mender.Failed',
  message: 'Method returned error, see Mender logs for more details',
};
const MAX_INT32 = 2 ** 31 - 1;

/** What the handler was rejected with; told apart from what never got to it, which is answered as usual. */
class SetMapFailed extends UpdateError {}

export function createMenderUpdateObject({ setControlMap, log }: MenderUpdateObjectOptions): ServedObject {
  async function setUpdateControlMap({ args, uid }: HandlerCall): Promise<readonly unknown[]> {
    // Outside the attempt: what cannot be decoded is the caller's mistake in D-Bus, not in the map.
    const text = String(args[0]);
    try {
      const seconds = await setControlMap(text, uid);
      if (!Number.isInteger(seconds) || seconds < 0) {
        throw new UpdateError('internal', `refresh time: found ${seconds}, expected whole seconds`);
      }
      return [Math.min(seconds, MAX_INT32)];
    } catch (cause) {
      const errorMessage = cause instanceof Error ? cause.message : String(cause);
      const isOurs = cause instanceof UpdateError;
      log?.warn('A control map was refused', {
        uid,
        errorKind: isOurs ? cause.kind : 'unexpected',
        errorMessage,
        ...(isOurs && { details: cause.details }),
      });
      throw new SetMapFailed('invalidArgument', FAILED.message, { cause });
    }
  }

  return {
    path: MENDER_PATH,
    table: loadMenderTable(),
    handlers: { [METHOD]: setUpdateControlMap },
    properties: () => ({}),
    notBuilt: new Set(),
    authorise: rootOrReading,
    errorReply: (error) => (error instanceof SetMapFailed ? FAILED : null),
  };
}
