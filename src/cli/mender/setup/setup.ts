/** `mender setup`: asks what was not given, writes mender.conf and device_type. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { plausibleDates } from '../../../adapters/http/plausible-dates.ts';
import { readDeviceType } from '../../../adapters/system/device-type.ts';
import { SystemClock } from '../../../adapters/system/clock.ts';
import { clockTrustOf } from '../../../compose-adapters.ts';
import { loadSettings } from '../../../config/load.ts';
import { complain } from '../../terminal.ts';
import { logOf, type MenderContext } from '../context.ts';
import { createAsker } from './asker.ts';
import { addHost, DEMO_PLACES, trustDemoCertificate } from './demo.ts';
import { createHostedLogin } from './hosted.ts';
import { askEverything, HOSTED_URL, type Answers } from './questions.ts';
import { DEMO_CERTIFICATES, requireWritable, writeSetup } from './write.ts';

export async function setUp(context: MenderContext): Promise<number> {
  const { around, run, doing } = context;
  const { terminal, interrupts } = around;
  const { own } = run;
  // Its own options win over those in front of it.
  const options = {
    ...context.options,
    config: own.text('config') ?? context.options.config,
    data: own.text('data') ?? context.options.data,
  };
  const { settings } = await loadSettings(options, around.environment);
  const { paths } = settings;
  const files = {
    config: paths.mainConfigFile,
    fallbackConfig: paths.fallbackConfigFile,
    datastore: paths.datastoreDirectory,
  };
  await requireWritable(files);
  const say = (text: string): void => {
    if (own.flag('quiet') !== true) terminal.out.write(text);
  };
  say('Mender Client Setup\n===================\n\nTell this device what it is, and where its server is.\n');
  const asker = createAsker(
    around.input(),
    terminal.out,
    interrupts.first,
    "options answer without being asked ('mender setup --help')",
  );
  const clock = new SystemClock();
  let answers: Answers;
  try {
    answers = await askEverything({
      given: own,
      asker,
      say: (text) => terminal.out.write(text),
      login: createHostedLogin(
        HOSTED_URL,
        {
          serverCertificatePath: own.text('server-cert') || (options.trustedCerts ?? null),
          isTlsVerificationSkipped: options.skipVerify === true,
          clientCertificate: null,
          isKeepAliveDisabled: true,
          idleConnectionTimeoutSeconds: 0,
          plausibleDates: plausibleDates(clockTrustOf(settings)),
        },
        clock,
        await logOf(context),
        interrupts.first,
      ),
      defaultDeviceType: await defaultDeviceType(paths.datastoreDirectory),
      trustedCerts: options.trustedCerts,
    });
  } finally {
    asker.close();
  }
  const demoCertificate = await presentOne(DEMO_CERTIFICATES);
  await writeSetup(files, answers, demoCertificate);
  if (answers.demoServerIp !== null) {
    const warn = (error: unknown): void =>
      complain(terminal, doing, error instanceof Error ? error.message : String(error));
    await addHost(answers.serverUrl, answers.demoServerIp, DEMO_PLACES).catch(warn);
    await trustDemoCertificate(demoCertificate, DEMO_PLACES).catch(warn);
  }
  say('Mender setup successfully.\n');
  return 0;
}

/** What the device is already, else its name. */
async function defaultDeviceType(datastore: string): Promise<string> {
  const known = await readDeviceType(join(datastore, 'device_type')).catch(() => '');
  if (known !== '') return known;
  const host = (await readFile('/etc/hostname', 'utf8').catch(() => '')).trim();
  return host === '' ? 'unknown' : host;
}

async function presentOne([first, ...others]: readonly [string, ...string[]]): Promise<string> {
  for (const path of [first, ...others]) {
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  return first;
}
