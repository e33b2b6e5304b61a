/**
 * What shells complete for `holdpoint`, made from the command line itself, so that neither can drift from the other.
 * Run: tsx scripts/completions.ts FOLDER
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command, Option } from 'commander';
import { createProgram } from '../src/cli/program.ts';

interface Word {
  /** All names: `-c`, `--config`. */
  readonly names: readonly string[];
  readonly about: string;
  readonly takesValue: boolean;
  readonly takesFile: boolean;
}
interface Place {
  /** Words that lead here, without the program: `map set`; '' = the program itself. */
  readonly path: string;
  readonly options: readonly Word[];
  readonly commands: readonly { readonly name: string; readonly about: string }[];
  readonly takesFiles: boolean;
}

const FILE = /file|folder|pem|path/i;

function wordOf(option: Option): Word {
  const takesValue = option.required || option.optional;
  return {
    names: [option.short, option.long].filter((name) => name !== undefined && name !== null),
    about: option.description,
    takesValue,
    takesFile: takesValue && FILE.test(option.flags.replace(/^.*[<[]/, '')),
  };
}

/** Every place of the command line, the program itself first. */
export function placesOf(program: Command): readonly Place[] {
  function walk(command: Command, path: string): readonly Place[] {
    const help: Word = {
      names: ['-h', '--help'],
      about: 'display help',
      takesValue: false,
      takesFile: false,
    };
    const place: Place = {
      path,
      options: [...command.options.filter(({ hidden }) => !hidden).map(wordOf), help],
      commands: command.commands.map((inner) => ({ name: inner.name(), about: inner.description() })),
      takesFiles: command.registeredArguments.some((argument) => FILE.test(argument.name())),
    };
    return [place, ...command.commands.flatMap((inner) => walk(inner, `${path} ${inner.name()}`.trim()))];
  }
  return walk(program, '');
}

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ');
const HEADER = '# Made from the command line of holdpoint by scripts/completions.ts.';

export function bashCompletion(places: readonly Place[]): string {
  const cases = places.map(({ path, options, commands, takesFiles }) => {
    const words = [...commands.map(({ name }) => name), ...options.flatMap(({ names }) => names)];
    return `    ${quoted(path)}) words=${quoted(words.join(' '))} files=${takesFiles ? 1 : 0} ;;`;
  });
  const paths = places.filter(({ path }) => path !== '').map(({ path }) => quoted(path));
  const values = new Map(
    places
      .flatMap(({ options }) => options)
      .flatMap((word) => word.names.map((name) => [name, word] as const)),
  );
  const withValue = [...values].filter(([, { takesValue }]) => takesValue).map(([name]) => name);
  const withFile = [...values].filter(([, { takesFile }]) => takesFile).map(([name]) => name);
  return `${HEADER}
_holdpoint() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} place= word words files skip= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [ -n "$skip" ]; then skip=; continue; fi
    case $word in
      --) return ;;
      ${withValue.join(' | ')}) skip=1; continue ;;
      -*) continue ;;
    esac
    case "\${place:+$place }$word" in
      ${paths.join(' | ')}) place="\${place:+$place }$word" ;;
    esac
  done
  case $previous in
    ${withFile.join(' | ')}) COMPREPLY=($(compgen -f -- "$current")); compopt -o filenames 2>/dev/null; return ;;
    ${withValue.filter((name) => !withFile.includes(name)).join(' | ')}) return ;;
  esac
  case $place in
${cases.join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ "$files" = 1 ] && [[ $current != -* ]]; then
    COMPREPLY+=($(compgen -f -- "$current"))
    compopt -o filenames 2>/dev/null
  fi
}
complete -F _holdpoint holdpoint
`;
}

export function zshCompletion(places: readonly Place[]): string {
  const escaped = (text: string): string => oneLine(text).replaceAll(/([:[\]\\])/g, '\\$1');
  const cases = places.map(({ path, options, commands, takesFiles }) => {
    const described = [
      ...commands.map(({ name, about }) => quoted(`${name}:${escaped(about)}`)),
      ...options.flatMap(({ names, about }) => names.map((name) => quoted(`${name}:${escaped(about)}`))),
    ];
    return `    ${quoted(path)}) words=(${described.join(' ')}) files=${takesFiles ? 1 : 0} ;;`;
  });
  const paths = places.filter(({ path }) => path !== '').map(({ path }) => quoted(path));
  const options = places.flatMap((place) => place.options);
  const names = (keep: (word: Word) => boolean): string =>
    [...new Set(options.filter(keep).flatMap((word) => word.names))].join('|');
  return `#compdef holdpoint
${HEADER}
_holdpoint_complete() {
  local place= word skip= files=0 i
  local -a paths words
  for ((i = 2; i < CURRENT; i++)); do
    word=\${words_typed[i]}
    if [[ -n $skip ]]; then skip=; continue; fi
    case $word in
      --) _default; return ;;
      ${names(({ takesValue }) => takesValue)}) skip=1; continue ;;
      -*) continue ;;
    esac
    case "\${place:+$place }$word" in
      ${paths.join('|')}) place="\${place:+$place }$word" ;;
    esac
  done
  case \${words_typed[CURRENT-1]} in
    ${names(({ takesFile }) => takesFile)}) _files; return ;;
    ${names(({ takesValue, takesFile }) => takesValue && !takesFile)}) return ;;
  esac
  case $place in
${cases.join('\n')}
  esac
  local status_found=1
  _describe -o holdpoint words && status_found=0
  if (( files )); then _files && status_found=0; fi
  return status_found
}
local -a words_typed
words_typed=("\${words[@]}")
_holdpoint_complete "$@"
`;
}

export function fishCompletion(places: readonly Place[]): string {
  const lines = [HEADER, 'complete -c holdpoint -f'];
  const fishText = (text: string): string => `'${oneLine(text).replaceAll(/(['\\])/g, '\\$1')}'`;
  const top = places[0]?.commands.map(({ name }) => name).join(' ') ?? '';
  for (const { path, options, commands, takesFiles } of places) {
    const steps = path.split(' ').filter((step) => step !== '');
    const inner = commands.map(({ name }) => name).join(' ');
    const here =
      steps.length === 0
        ? `not __fish_seen_subcommand_from ${top}`
        : steps.map((step) => `__fish_seen_subcommand_from ${step}`).join('; and ');
    const open =
      inner === '' || steps.length === 0 ? here : `${here}; and not __fish_seen_subcommand_from ${inner}`;
    for (const { name, about } of commands) {
      lines.push(`complete -c holdpoint -n ${fishText(open)} -a ${name} -d ${fishText(about)}`);
    }
    for (const { names, about, takesValue, takesFile } of options) {
      const flags = names.map((name) =>
        name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`,
      );
      const value = takesFile ? ' -r -F' : takesValue ? ' -x' : '';
      lines.push(
        `complete -c holdpoint -n ${fishText(here)} ${flags.join(' ')}${value} -d ${fishText(about)}`,
      );
    }
    if (takesFiles) lines.push(`complete -c holdpoint -n ${fishText(here)} -F`);
  }
  return `${lines.join('\n')}\n`;
}

export async function writeCompletions(folder: string): Promise<void> {
  const program = createProgram({ version: '', writeOut: () => {}, writeErr: () => {}, run: () => {} });
  const places = placesOf(program);
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'holdpoint'), bashCompletion(places));
  await writeFile(join(folder, '_holdpoint'), zshCompletion(places));
  await writeFile(join(folder, 'holdpoint.fish'), fishCompletion(places));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [folder] = process.argv.slice(2);
  if (folder === undefined) throw new Error('usage: completions.ts FOLDER');
  await writeCompletions(folder);
}
