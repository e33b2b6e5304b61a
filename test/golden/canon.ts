/**
 * What of a trace is compared, and how: each line that counts becomes an entry with a name, by which two traces are laid
 * beside each other, and fields, which are compared where the names agree. What differs from run to run (ids, tokens,
 * keys, times, addresses, sizes) is named alike on both sides.
 */
import type { BusLine, DriverLine, HttpLine, Trace } from './trace.ts';

/**
 * - `flow`: requests with their bodies, module calls and state scripts, up to the poll after the result;
 * - `gates`: where the flow waits: control maps by bus and server, pause statuses, the scripts around the gates, the result;
 * - `bus`: the calls to Mender's names with their answers, which names are taken and how, and the signals.
 */
export type Lane = 'flow' | 'gates' | 'bus';

export interface Entry {
  readonly name: string;
  readonly fields: Readonly<Record<string, string>>;
}

const V1 = '/api/devices/v1/deployments/device/deployments';
const V2 = '/api/devices/v2/deployments/device/deployments';
const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;
const FINAL = /\/status (success|failure|already-installed)$/;
/** What a client sends beside the body, as far as servers look at it. */
const HEADERS = ['accept', 'authorization', 'content-type', 'range', 'if-range', 'transfer-encoding'];
const GATED_SCRIPTS = /^(Download_Leave|Artifact(Install|Reboot|Commit|Rollback)_)/;

/** `isBesideGo`: the trace is compared with one of the Go client, or is one. */
export function entriesOf(trace: Trace, lane: Lane, isBesideGo: boolean): readonly Entry[] {
  if (lane === 'flow') return flowOf(trace, isBesideGo);
  return lane === 'gates' ? gatesOf(trace) : busOf(trace);
}

function flowOf(trace: Trace, isGo: boolean): readonly Entry[] {
  const entries: Entry[] = [];
  for (const line of trace.lines) {
    if (line.src === 'module' || line.src === 'script') entries.push(programEntry(line.src, line.what));
    // Pauses and maps are compared with the client that has them.
    if (line.src !== 'http' || isPauseStatus(line) || isMapRequest(line)) continue;
    // The Go client tells about every script; statuses are compared with the C++ client, or without this.
    if (isGo && hasSubstate(line)) continue;
    const entry = httpEntry(line, isGo);
    const isRepeated = isGo && entry.name.includes('/status ') && entry.name === lastStatus(entries);
    if (!isRepeated) entries.push(entry);
  }
  return upToTheNextPoll(entries);
}

const lastStatus = (entries: readonly Entry[]): string | undefined =>
  entries.findLast(({ name }) => name.includes('/status '))?.name;

/** Polls go on for ever; the one after the result shows what the device has become. */
function upToTheNextPoll(entries: readonly Entry[]): readonly Entry[] {
  const final = entries.findIndex(({ name }) => FINAL.test(name));
  if (final < 0) return entries;
  const poll = entries.findIndex(
    ({ name, fields }, index) => index > final && name.endsWith('/next') && fields['status'] !== '404',
  );
  if (poll < 0) return entries;
  const idle = entries.findIndex(({ name }, index) => index > poll && name === 'script Idle_Enter_00');
  return entries.slice(0, (idle < 0 ? poll : idle) + 1);
}

function gatesOf(trace: Trace): readonly Entry[] {
  const entries = trace.lines.flatMap((line): readonly Entry[] => {
    if (line.src === 'driver') return line.call.endsWith('.SetUpdateControlMap') ? [driverEntry(line)] : [];
    if (line.src === 'script')
      return GATED_SCRIPTS.test(line.what) ? [programEntry('script', line.what)] : [];
    if (line.src !== 'http') return [];
    const entry = httpEntry(line, true);
    const isOffer = entry.name.endsWith('/next') && line.status === 200;
    if (isOffer)
      return [{ name: entry.name, fields: only(entry.fields, 'body.update_control_map', 'reply') }];
    if (isMapRequest(line)) return [{ name: entry.name, fields: only(entry.fields, 'status', 'reply') }];
    if (isPauseStatus(line))
      return [{ name: entry.name, fields: only(entry.fields, 'status', 'body.substate') }];
    return FINAL.test(entry.name) && !hasSubstate(line) ? [{ name: entry.name, fields: {} }] : [];
  });
  return entries;
}

function busOf(trace: Trace): readonly Entry[] {
  const lines = trace.lines.filter((line): line is BusLine => line.src === 'dbus');
  const entries: Entry[] = [];
  for (const line of lines) {
    const { type, member, sender, args = [] } = line;
    const isMenders = String(args[0]).startsWith('io.mender.');
    if (type === 'method_call' && member === 'RequestName' && isMenders) {
      entries.push({ name: `takes the name ${String(args[0])}`, fields: { flags: String(args[1]) } });
    } else if (type === 'signal' && line.interface?.startsWith('io.mender.')) {
      entries.push({
        name: `signal ${line.interface}.${member}`,
        fields: { path: line.path ?? '', signature: line.signature ?? '', args: plain(args) },
      });
    } else if (type === 'error' && sender !== undefined) {
      entries.push({ name: `error ${plain(line.error_name)}`, fields: { text: plain(args[0] ?? '') } });
    }
  }
  // Where they stand among each other hangs on the tick of a clock: each kind on its own.
  const kinds = ['takes', 'signal', 'error'];
  const sorted = kinds.flatMap((kind) => withoutRepeats(entries.filter(({ name }) => name.startsWith(kind))));
  const calls = trace.lines.filter((line): line is DriverLine => line.src === 'driver').map(driverEntry);
  return [...sorted, ...calls];
}

/** How often a device authenticates while a trace is taken hangs on when that ended; the lane `flow` has the requests. */
function withoutRepeats(entries: readonly Entry[]): readonly Entry[] {
  return entries.filter((entry, index) => {
    const before = entries[index - 1];
    const isToken = entry.name.endsWith('.JwtTokenStateChange');
    return !isToken || JSON.stringify(before) !== JSON.stringify(entry);
  });
}

const isMapRequest = ({ path }: HttpLine): boolean => path.endsWith('/update_control_map');
const isPauseStatus = ({ body }: HttpLine): boolean =>
  String((body as { status?: unknown } | undefined)?.status).startsWith('pause_');
const hasSubstate = ({ body }: HttpLine): boolean =>
  typeof body === 'object' && body !== null && 'substate' in body;

function programEntry(src: string, what: string): Entry {
  return { name: `${src} ${what}`, fields: {} };
}

function httpEntry(line: HttpLine, isGo: boolean): Entry {
  const { status: reported } = (line.body ?? {}) as { status?: unknown };
  const isReport = line.path.endsWith('/status');
  const path = plain(line.path).replace(V2, 'v2').replace(V1, 'v1');
  const fields: Record<string, string> = { status: String(line.status) };
  if (line.query !== undefined) fields['query'] = line.query;
  // The transport is that of the C++ client: Go's library has other habits.
  for (const name of isGo ? ['range'] : HEADERS) {
    const value = headerOf(line, name);
    if (value !== undefined) fields[`header ${name}`] = value;
  }
  fields['header x-men-signature'] = line.req['x-men-signature'] === undefined ? 'none' : 'present';
  if (!isGo) fields['length'] = lengthOf(line.req);
  Object.assign(fields, bodyFields(line, isGo));
  if (line.bodyBytes !== undefined) fields['sent'] = sentOf(line);
  // An offer is judged by what comes of it; what a map says belongs to the gates.
  if (isMapRequest(line)) fields['reply'] = plain(line.reply);
  return { name: `${line.method} ${path}${isReport ? ` ${String(reported)}` : ''}`, fields };
}

function headerOf({ req }: HttpLine, name: string): string | undefined {
  const value = req[name];
  if (value === undefined) return undefined;
  // The traces call whatever stands there a token.
  if (name === 'authorization') return 'present';
  return name === 'range' ? value.replace(/-\d+$/, '-LAST') : value;
}

function lengthOf(req: Readonly<Record<string, string>>): string {
  if (req['transfer-encoding'] !== undefined) return 'chunked';
  return req['content-length'] === undefined ? 'none' : 'stated';
}

/** How much of what was to be sent. Artifacts of ours and theirs have different sizes; a cut comes at the same place. */
function sentOf({ bodyBytes, contentLength, fault }: HttpLine): string {
  const part = bodyBytes === contentLength ? 'all' : `${bodyBytes} bytes`;
  return fault === undefined ? part : `${part}, ${fault}`;
}

function bodyFields({ path, body }: HttpLine, isGo: boolean): Record<string, string> {
  if (path.endsWith('/log')) return logFields(body);
  if (path.endsWith('/attributes') && Array.isArray(body)) return attributeFields(body, isGo);
  const fields: Record<string, string> = {};
  leaves('body', body, fields);
  return fields;
}

/** What a log says is each client's own; how it is written is the server's. */
function logFields(body: unknown): Record<string, string> {
  const messages = (body as { messages?: unknown } | undefined)?.messages;
  if (!Array.isArray(messages)) return { body: plain(body) };
  const shapes = new Set(
    messages.map((one) =>
      Object.keys(one as object)
        .sort()
        .join(','),
    ),
  );
  return {
    'body.messages': messages.length === 0 ? 'empty' : 'not empty',
    'body.messages[]': [...shapes].join(' or '),
  };
}

function attributeFields(body: readonly unknown[], isGo: boolean): Record<string, string> {
  const list = body as readonly { readonly name: string; readonly value: unknown }[];
  const names = list.map(({ name }) => name);
  const isSorted = names.every((name, index) => index === 0 || (names[index - 1] ?? '') <= name);
  // The Go client shuffles them.
  const fields: Record<string, string> = isGo ? {} : { order: isSorted ? 'by name' : 'unsorted' };
  for (const { name, value } of list) {
    fields[`body[${name}]`] = name === 'mender_client_version' ? '<version>' : plain(value);
  }
  return fields;
}

function leaves(at: string, value: unknown, fields: Record<string, string>): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [name, one] of Object.entries(value)) leaves(`${at}.${name}`, one, fields);
  } else if (value !== undefined) {
    fields[at] = plain(value);
  }
}

function driverEntry({ call, args, reply, error }: DriverLine): Entry {
  const answer = error === undefined ? plain(reply) : `error: ${plain(error)}`;
  return {
    name: `call ${call}(${args.map(String).join(', ')})`,
    fields: { answer: withoutComments(answer) },
  };
}

/** Of an introspection only what Mender says about itself, each element with its attributes in order. */
function withoutComments(answer: string): string {
  if (!answer.includes('<node')) return answer;
  const text = answer
    .replaceAll('\\n', ' ')
    .replaceAll('\\"', '"')
    .replace(/<!--.*?-->/gs, '');
  const interfaces = [...text.matchAll(/<interface name="io\.mender\..*?<\/interface>/gs)];
  return interfaces
    .flatMap(([one]) => [...one.matchAll(/<(\w+)([^>]*?)\/?>/g)])
    .map(([, element = '', attributes = '']) => {
      const sorted = [...attributes.matchAll(/\w+="[^"]*"/g)].map(([attribute]) => attribute).sort();
      return [element, ...sorted].join(' ');
    })
    .join('; ');
}

/** As text, without what differs from run to run. */
function plain(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value ?? '');
  return text
    .replace(UUID, '<id>')
    .replace(/-----BEGIN PUBLIC KEY-----[^]*?-----END PUBLIC KEY-----(\\n|\n)?/g, '<pem>')
    .replace(/http:\/\/127\.0\.0\.1:\d+/g, '<local-proxy>');
}

const only = (
  fields: Readonly<Record<string, string>>,
  ...names: readonly string[]
): Record<string, string> =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => names.includes(name)));
