/** The XML of the interface as its manual: what is in its comments beside what is in its elements; and examples of calls. */
export interface Argument {
  readonly name: string;
  readonly type: string;
  readonly direction: 'in' | 'out';
  readonly about: string;
}

export interface Member {
  readonly kind: 'property' | 'method' | 'signal';
  readonly interfaceName: string;
  readonly name: string;
  /** Of a property. */
  readonly type: string;
  readonly args: readonly Argument[];
  /** Paragraphs. */
  readonly about: readonly string[];
  /** Of a method: when it may be called, where it leads to, what it is refused with, what right it needs. */
  readonly facts: readonly { readonly label: string; readonly text: string }[];
}

export interface Interface {
  readonly name: string;
  readonly about: string;
  readonly members: readonly Member[];
}

const ELEMENT =
  /<!--(?<comment>(?:(?!-->).)*)-->\s*<(?<kind>interface|property|method|signal) name="(?<name>[^"]+)"(?<rest>[^>]*?)(?<end>\/?)>/gs;
const LABELS =
  /(?:^|(?<=[.)] ))(Callable(?:, leads to(?:, errors)?(?:, action)?)?|Leads to|Errors|Action): /g;

/** Throws when a member has no comment or the comment is another one's: the manual would be silent about it. */
export function parseInterfaces(xml: string): {
  readonly preface: string;
  readonly interfaces: readonly Interface[];
} {
  const [, preface = ''] = /<!--\n(.*?)-->\n<node/s.exec(xml) ?? [];
  const interfaces: { name: string; about: string; members: Member[] }[] = [];
  for (const match of xml.matchAll(ELEMENT)) {
    const { comment = '', kind = '', name = '', rest = '', end = '' } = match.groups ?? {};
    const lines = comment
      .trim()
      .split('\n')
      .map((line) => line.trim());
    const [first = '', ...others] = lines;
    if (!first.startsWith(`${name}:`))
      throw new Error(`the comment before ${kind} ${name} begins with "${first}"`);
    if (kind === 'interface') {
      const about = lines
        .filter((line) => line !== '' && line !== first)
        .map((line) => line.replace(/^@short_description: (.*?)\.?$/, '$1.'))
        .join(' ');
      interfaces.push({ name, about, members: [] });
      continue;
    }
    const current = interfaces.at(-1);
    if (!current) throw new Error(`${name} stands in no interface`);
    const body =
      end === '/' ? '' : xml.slice(match.index + match[0].length, xml.indexOf(`</${kind}>`, match.index));
    const { args, text } = argumentsAndText([first.slice(name.length + 1).trim(), ...others]);
    const { about, facts } = factsOf(text);
    current.members.push({
      kind: kind as Member['kind'],
      interfaceName: current.name,
      name,
      type: /type="([^"]+)"/.exec(rest)?.[1] ?? '',
      about,
      facts,
      args: [...body.matchAll(/<arg name="([^"]+)" type="([^"]+)"(?: direction="(in|out)")?/g)].map(
        ([, arg = '', type = '', direction]) => ({
          name: arg,
          type,
          direction: (direction ?? 'out') as Argument['direction'],
          about: args.get(arg) ?? '',
        }),
      ),
    });
  }
  return { preface: preface.trimEnd(), interfaces };
}

function argumentsAndText(lines: readonly string[]): {
  readonly args: ReadonlyMap<string, string>;
  readonly text: readonly string[];
} {
  const args = new Map<string, string>();
  const paragraphs: string[][] = [[]];
  let argument = '';
  for (const line of lines) {
    const [, name, about = ''] = /^@(\w+): ?(.*)$/.exec(line) ?? [];
    if (name !== undefined) args.set((argument = name), about);
    else if (line === '') {
      argument = '';
      paragraphs.push([]);
    } else if (argument !== '') args.set(argument, `${args.get(argument) ?? ''} ${line}`);
    else paragraphs.at(-1)?.push(line);
  }
  return { args, text: paragraphs.map((part) => part.join(' ')).filter((part) => part !== '') };
}

function factsOf(text: readonly string[]): Pick<Member, 'about' | 'facts'> {
  const about: string[] = [];
  const facts: { label: string; text: string }[] = [];
  for (const paragraph of text) {
    const found = [...paragraph.matchAll(LABELS)];
    const start = found[0]?.index ?? paragraph.length;
    if (start > 0) about.push(paragraph.slice(0, start).trim());
    found.forEach((match, index) => {
      const from = match.index + match[0].length;
      facts.push({ label: match[1] as string, text: paragraph.slice(from, found[index + 1]?.index).trim() });
    });
  }
  return { about, facts };
}

/** What stands in examples for an argument; by its name, else its type. Words in capitals are the shell's. */
const SAMPLES: Readonly<Record<string, string>> = {
  ticket: '$TICKET',
  deployment_id: '$ID',
  hold_id: '$HOLD',
  reason: 'not on a Friday',
  action: 'continue',
  point: 'ArtifactReboot_Enter',
  why: 'surgery running',
  on_expire: 'keep-waiting',
  json: '{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1}',
  checker: 'kiosk-app',
  verdict: 'ok',
  message: 'all screens answer',
  path: '/media/usb/release-2.mender',
  require_digest: '',
  url: 'https://updates.example/release-2.mender',
  timeout_seconds: '900',
  seconds: '3600',
  max_entries: '10',
  from_seq: '1',
  from_line: '0',
  max_lines: '100',
};

function sampleOf({ name, type }: Argument): string {
  if (type === 'b') return 'true';
  const sample = SAMPLES[name];
  if (sample === undefined && type !== 'as' && type !== 'a{sv}')
    throw new Error(`no sample for ${name} (${type})`);
  return sample ?? '';
}

const isNumber = (type: string): boolean => type === 'u' || type === 't';
const inQuotes = (text: string): string => (text.startsWith('$') ? `"${text}"` : `'${text}'`);
const PYTHON_NAMES = (text: string): string => text.replaceAll(/"\$([A-Z]+)"/g, 'os.environ["$1"]');

/** The same call with busctl, gdbus, Python and C++ (Qt). */
export function examplesOf(
  interfaceName: string,
  member: Member,
): readonly { readonly language: string; readonly code: string }[] {
  const args = member.args.filter(({ direction }) => direction === 'in');
  const types = args.map(({ type }) => type).join('');
  const target = 'io.holdpoint.Update1 /io/holdpoint/Update1';
  const busctl = args.map((arg) =>
    arg.type === 'as'
      ? '1 ArtifactReboot_Enter'
      : arg.type === 'a{sv}'
        ? '0'
        : isNumber(arg.type) || arg.type === 'b'
          ? sampleOf(arg)
          : inQuotes(sampleOf(arg)),
  );
  const gdbus = args.map((arg) =>
    arg.type === 'as'
      ? `"['ArtifactReboot_Enter']"`
      : arg.type === 'a{sv}'
        ? `'{}'`
        : isNumber(arg.type) || arg.type === 'b'
          ? sampleOf(arg)
          : inQuotes(sampleOf(arg)),
  );
  const python = args.map((arg) =>
    arg.type === 'as'
      ? '["ArtifactReboot_Enter"]'
      : arg.type === 'a{sv}'
        ? '{}'
        : arg.type === 'b'
          ? 'True'
          : isNumber(arg.type)
            ? sampleOf(arg)
            : PYTHON_NAMES(JSON.stringify(sampleOf(arg))),
  );
  const cpp = args.map((arg) =>
    arg.type === 'as'
      ? ' << QStringList{"ArtifactReboot_Enter"}'
      : arg.type === 'a{sv}'
        ? ' << QVariantMap()'
        : arg.type === 'b'
          ? ' << true'
          : arg.type === 'u'
            ? ` << ${sampleOf(arg)}u`
            : arg.type === 't'
              ? ` << quint64(${sampleOf(arg)})`
              : ` << ${sampleOf(arg).startsWith('$') ? sampleOf(arg).slice(1).toLowerCase() : JSON.stringify(sampleOf(arg))}`,
  );
  const signature = types === '' ? '' : ` '${types}' ${busctl.join(' ')}`;
  const tuple = python.length === 1 ? `${python[0]},` : python.join(', ');
  const variant = types === '' ? 'None' : `GLib.Variant("(${types})", (${tuple}))`;
  return [
    { language: 'sh', code: `busctl --system call ${target} ${interfaceName} ${member.name}${signature}` },
    {
      language: 'sh',
      code: `gdbus call --system -d io.holdpoint.Update1 -o /io/holdpoint/Update1 -m ${interfaceName}.${member.name} ${gdbus.join(' ')}`.trimEnd(),
    },
    {
      language: 'python',
      code: `import os
from gi.repository import Gio, GLib

bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
print(bus.call_sync("io.holdpoint.Update1", "/io/holdpoint/Update1", "${interfaceName}", "${member.name}",
                    ${variant}, None, 0, -1, None))`,
    },
    {
      language: 'cpp',
      code: `auto call = QDBusMessage::createMethodCall("io.holdpoint.Update1", "/io/holdpoint/Update1",
                                           "${interfaceName}", "${member.name}");
call${cpp.join('') || ' << QVariantList()'};
QDBusMessage reply = QDBusConnection::systemBus().call(call);`.replace('call << QVariantList();\n', ''),
    },
  ];
}
