/**
 * What the help of each subcommand teaches beside its options: lines to copy, and what comes next. A subcommand without its
 * row does not start, and a test parses every example.
 */
import type { Command } from 'commander';

interface Lesson {
  /** Command lines and what each is for. */
  readonly examples: readonly (readonly [line: string, what: string])[];
  /** A sentence: what to do or look at afterwards. */
  readonly next: string;
}

export const LESSONS: Readonly<Record<string, Lesson>> = {
  install: {
    examples: [
      ['holdpoint install /media/usb/release-2.mender', 'through the hold points, and watch it'],
      [
        'ID=$(holdpoint install --no-wait https://updates.example/release-2.mender)',
        'and go on with other things',
      ],
      ['holdpoint install --standalone release-2.mender', 'without the service, as `mender-update install`'],
    ],
    next: 'holdpoint status says what it waits for, holdpoint continue lets it go on. After --standalone: holdpoint commit.',
  },
  commit: {
    examples: [['holdpoint commit', 'keep what install --standalone has put there']],
    next: 'holdpoint show-artifact names what is installed now.',
  },
  rollback: {
    examples: [['holdpoint rollback', 'back to what ran before install --standalone']],
    next: 'A reboot may be needed: the exit status says so. holdpoint show-artifact names what is installed.',
  },
  resume: {
    examples: [
      ['holdpoint resume', 'go on after --stop-before, or after a power cut'],
      ['holdpoint resume --stop-before ArtifactCommit_Enter', 'but not as far as the commit'],
    ],
    next: 'holdpoint commit or holdpoint rollback ends the update.',
  },
  'show-artifact': {
    examples: [['holdpoint show-artifact', 'one name, for scripts']],
    next: 'holdpoint show-provides has everything that is installed, holdpoint history how it came there.',
  },
  'show-provides': {
    examples: [['holdpoint show-provides', 'what an artifact may depend on']],
    next: 'holdpoint inspect FILE shows what an artifact depends on.',
  },
  inspect: {
    examples: [
      ['holdpoint inspect release-2.mender', 'is it whole, and for which devices is it?'],
      ['holdpoint inspect --key update.pem release-2.mender', 'is it signed by this key?'],
    ],
    next: 'holdpoint install FILE installs it.',
  },
  status: {
    examples: [
      ['holdpoint status', 'one sentence first, for people'],
      ['holdpoint status --json', 'every property, for programs'],
    ],
    next: 'holdpoint continue, snooze or abort answer what it asks; holdpoint monitor goes on showing it.',
  },
  monitor: {
    examples: [
      ['holdpoint monitor', 'look on, and answer by keys'],
      ['holdpoint monitor --json', 'a line for each change, for programs'],
    ],
    next: 'holdpoint history has what is over; holdpoint log says why it ended so.',
  },
  wait: {
    examples: [
      ['holdpoint wait', 'until no update is under way'],
      ['holdpoint wait --for waiting --timeout 1h && notify-send "Update ready"', 'until somebody is asked'],
      ['holdpoint wait --for state=ArtifactInstall', 'until it installs'],
    ],
    next: 'holdpoint status says where it is now.',
  },
  continue: {
    examples: [
      ['holdpoint continue', 'yes to what is asked now'],
      ['holdpoint continue --now', 'and not at the maintenance window but at once'],
      ['holdpoint continue "$TICKET" --comment "agreed by phone"', 'to this question alone'],
    ],
    next: 'holdpoint status says what is still waited for, holdpoint decisions who has agreed.',
  },
  snooze: {
    examples: [
      ['holdpoint snooze 4h', 'ask again in four hours'],
      ['holdpoint snooze "$TICKET" 30m', 'put this question off, and no other'],
    ],
    next: 'holdpoint ask-again ends it early.',
  },
  'ask-again': {
    examples: [['holdpoint ask-again', 'the update asks at once']],
    next: 'holdpoint continue says yes.',
  },
  retry: {
    examples: [['holdpoint retry', 'ask the server for it once more']],
    next: 'holdpoint monitor shows how it goes this time.',
  },
  abort: {
    examples: [['holdpoint abort --reason "not on a Friday"', 'it ends as soon as that is safe']],
    next: 'holdpoint wait returns when it is over, holdpoint history says how it ended.',
  },
  'rollback-deployment': {
    examples: [['holdpoint rollback-deployment --reason "the screen stays dark"', 'before it is committed']],
    next: 'holdpoint monitor shows the way back.',
  },
  pause: {
    examples: [['holdpoint pause', 'a download stops between two blocks, the rest at the next step']],
    next: 'holdpoint unpause lets it go on.',
  },
  unpause: {
    examples: [['holdpoint unpause', 'end the pause']],
    next: 'holdpoint status says what is waited for besides.',
  },
  enable: {
    examples: [['holdpoint enable', 'updates are fetched again']],
    next: 'holdpoint check-update asks the server at once.',
  },
  disable: {
    examples: [['holdpoint disable', 'the opt-out: offers are shown, nothing is fetched']],
    next: 'holdpoint status names what is offered; holdpoint enable takes it back.',
  },
  health: {
    examples: [
      ['holdpoint health kiosk-app ok', 'this checker finds the new version well'],
      ['holdpoint health kiosk-app failed --message "no touch events"', 'it is rolled back'],
    ],
    next: 'holdpoint status names the checkers that have not answered.',
  },
  hold: {
    examples: [
      [
        'holdpoint hold ArtifactReboot_Enter --why "surgery running" -- /usr/bin/surgery --patient 7',
        'no update reboots the device while surgery runs',
      ],
      [
        'ID=$(holdpoint hold ArtifactInstall_Enter --why "brewing" --timeout 5m)',
        'for five minutes of waiting, and at most that',
      ],
    ],
    next: 'holdpoint holds lists them; holdpoint refresh or holdpoint release "$ID" for one by time.',
  },
  release: {
    examples: [['holdpoint release "$ID"', 'the id is what hold has printed']],
    next: 'holdpoint holds lists those that are left.',
  },
  refresh: {
    examples: [['holdpoint refresh "$ID"', 'its time begins anew']],
    next: 'Again before that time is over, or holdpoint release "$ID".',
  },
  holds: {
    examples: [
      ['holdpoint holds', 'who holds, why, and until when'],
      ['holdpoint holds --json', 'the same for programs'],
    ],
    next: 'holdpoint release ID ends one of yours, holdpoint continue --override those of others.',
  },
  map: {
    examples: [
      ['holdpoint map set map.json', "what Mender's SetUpdateControlMap is given"],
      ['holdpoint map list', 'all of them, with the time they have left'],
    ],
    next: 'holdpoint hold needs no JSON and ends by itself; maps are for what was written for Mender.',
  },
  'map set': {
    examples: [
      ['holdpoint map set map.json', 'from a file'],
      ['holdpoint map set - < map.json', 'from standard input'],
    ],
    next: 'holdpoint map list shows it; set it again before its time is over.',
  },
  'map list': {
    examples: [['holdpoint map list', 'those of this device and of the server']],
    next: 'holdpoint status says whether one of them is waited for.',
  },
  can: {
    examples: [['holdpoint can continue && echo "show the button"', 'for whoever runs it']],
    next: 'Rights are given by Access in holdpoint.json(5), or by polkit.',
  },
  decisions: {
    examples: [
      ['holdpoint decisions', 'who agreed to what, and when'],
      ['holdpoint decisions --json --from 100', 'the proof to keep elsewhere, from an entry on'],
    ],
    next: 'holdpoint history has what became of these updates.',
  },
  history: {
    examples: [
      ['holdpoint history', 'how each update ended, and why'],
      ['holdpoint history --json', 'with everything that is known of each'],
    ],
    next: 'holdpoint log ID has the details of one.',
  },
  log: {
    examples: [
      ['holdpoint log', 'of the update under way, or of the last one'],
      ['holdpoint log "$ID"', 'of another one, see holdpoint history'],
    ],
    next: 'Codes of failures are explained in the failure catalogue of the documentation.',
  },
  'check-update': {
    examples: [['holdpoint check-update', 'do not wait for the next poll']],
    next: 'holdpoint monitor shows what comes of it.',
  },
  'send-inventory': {
    examples: [['holdpoint send-inventory', 'after a change that the server should know']],
    next: 'What is sent comes from the programs in /usr/share/mender/inventory.',
  },
  'export-mender-store': {
    examples: [['holdpoint export-mender-store', 'before the Mender client is installed again']],
    next: 'Stop holdpointd before the Mender client starts.',
  },
  'check-config': {
    examples: [['holdpoint check-config', 'which value counts, and which file it is from']],
    next: 'systemctl restart holdpointd takes a changed file in.',
  },
  simulate: {
    examples: [
      ['holdpoint simulate --list', 'what can be played'],
      ['holdpoint simulate kiosk --speed 10', 'asks before install and reboot, on the bus of the desktop'],
      ['holdpoint simulate fail-no-space --once --speed 100', 'for the tests of a frontend'],
    ],
    next: 'In another terminal: DBUS_SYSTEM_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS" holdpoint monitor',
  },
};

/** Adds to the help of every subcommand what it teaches. Throws for one that has nothing to teach. */
export function teach(program: Command, above = ''): void {
  for (const command of program.commands) {
    const path = `${above}${command.name()}`;
    const lesson = LESSONS[path];
    if (lesson === undefined) throw new Error(`the help of ${path} has no example`);
    const lines = lesson.examples.map(([line, what]) => `  ${line}\n      ${what}`);
    command.addHelpText('after', `\nExamples:\n${lines.join('\n')}\n\nNext: ${lesson.next}`);
    teach(command, `${path} `);
  }
}
