/**
 * Reads a command line as the Mender program of that name would. 3.x: options with one dash or two, values after a blank
 * or `=`, switches also as `--name=false`, `help` as a command, exit status 3 for an unknown command. 5.x: two dashes for
 * long names, a value does not begin with a dash, `--version` stands alone. Stricter than 3.x where that hides mistakes:
 * an argument too many is one. Source: spec/configuration.md sections 4.1 and 4.3.
 */
import { nearest } from '../../config/nearest.ts';
import { quoted } from '../../core/printable.ts';
import type { CommandSpec, OptionSpec, ProgramSpec } from './programs.ts';

/** What was given for the options, by long name; a switch is `true` or `false`. */
export interface GivenOptions {
  /** The last one given; undefined = none. */
  text(name: string): string | undefined;
  all(name: string): readonly string[];
  /** undefined = not given. */
  flag(name: string): boolean | undefined;
}

export type CommandLine =
  /** `command`: null = of the whole program. */
  | { readonly kind: 'help'; readonly command: CommandSpec | null }
  | { readonly kind: 'version' }
  | { readonly kind: 'mistake'; readonly sentence: string; readonly exitCode: 1 | 3 }
  | {
      readonly kind: 'run';
      readonly command: CommandSpec;
      readonly global: GivenOptions;
      readonly own: GivenOptions;
      /** '' = the command takes none. */
      readonly argument: string;
    };

class Mistake extends Error {
  readonly exitCode: 1 | 3;
  constructor(sentence: string, exitCode: 1 | 3 = 1) {
    super(sentence);
    this.exitCode = exitCode;
  }
}

export function readCommandLine(program: ProgramSpec, args: readonly string[]): CommandLine {
  try {
    return read(program, args);
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    return { kind: 'mistake', sentence: error.message, exitCode: error.exitCode };
  }
}

function read(program: ProgramSpec, args: readonly string[]): CommandLine {
  const { generation } = program;
  const before = new OptionReader(program.options, generation);
  const rest = before.take(args, false);
  if (before.flag('help') === true) return { kind: 'help', command: null };
  if (before.flag('version') === true) {
    if (generation === 5 && args.length > 1) {
      throw new Mistake('--version cannot be combined with other options and commands');
    }
    return { kind: 'version' };
  }
  const [name] = rest;
  if (name === undefined) {
    if (generation === 3) return { kind: 'help', command: null };
    throw new Mistake(`expected a command: ${program.commands.map((one) => one.name).join(', ')}`);
  }
  if (generation === 3 && (name === 'help' || name === 'h')) return help(program, rest.slice(1));

  const { command, after } = findCommand(program, rest);
  if (command === null) return { kind: 'help', command: null };
  const own = new OptionReader(command.options, generation);
  const words = own.take(after, true);
  if (own.flag('help') === true) return { kind: 'help', command };
  const most = command.argument === undefined ? 0 : 1;
  if (words.length > most) throw new Mistake(`found the argument ${quoted(words[most] ?? '', 80)} too many`);
  const [argument = ''] = words;
  if (command.argument !== undefined && argument === '') throw new Mistake(`expected ${command.argument}`);
  return { kind: 'run', command, global: before, own, argument };
}

function help(program: ProgramSpec, names: readonly string[]): CommandLine {
  if (names.length === 0) return { kind: 'help', command: null };
  return { kind: 'help', command: findCommand(program, names).command };
}

/** `command` null: the name of a group of commands without one of them. */
function findCommand(
  program: ProgramSpec,
  words: readonly string[],
): { readonly command: CommandSpec | null; readonly after: readonly string[] } {
  const [first = '', second] = words;
  const one = program.commands.find(({ name }) => name === first);
  if (one !== undefined) return { command: one, after: words.slice(1) };
  const group = program.commands.filter(({ name }) => name.startsWith(`${first} `));
  if (group.length > 0 && (second === undefined || /^(--?h(elp)?|help|h)$/.test(second))) {
    return { command: null, after: [] };
  }
  const inner = group.find(({ name }) => name === `${first} ${second}`);
  if (inner !== undefined) return { command: inner, after: words.slice(2) };
  const typed = group.length > 0 ? `${first} ${second}` : first;
  const names = program.commands.map(({ name }) => name);
  const meant = nearest(typed, names);
  throw new Mistake(
    `unknown command ${quoted(typed, 80)}${meant === null ? '' : ` (did you mean ${meant}?)`}`,
    program.generation === 3 ? 3 : 1,
  );
}

const TRUE = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const FALSE = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

class OptionReader implements GivenOptions {
  readonly #specs: readonly OptionSpec[];
  readonly #generation: 3 | 5;
  readonly #given = new Map<string, (string | boolean)[]>();

  constructor(specs: readonly OptionSpec[], generation: 3 | 5) {
    this.#specs = specs;
    this.#generation = generation;
  }

  text(name: string): string | undefined {
    const last = this.#given.get(name)?.at(-1);
    return typeof last === 'string' ? last : undefined;
  }
  all(name: string): readonly string[] {
    return (this.#given.get(name) ?? []).filter((one) => typeof one === 'string');
  }
  flag(name: string): boolean | undefined {
    const last = this.#given.get(name)?.at(-1);
    return typeof last === 'boolean' ? last : undefined;
  }

  /** Reads options up to the first word that is none, or among words. @returns the words */
  take(args: readonly string[], isAmongWords: boolean): readonly string[] {
    const words: string[] = [];
    for (let at = 0; at < args.length; at++) {
      const arg = args[at] ?? '';
      if (arg === '--') return [...words, ...args.slice(at + 1)];
      if (!arg.startsWith('-') || arg === '-') {
        if (!isAmongWords) return args.slice(at);
        words.push(arg);
        continue;
      }
      const equals = arg.indexOf('=');
      const typed = equals < 0 ? arg : arg.slice(0, equals);
      const attached = equals < 0 ? undefined : arg.slice(equals + 1);
      const spec = this.#find(typed);
      if (spec.value === undefined) {
        this.#add(spec, this.#switchValue(typed, attached));
        continue;
      }
      const value = attached ?? this.#valueAfter(typed, args[at + 1]);
      if (attached === undefined) at += 1;
      if (spec.oneOf !== undefined && !spec.oneOf.includes(value)) {
        throw new Mistake(`${typed}: found ${quoted(value, 80)}, expected one of ${spec.oneOf.join(', ')}`);
      }
      this.#add(spec, value);
    }
    return words;
  }

  #find(typed: string): OptionSpec {
    const dashes = typed.startsWith('--') ? 2 : 1;
    const name = typed.slice(dashes);
    const found = this.#specs.find(({ long, short, aliases = [] }) => {
      if (name === short) return dashes === 1 || this.#generation === 3;
      return (dashes === 2 || this.#generation === 3) && (name === long || aliases.includes(name));
    });
    if (found !== undefined) return found;
    const names = this.#specs.map(({ long }) => long);
    const meant = nearest(name, names);
    throw new Mistake(
      `unknown option ${quoted(typed, 80)}${meant === null ? '' : ` (did you mean --${meant}?)`}`,
    );
  }

  #switchValue(typed: string, attached: string | undefined): boolean {
    if (attached === undefined) return true;
    if (this.#generation === 5) throw new Mistake(`${typed} takes no value`);
    if (TRUE.has(attached)) return true;
    if (FALSE.has(attached)) return false;
    throw new Mistake(`${typed}: found ${quoted(attached, 80)}, expected true or false`);
  }

  #valueAfter(typed: string, next: string | undefined): string {
    // 3.x takes whatever comes next. A dash alone is standard input, which 5.x means, and takes only after `=`.
    if (next === undefined || (this.#generation === 5 && /^-./.test(next))) {
      throw new Mistake(`${typed}: expected a value after it`);
    }
    return next;
  }

  #add({ long, isRepeatable }: OptionSpec, value: string | boolean): void {
    const before = isRepeatable === true ? (this.#given.get(long) ?? []) : [];
    this.#given.set(long, [...before, value]);
  }
}
