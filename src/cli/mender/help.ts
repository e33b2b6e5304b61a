/** Help and version texts of the Mender programs. In our words; the names in them are Mender's. */
import type { CommandSpec, OptionSpec, ProgramSpec } from './programs.ts';

export function programHelp(program: ProgramSpec, version: string): string {
  const { name, help, commands, options } = program;
  return [
    `${name} - ${help}`,
    '',
    `Usage: ${name} [global options] command [command options] [arguments]`,
    `Version: ${version}`,
    '',
    'Commands:',
    ...columns(commands.map((one) => [one.name, one.help])),
    '',
    'Global options:',
    ...columns(options.map(optionRow)),
    '',
    `'${name} COMMAND --help' tells the options of a command. See also holdpoint(1).`,
    '',
  ].join('\n');
}

export function commandHelp(program: ProgramSpec, command: CommandSpec): string {
  const argument = command.argument === undefined ? '' : ` ${command.argument}`;
  return [
    `${program.name} ${command.name} - ${command.help}`,
    '',
    `Usage: ${program.name} ${command.name} [options]${argument}`,
    '',
    'Options:',
    ...columns(command.options.map(optionRow)),
    '',
  ].join('\n');
}

/** 3.x names the runtime behind a tab; 5.x prints the version alone. */
export function versionText({ generation }: ProgramSpec, version: string): string {
  return generation === 3 ? `${version}\truntime: node${process.versions.node}\n` : `${version}\n`;
}

function optionRow({ long, aliases = [], short, value, help }: OptionSpec): readonly [string, string] {
  const names = [
    `--${long}`,
    ...aliases.map((one) => `--${one}`),
    ...(short === undefined ? [] : [`-${short}`]),
  ];
  return [`${names.join(', ')}${value === undefined ? '' : ` ${value}`}`, help];
}

function columns(rows: readonly (readonly [string, string])[]): readonly string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}
