import { readFile } from 'node:fs/promises';
import type { AccessAction } from '../../core/access.ts';
import { UpdateError } from '../../core/errors.ts';
import { refuse, RefusedCall } from '../../core/refusal.ts';
import type { Log } from '../../ports/log.ts';
import type { AuthorisationRequest, Verdict } from './authorise.ts';
import type { Credentials } from './caller.ts';
import { frozen } from './frozen.ts';
import { errorReplyOf, PROTOCOL_ERROR_NAMES, refusalReply, type ErrorReply } from './errors.ts';
import type { IncomingCall } from './incoming-call.ts';
import type { RateLimiter } from './rate-limit.ts';
import {
  allProperties,
  checkServedObject,
  notBuiltText,
  propertyValue,
  type HandlerCall,
  type PropertyTables,
  type ServedObject,
} from './served-object.ts';
import {
  INTROSPECTABLE,
  objectXml,
  PARENT_TABLE,
  parentXml,
  PEER,
  STANDARD_TABLE,
} from './standard-interfaces.ts';
import { Turns } from './turns.ts';
import { OversizeBody, variant } from './values.ts';
import type { InterfaceEntry, MethodEntry } from './xml-table.ts';

/**
 * Answers every incoming call, the standard interfaces included, from the tables of the served objects. The order
 * is fixed: rate, size, object, interface, method, signature, who calls, the object's precheck, may they, arguments, and
 * only then the handler. Each call gets exactly one reply, whatever the handler does; calls run side by side.
 */
export interface DispatcherOptions {
  readonly objects: readonly ServedObject[];
  readonly log: Log;
  readonly rateLimiter: RateLimiter;
  /** Tried in this order, for Peer.GetMachineId. */
  readonly machineIdPaths?: readonly string[];
}

/** No call of ours needs more than a control map of 64 KiB; decoding costs time on the loop everyone shares. */
const MAX_CALL_BYTES = 256 * 1024;
/** Calls being worked on at a time; the bus allows a client 128 unanswered ones. */
const MAX_RUNNING = 512;
/** Handlers of one client at a time: nobody else waits behind more than these. */
const MAX_RUNNING_PER_CLIENT = 2;
const MACHINE_ID_PATHS = ['/etc/machine-id', '/var/lib/dbus/machine-id'];

interface Target {
  /** null = a path on the way to an object, with the standard methods only. */
  readonly object: ServedObject | null;
  readonly owner: InterfaceEntry;
  readonly method: MethodEntry;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #objects = new Map<string, ServedObject>();
  /** Every path that exists, with the names of its children. */
  readonly #children = new Map<string, readonly string[]>();
  readonly #running = new Set<Promise<void>>();
  readonly #turns = new Turns(MAX_RUNNING_PER_CLIENT);
  #isShuttingDown = false;

  /** Throws kind `internal` when an object's handlers do not fit its XML. */
  constructor(options: DispatcherOptions) {
    this.#options = options;
    for (const object of options.objects) {
      checkServedObject(object);
      this.#objects.set(object.path, object);
      this.#addPath(object.path);
    }
  }

  get runningCalls(): number {
    return this.#running.size;
  }

  /** Give this to `Bus.serve`. Never throws, never waits. */
  readonly handle = (call: IncomingCall): void => {
    const { log, rateLimiter } = this.#options;
    try {
      if (!rateLimiter.take(call.sender)) throw limit('Too many calls; wait a second');
      if (this.#running.size >= MAX_RUNNING) throw limit('Too many calls are being worked on');
      if (this.#isShuttingDown) throw new RefusedCall(refuse('ShuttingDown', 'The service is ending'));
    } catch (error) {
      const { name, message } = errorReplyOf(error, log, call.member);
      return call.fail(name, message);
    }
    const work = this.#answer(call)
      .catch(() => call.fail(PROTOCOL_ERROR_NAMES.failed, 'The call failed'))
      .finally(() => this.#running.delete(work));
    this.#running.add(work);
  };

  /** From now on calls are refused; resolves when those under way have been answered. */
  async shutDown(): Promise<void> {
    this.#isShuttingDown = true;
    await Promise.all(this.#running);
  }

  async #answer(call: IncomingCall): Promise<void> {
    const { log } = this.#options;
    let target: Target | null = null;
    try {
      if (call.bodyBytes > MAX_CALL_BYTES) {
        throw limit(`Arguments of ${call.bodyBytes} bytes; at most ${MAX_CALL_BYTES} are accepted`);
      }
      target = this.#find(call);
      const values = await this.#run(call, target);
      call.reply(target.method.outSignature, values);
    } catch (error) {
      const { name, message } =
        this.#errorReply(error, target, call) ?? errorReplyOf(error, log, call.member);
      call.fail(name, message);
    }
  }

  #errorReply(error: unknown, target: Target | null, call: IncomingCall): ErrorReply | null {
    if (error instanceof ProtocolError) return { name: error.errorName, message: error.message };
    if (error instanceof OversizeBody) {
      this.#options.log.warn('A reply was too long to send', { member: call.member });
      return refusalReply('LimitsExceeded', 'The reply would be too long; ask for less at a time');
    }
    try {
      return target?.object?.errorReply?.(error) ?? null;
    } catch {
      return null;
    }
  }

  #find(call: IncomingCall): Target {
    const object = this.#objects.get(call.path) ?? null;
    const isPath = this.#children.has(call.path);
    // Peer is the connection's, whatever the path (D-Bus specification, "org.freedesktop.DBus.Peer").
    if (!isPath && call.interface !== PEER) {
      throw new ProtocolError(PROTOCOL_ERROR_NAMES.unknownObject, `There is no object ${call.path}`);
    }
    const standard = object === null ? PARENT_TABLE : STANDARD_TABLE;
    const interfaces = [...(object?.table.interfaces.values() ?? []), ...standard.interfaces.values()];
    const candidates =
      call.interface === '' ? interfaces : interfaces.filter(({ name }) => name === call.interface);
    if (candidates.length === 0) {
      const text = `The object ${call.path} has no interface ${call.interface}`;
      throw new ProtocolError(PROTOCOL_ERROR_NAMES.unknownInterface, text);
    }
    for (const owner of candidates) {
      const method = owner.methods.get(call.member);
      if (method !== undefined) return { object, owner, method };
    }
    const where = call.interface === '' ? `The object ${call.path}` : `The interface ${call.interface}`;
    throw new ProtocolError(PROTOCOL_ERROR_NAMES.unknownMethod, `${where} has no method ${call.member}`);
  }

  async #run(call: IncomingCall, { object, owner, method }: Target): Promise<readonly unknown[]> {
    const key = `${owner.name}.${method.name}`;
    if (call.signature !== method.inSignature) {
      const text = `${key}: found arguments of type "${call.signature}", expected "${method.inSignature}"`;
      throw new RefusedCall(refuse('InvalidArgs', text));
    }
    const caller = await call.credentials();
    if (caller === null) throw new RefusedCall(refuse('AccessDenied', 'It cannot be told who is calling'));
    const request = requestOf(call, owner, method, caller);
    let action: AccessAction | null = null;
    if (object !== null) {
      object.precheck?.(request);
      const verdict = await this.#authorise(object, request);
      object.precheck?.(request);
      if (!verdict.isAllowed) {
        throw new RefusedCall(refuse(verdict.refusal, verdict.message, verdict.details));
      }
      action = verdict.action ?? null;
    }
    if (STANDARD_TABLE.interfaces.has(owner.name)) return this.#runStandard(object, request);
    if (object?.notBuilt.has(key)) throw new RefusedCall(refuse('NotSupported', notBuiltText(key)));
    const handler = object?.handlers[key];
    if (handler === undefined) throw new UpdateError('internal', `${key} has no handler`);
    // Decoded before the handler has done anything.
    const authorised: HandlerCall = { ...request, action };
    return this.#turns.run(call.sender, () => handler(authorised));
  }

  /** An authoriser that fails denies; a refusal of its own and arguments nobody accepts are told as such. */
  async #authorise(object: ServedObject, request: AuthorisationRequest): Promise<Verdict> {
    try {
      return await object.authorise(request);
    } catch (error) {
      if (error instanceof RefusedCall) throw error;
      if (error instanceof UpdateError && error.kind === 'invalidArgument') throw error;
      this.#options.log.error('It could not be decided whether a call is allowed', {
        member: request.member,
        errorMessage: error instanceof Error ? error.message : String(error),
      });
      const message = 'It could not be decided whether this is allowed';
      return { isAllowed: false, refusal: 'AccessDenied', message };
    }
  }

  async #runStandard(object: ServedObject | null, call: AuthorisationRequest): Promise<readonly unknown[]> {
    const [first, second] = call.args.map(String);
    switch (`${call.interface}.${call.member}`) {
      case `${PEER}.Ping`:
        return [];
      case `${PEER}.GetMachineId`:
        return [await this.#machineId()];
      case `${INTROSPECTABLE}.Introspect`:
        return [this.#introspect(object, call.path)];
      default:
        if (object === null) throw new UpdateError('internal', 'a parent path has no properties');
        return this.#runProperties(object, call.member, first ?? '', second ?? '');
    }
  }

  #runProperties(
    object: ServedObject,
    member: string,
    interfaceName: string,
    property: string,
  ): readonly unknown[] {
    const own = [...object.table.interfaces.values()];
    const all = [...own, ...STANDARD_TABLE.interfaces.values()];
    // An empty name means any interface (D-Bus specification, "org.freedesktop.DBus.Properties").
    const owners = interfaceName === '' ? own : all.filter(({ name }) => name === interfaceName);
    if (owners.length === 0) {
      const text = `The object ${object.path} has no interface ${interfaceName}`;
      throw new ProtocolError(PROTOCOL_ERROR_NAMES.unknownInterface, text);
    }
    if (member === 'GetAll') {
      const tables: PropertyTables = object.properties();
      const entries = owners.flatMap((owner) => [...allProperties(object, tables, owner)]);
      return [new Map(entries)];
    }
    for (const owner of owners) {
      const entry = owner.properties.get(property);
      if (entry === undefined) continue;
      if (member === 'Set') {
        const text = `The property ${owner.name}.${property} cannot be written`;
        throw new ProtocolError(PROTOCOL_ERROR_NAMES.propertyReadOnly, text);
      }
      const { signature, value } = propertyValue(object, object.properties(), owner, entry);
      return [variant(signature, value)];
    }
    const where = interfaceName === '' ? `object ${object.path}` : `interface ${interfaceName}`;
    throw new ProtocolError(PROTOCOL_ERROR_NAMES.unknownProperty, `The ${where} has no property ${property}`);
  }

  #introspect(object: ServedObject | null, path: string): string {
    const children = this.#children.get(path) ?? [];
    return object === null ? parentXml(children) : objectXml(object.table.xml, children);
  }

  async #machineId(): Promise<string> {
    for (const path of this.#options.machineIdPaths ?? MACHINE_ID_PATHS) {
      const text = await readFile(path, 'latin1').catch(() => '');
      const [line = ''] = text.split('\n', 1);
      if (/^[0-9a-f]{32}$/.test(line)) return line;
    }
    throw new UpdateError('internal', 'this machine has no machine id');
  }

  #addPath(path: string): void {
    if (!this.#children.has(path)) this.#children.set(path, []);
    if (path === '/') return;
    const parent = path.slice(0, path.lastIndexOf('/')) || '/';
    const name = path.slice(path.lastIndexOf('/') + 1);
    this.#addPath(parent);
    const siblings = this.#children.get(parent) ?? [];
    if (!siblings.includes(name)) this.#children.set(parent, [...siblings, name]);
  }
}

/** Wrong use of the protocol; the name is a standard one. */
class ProtocolError extends Error {
  readonly errorName: string;

  constructor(errorName: string, message: string) {
    super(message);
    this.errorName = errorName;
  }
}

/** The arguments are decoded when first asked for, so that who is refused anyway cannot make us work for it. */
function requestOf(
  call: IncomingCall,
  owner: InterfaceEntry,
  method: MethodEntry,
  { uid, gids }: Credentials,
): AuthorisationRequest {
  let args: readonly unknown[] | null = null;
  return {
    sender: call.sender,
    uid,
    gids,
    connection: call.connection,
    path: call.path,
    interface: owner.name,
    member: method.name,
    isInteractive: call.isInteractive,
    get args(): readonly unknown[] {
      args ??= frozen(call.body());
      return args;
    },
  };
}

function limit(message: string): RefusedCall {
  return new RefusedCall(refuse('LimitsExceeded', message));
}
