/** install, commit, rollback, resume, show-artifact and show-provides, by the name called. */
import { resolve } from 'node:path';
import { systemBusAddress } from '../../adapters/dbus/address.ts';
import { standalone, type StandaloneRequest } from '../../compose-standalone.ts';
import { UpdateError } from '../../core/errors.ts';
import { STOP_POINTS, type StopPoint } from '../../core/standalone-table.ts';
import { meterOfBytes } from '../compose.ts';
import { installedOf, nameFromService } from '../installed.ts';
import { showArtifact, showProvides } from '../local-commands.ts';
import { isUrl } from '../service-commands.ts';
import { viewStandalone } from '../standalone-view.ts';
import { complain, createProgressView, line } from '../terminal.ts';
import { logOf, settingsOf, type MenderContext } from './context.ts';
import { installingLine, viewOf3 } from './view-of-3.ts';

export function installArtifact(context: MenderContext): Promise<number> {
  const { argument } = context.run;
  const location = isUrl(argument)
    ? ({ kind: 'url', url: argument } as const)
    : ({ kind: 'file', path: resolve(argument) } as const);
  return work(context, { command: 'install', location, stops: stopsOf(context) });
}

export function changeUpdate(
  context: MenderContext,
  command: 'commit' | 'rollback' | 'resume',
): Promise<number> {
  return work(context, { command, stops: stopsOf(context) });
}

function stopsOf({ run }: MenderContext): readonly StopPoint[] {
  return STOP_POINTS.filter((point) => run.own.all('stop-before').includes(point));
}

/** Standard output holds what the program of that name prints there; progress goes to a terminal's standard error. */
async function work(context: MenderContext, request: StandaloneRequest): Promise<number> {
  const { program, around, run, doing } = context;
  const { terminal, interrupts } = around;
  const is3 = program.generation === 3;
  const settings = await settingsOf(context);
  const log = await logOf(context);
  const view = createProgressView(terminal.err);
  if (!is3 && request.command === 'install') line(terminal.out, 'Installing artifact...');
  const result = await standalone(
    settings,
    log,
    request,
    interrupts,
    {
      onOpen: (sizeBytes) => {
        if (is3) line(terminal.out, installingLine(sizeBytes));
      },
      onBytes: (bytes, sizeBytes) => {
        if (terminal.err.isTerminal) view.show(meterOfBytes(bytes, sizeBytes));
      },
    },
    program.name,
  ).finally(() => view.clear());
  const options = {
    command: request.command,
    isRebootTold: run.own.flag('reboot-exit-code') === true,
    interruptedExitCode: around.interruptedExitCode(),
  };
  const shown = is3 ? viewOf3(result, options) : viewStandalone(result, options);
  if (shown.complaint !== null) complain(terminal, doing, shown.complaint);
  for (const text of shown.lines) line(terminal.out, text);
  return shown.exitCode;
}

export async function printArtifact(context: MenderContext): Promise<number> {
  const { around, program } = context;
  const name =
    (await nameFromService(systemBusAddress(around.environment))) ??
    (await installedOf(await settingsOf(context), await logOf(context))).artifactName;
  if (name === '' && program.generation === 3) {
    throw new UpdateError('wrongState', 'the installed artifact has no name');
  }
  return showArtifact(around.terminal, name);
}

export async function printProvides(context: MenderContext): Promise<number> {
  return showProvides(
    context.around.terminal,
    await installedOf(await settingsOf(context), await logOf(context)),
  );
}
