/**
 * The walk that every frontend is taken for, on a simulated device, by whatever means it is looked at and pressed: started
 * before the service, asked, put off, asked again, the reboot's window, the restart of the service, and the result.
 */
import { readFileSync } from 'node:fs';
import { openUpdateClient } from '../../src/adapters/dbus/update-client.ts';
import { watchBusCalls } from '../support/bus-calls.ts';
import { busctl, OTHER_UID, TARGET } from '../support/bus-tools.ts';
import { asUser, startSimulation, type SessionBus, type Simulation } from '../support/simulation.ts';
import { watchProperties } from '../support/property-watch.ts';

export interface Frontend {
  /** Until it shows the text. */
  shows(text: string): Promise<void>;
  press(label: string): Promise<void>;
  /** Keeps a picture of what it shows. */
  keep(name: string): Promise<void>;
}

/** Release notes of what the simulator plays. */
export const NOTES = 'Faster start, better printing.';

export type Language = 'en' | 'de';

export function messageOf(language: Language, key: string): string {
  const text = readFileSync(`examples/catalogue/${language}.json`, 'utf8');
  const message = (JSON.parse(text) as { messages: Record<string, string> }).messages[key];
  if (message === undefined) throw new Error(`there is no message ${key}`);
  return message;
}

/** What is seen and pressed is read from pictures, which takes its time on a loaded machine. */
const PATIENCE_MS = 180_000;

const say = (key: string): string => messageOf('en', key);

/** As another client: so that the test need not wait for hours. */
async function call(bus: SessionBus, method: string, ...args: readonly string[]): Promise<void> {
  const target = [TARGET.name, TARGET.path, TARGET.main];
  const { status, stderr } = await busctl(bus.address, ['call', ...target, method, ...args], {
    uid: OTHER_UID,
  });
  if (status !== 0) throw new Error(`${method}: ${stderr}`);
}

/** `frontend`: English, running, with no service on the bus. */
export async function walkThrough(bus: SessionBus, frontend: Frontend, name: string): Promise<void> {
  await frontend.shows('update service is not running');
  let simulation: Simulation | null = null;
  const watch = watchProperties(bus.address, async () => simulation?.lines.join('\n') ?? '');
  try {
    simulation = startSimulation(bus, ['kiosk', '--speed', '10']);
    await frontend.shows(say('point.ArtifactInstall_Enter'));
    await frontend.shows('release-2');
    await frontend.shows(NOTES);
    await frontend.keep(`${name}-install`);
    await frontend.press(say('ui.later'));
    const snoozed = await watch.waitFor(
      'it is put off',
      (seen) => seen['WaitTicket'] === '' && seen['WaitPoint'] !== '',
      PATIENCE_MS,
    );
    await frontend.shows(say('reason.snoozed'));
    await call(bus, 'EndSnooze', 's', String(snoozed['DeploymentId']));
    await frontend.shows(say('point.ArtifactInstall_Enter'));
    await frontend.press(say('ui.now'));
    await frontend.shows(say('point.ArtifactReboot_Enter'));
    await frontend.keep(`${name}-reboot`);
    await frontend.press(say('ui.window'));
    const agreed = await watch.waitFor(
      'only the window is left',
      ({ Blockers: blockers }) => {
        const kinds = (blockers as readonly (readonly string[])[]).map(([, kind]) => kind);
        return kinds.length === 1 && kinds[0] === 'window';
      },
      PATIENCE_MS,
    );
    await frontend.shows(say('reason.outside-window'));
    await call(bus, 'ContinueFull', 'sa{sv}', String(agreed['WaitTicket']), '1', 'now', 'b', 'true');
    // The device reboots, and the service comes back.
    await simulation.line('on the bus again');
    await frontend.shows(say('result.success'));
    await frontend.keep(`${name}-success`);
  } finally {
    watch.close();
    await simulation?.stop();
  }
}

/** `frontend`: German, started while the service runs: why the last update failed. */
export async function lateAndInGerman(
  bus: SessionBus,
  start: (language: Language) => Promise<Frontend>,
  name: string,
): Promise<void> {
  const simulation = startSimulation(bus, ['fail-signature', '--speed', '50']);
  try {
    await simulation.line('Idle; last result: failure');
    const frontend = await start('de');
    await frontend.shows(messageOf('de', 'result.failure').split(';')[0] as string);
    // The rest of the sentence has dots on its letters, which are misread.
    await frontend.shows('Update stammt nicht von einem');
    await frontend.keep(`${name}-failure-de`);
  } finally {
    await simulation.stop();
  }
}

/**
 * `frontend`: English. Somebody else puts the update off while the person's yes is on its way: it approves nothing, and that
 * is told. The service stands still meanwhile, so that both answers lie in front of it in this order.
 */
export async function answersTooLate(bus: SessionBus, frontend: Frontend): Promise<void> {
  const calls = await watchBusCalls(bus.address, TARGET.main, asUser);
  const other = await openUpdateClient(bus.address);
  const simulation = startSimulation(bus, ['no-reboot', '--speed', '20']);
  try {
    await frontend.shows(say('point.ArtifactInstall_Enter'));
    // Known to the service by its first call, as the frontend is: a stranger's call has to wait until it is known who that is.
    const ticket = (await other.snapshot()).waitTicket;
    simulation.child.kill('SIGSTOP');
    // How it is answered, and whether in time, does not matter: what the frontend shows in the end tells.
    const putOff = other.snooze(ticket, 3600).catch(() => 0);
    await calls.seen('Snooze');
    await frontend.press(say('ui.now'));
    await calls.seen('ContinueFull');
    simulation.child.kill('SIGCONT');
    await putOff;
    await frontend.shows(say('refusal.StaleTicket'));
    await frontend.shows(say('reason.snoozed'));
  } finally {
    simulation.child.kill('SIGCONT');
    other.close();
    await simulation.stop();
    await calls.stop();
  }
}
