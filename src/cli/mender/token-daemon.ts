/** `mender-auth daemon`: gives out tokens until it is stopped. */
import { openLogFile } from '../../adapters/log/log-file.ts';
import { createServiceLog } from '../../adapters/log/winston.ts';
import { serveTokens as serve } from '../../compose-tokens.ts';
import { loadSettings, type ConfigOptions } from '../../config/load.ts';

/** @returns exit status, after a signal. Rejects when it cannot start, or loses its name. */
export async function serveTokens(options: ConfigOptions, logFile: string | undefined): Promise<number> {
  const { settings, warnings } = await loadSettings(options);
  const log = createServiceLog({
    level: settings.logLevel,
    ...(logFile !== undefined && { stream: await openLogFile(logFile), isForJournal: false }),
  });
  for (const warning of warnings) log.warn(warning);
  await serve(settings, log);
  return 0;
}
