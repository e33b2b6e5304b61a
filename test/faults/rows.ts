/**
 * Where each row of design/faults.md is shown to hold. `whole`: all that the row demands is tested; `part`: what is tested
 * is named, and so is what is missing; `open`: nothing that runs here shows it yet, and why.
 */
export interface Evidence {
  /** Below test/. */
  readonly file: string;
  /** A test of the file: the whole name, or enough of it. */
  readonly test: string;
}

export interface FaultRow {
  readonly row: number;
  readonly title: string;
  readonly state: 'whole' | 'part' | 'open';
  readonly evidence: readonly Evidence[];
  /** What is missing; '' = nothing. */
  readonly missing: string;
}

const at = (file: string, test: string): Evidence => ({ file: `${file}.test.ts`, test });
const whole = (row: number, title: string, ...evidence: readonly Evidence[]): FaultRow => ({
  row,
  title,
  state: 'whole',
  evidence,
  missing: '',
});
const part = (row: number, title: string, missing: string, ...evidence: readonly Evidence[]): FaultRow => ({
  row,
  title,
  state: 'part',
  evidence,
  missing,
});

const POLLS = 'faults/polls';
const LINKS = 'faults/links';
const REPORTS = 'faults/reports';
const FRESH_LINKS = 'faults/fresh-links';
const DEPLOYMENTS = 'faults/deployments';
const PROCESSES = 'faults/processes';
const REPEATS = 'faults/repeats';
const ABORTS = 'faults/aborts';
const CLOCK_STEPS = 'faults/clock-steps';
const LONG_LINKS = 'faults/long-links';
const NETWORKS = 'faults/networks';
const MEMORY = 'faults/memory';
const PACKAGE = 'package/package';

export const FAULT_ROWS: readonly FaultRow[] = [
  part(
    1,
    'power loss at any step',
    '200 points on a machine that boots: 50 there, each stored step, two waits and six moments of the writing; more than 200 as killed processes',
    { file: 'boot/support/suite.ts', test: 'comes to the right end: %s' },
    at('integration/store/crash-outcomes', 'ends as the table says'),
    at('e2e/kill', 'with a case for every step that is stored'),
    at('integration/store/crash', 'never loses an acknowledged document, whatever unsynced data survives'),
  ),
  whole(
    2,
    'power loss with unsynced files',
    at('faults/unsynced', 'what a power cut takes of what was not synced is missed by nobody'),
    at('integration/store/forgetful-disk', 'has what was synced, and not all of what was not'),
    at(
      'integration/store/crash',
      'makes a new file twice, synced before the rename, and then writes over the older one',
    ),
    at('integration/scripts/scripts', 'cleans up what a power cut left half done'),
    at('integration/modules/calls', 'is on the disk, with its folders, before it counts as made'),
  ),
  whole(
    3,
    'corrupt store',
    at('integration/store/file-store', 'notices every single flipped bit of a whole generation'),
    at('e2e/datastore', 'both generations bad: a clean start, both kept, and the log says so'),
  ),
  whole(
    4,
    'valid but incomplete state record',
    at('faults/records', 'is set aside, or a start goes on from it to an end'),
    at('faults/records', 'in both starts with nothing, stays up, and installs again'),
    at('integration/store/file-store', 'starts with nothing, and is usable, when both'),
  ),
  whole(
    5,
    'disk full: store, log, temp',
    at('faults/full-disk', 'on: the update ends truthfully, and the next one works when there is space'),
    at('integration/store/crash-outcomes', 'ends as the table says'),
    at('e2e/errors', 'NoSpace: the payload does not fit'),
    at('e2e/errors', 'when the disk is full: nothing is promised that is not stored'),
    at('e2e/errors', 'Storage: the state cannot be written any more'),
    at('integration/store/crash', 'that is full keeps what fits its room, rejects more with the free bytes'),
    at('integration/log/deployment-log', 'deletes the oldest logs when less than 100 KiB are free'),
  ),
  whole(
    6,
    'read-only or missing data partition',
    at('faults/read-only', 'in the installation: it goes back, commits nothing, stays up'),
    at('faults/read-only', 'in the commit: it stays up, shows no success, and the next boot goes back'),
    at('integration/store/crash-outcomes', 'ends as the table says'),
    at('unit/core/save-failed', 'does not keep a device rebooting'),
    at('integration/store/crash', 'that becomes read-only can be loaded, damage included'),
    at('faults/full-disk', 'no success is shown before it is stored, and it is as soon as there is space'),
    at('unit/core/save-failed', 'shows no success before it is stored'),
    at('unit/core/save-failed', 'in the commit goes back before the module has committed'),
  ),
  whole(
    7,
    'no clock, or one at 1970',
    at(LINKS, 'that is at 1970 says that its clock is wrong'),
    at('unit/core/set-aside', 'after a check that failed because of %s is %s'),
    at('integration/server/network', 'at 1970 is named as the reason why a good certificate is refused'),
  ),
  whole(
    8,
    'clock steps',
    at(CLOCK_STEPS, 'makes checks neither burst nor starve, and the next one is shown by the new time'),
    at(CLOCK_STEPS, 'makes repetitions of a check that failed neither burst nor starve'),
    at(CLOCK_STEPS, 'ends no hold and no snooze early, and keeps none'),
    at(CLOCK_STEPS, 'for a day makes one check when it wakes, not all that it missed'),
    at('unit/app/schedules', 'are moved by no step of the wall clock'),
    at('integration/system/clock', 'is at most a minute late after the machine slept past its moment'),
  ),
  whole(
    9,
    'daylight saving',
    at(
      'unit/adapters/conditions/windows',
      'opens once from 03:00 to 04:00 summer time on the day the clock jumps',
    ),
    at(
      'unit/adapters/conditions/windows',
      'opens once, for three hours, on the day the hour in it occurs twice',
    ),
  ),
  whole(
    10,
    'root certificate expires',
    at(LINKS, 'gets no further than a certificate of somebody else, another name or another date'),
    at('integration/artifact/signature-dates', 'is as good on %s as on any other day'),
    at('integration/server/link', 'warns once of every certificate that ends within thirty days'),
  ),
  whole(
    11,
    'DNS fails at boot or midway',
    at('matrix/long-links', 'without names for two hours: a check now and then, and a log that stays small'),
    at(LONG_LINKS, 'without names for an hour: a check now and then, and a log that stays small'),
    at(LINKS, 'lives without name resolution, and finds the server when names are there again'),
    at(
      'integration/server/network',
      'whose name server says nothing is a failed name resolution or a timeout',
    ),
  ),
  whole(
    12,
    'socket stays open, no data',
    at(NETWORKS, 'whose packets vanish in the middle goes on where it was'),
    at(LINKS, 'leaves a server that takes a request and never answers'),
    at(LINKS, 'leaves a network that swallows every packet'),
  ),
  whole(
    13,
    'resume gives up and wedges',
    at(
      NETWORKS,
      'whose link stays cut for longer than all tries fails, is told once, and the next poll works',
    ),
    at(
      DEPLOYMENTS,
      'whose file is not there, or never comes whole, is a failure that is told once (R17, R13)',
    ),
  ),
  whole(
    14,
    'blanket timeout kills good streams',
    at('matrix/long-links', 'of a kilobyte a minute for four hours is waited for, in one piece'),
    at(LONG_LINKS, 'of a kilobyte a minute is waited for, in one piece'),
    at('integration/source/url-source', 'lets a slow stream live that goes on'),
    at(LINKS, 'waits for a slow answer that comes (R14)'),
  ),
  whole(
    15,
    'very slow link, link expires',
    at(
      'matrix/long-links',
      'of 15 kbit/s for two hours, with storage that falls silent and links that run out',
    ),
    at(LONG_LINKS, 'of 15 kbit/s with storage that falls silent and links that run out is got through'),
    at(FRESH_LINKS, 'that runs out in mid-download is renewed, and the rest comes from the new one (R15)'),
    at('integration/source/resume', 'is renewed, and the download goes on'),
  ),
  whole(
    16,
    'user waits past the expiry of the link',
    at(FRESH_LINKS, 'that runs out while a person thinks is renewed when the answer is yes (R16)'),
    at(FRESH_LINKS, 'of a day is renewed when the answer comes after two days (R16)'),
  ),
  whole(
    17,
    '404 or 5xx on the artifact for ever',
    at(DEPLOYMENTS, 'whose file is not there, or never comes whole, is a failure that is told once'),
    at(ABORTS, 'is honoured while a download that fails is tried again and again'),
  ),
  whole(
    18,
    '429, 413, odd bodies',
    at(POLLS, 'any answer but 200, 204 and 404 of the newest endpoint'),
    at(POLLS, 'any answer to an authentication but a token'),
    at(POLLS, 'any answer to the inventory'),
    at(REPORTS, 'costs the update, which is rolled back, never the service'),
    at(REPORTS, 'is given up after any fault, and the result stays what it is'),
    at(DEPLOYMENTS, 'fails the update after its tries, before anything is installed'),
    at('unit/app/schedules', 'wait as long as the server asks for'),
  ),
  whole(
    19,
    'proxy oddities',
    at(LINKS, 'outlives a proxy that refuses, closes or dies'),
    at(NETWORKS, 'through a proxy that dies in the middle goes on when there is a proxy again'),
    at('integration/server/proxy', 'gets user and password, odd characters included'),
    at('integration/server/proxy', 'is passed by for what no_proxy names'),
  ),
  whole(
    20,
    'captive portal',
    at(POLLS, 'any answer but 200, 204 and 404 of the newest endpoint'),
    at('unit/core/set-aside', 'after a check that failed because of %s is %s'),
    at('integration/server/link', 'is no server: its pages are neither read nor taken for success'),
  ),
  whole(
    21,
    'firewall allows the API and blocks storage',
    at(NETWORKS, 'from a storage that a firewall drops the packets of fails with its name'),
    at('integration/source/url-source', 'names the host it cannot reach'),
    at(DEPLOYMENTS, 'that changes between two checks is taken as it is at the second (changed offer, R21)'),
  ),
  whole(
    22,
    'D-Bus daemon restarts or is stopped',
    at('e2e/bus', 'during the download: it goes on without a bus'),
    at('e2e/bus', 'during the commit: it is committed, and the result is told later'),
    at('e2e/holds', 'counts as lost when the bus stays away longer than the grace'),
  ),
  whole(
    23,
    'update breaks D-Bus itself',
    at('e2e/bus', 'rolls a broken update back all the same, and is there when the bus comes'),
    at(PACKAGE, 'rolls back a version in which the bus is masked, over two real boots (R23)'),
  ),
  whole(
    24,
    'interface dies holding a lock',
    at('e2e/holds', 'makes the update wait, says who and why, and goes at once when its owner is killed'),
    at('e2e/crowd', 'clients that hold and are killed leave nothing behind'),
  ),
  whole(
    25,
    'our own crash leaves a lock',
    at('e2e/holds', 'is gone after a crash of the service in which its owner died too'),
    at('integration/system/lock', 'is free at once when its holder is killed'),
  ),
  whole(
    26,
    'hung state script or module',
    at('e2e/errors', 'Timeout: the module hangs, and is gone afterwards'),
    at('integration/modules/calls', 'that hangs is ended with its children at the time limit'),
    at(PROCESSES, 'when a module runs into its time limit'),
    at(PROCESSES, 'when a state script runs into its time limit, and the failure names the script'),
    at(PROCESSES, 'when the service is stopped'),
  ),
  whole(
    27,
    'script dies because systemd stops us',
    at('e2e/kill', 'a module that ignores SIGTERM is gone before the service is'),
    at('integration/modules/download', 'takes a module killed by the shutdown of the service for cancelled'),
    at(PROCESSES, 'when the service is killed: the next one ends it before it goes on with the update (R27)'),
    at(PACKAGE, 'leaves no process of the update behind when systemd stops or kills it (R27)'),
  ),
  whole(
    28,
    'manual reboot during a wait',
    at('e2e/kill-at-gates', 'consent given before the kill counts after it'),
    at('e2e/install', 'is still waiting after a restart, with a new ticket'),
  ),
  whole(
    29,
    'out of memory',
    at('integration/artifact/streaming', 'does not depend on the size of the payload'),
    at(MEMORY, 'are enough for an artifact that is four times as large'),
    at(MEMORY, 'and more, used up by a module, cost the update and not the service'),
    at('matrix/memory', 'are enough for an artifact of 2 GiB'),
  ),
  whole(
    30,
    'roll-forward instead of roll-back',
    at('e2e/rootfs-image', 'R30: that fails before its reboot'),
    at('e2e/rootfs-image', 'the boot loader would boot another one than what runs'),
  ),
  whole(
    31,
    'boot loop, same bad update again',
    at(REPEATS, 'is installed once though it is offered five times, until a person asks for it'),
    at('unit/core/set-aside', 'is tried again by itself, after 0, 1, 3, 7 and more offers'),
    at('unit/core/restart', 'ends a rollback whose verification never succeeds, with clean-up'),
  ),
  whole(
    32,
    'duplicate or repeated deployment',
    at(DEPLOYMENTS, 'that comes again, under its id or another, is not installed twice'),
    at(REPEATS, 'that is ordered while the first runs is taken when that is over'),
  ),
  whole(
    33,
    'server aborts during download or pause',
    at(ABORTS, 'in the middle of a file that comes slowly ends the download, without reboot or rollback'),
    at(ABORTS, 'in a pause of the download ends it as well'),
    at(DEPLOYMENTS, 'ends a deployment at whichever report it comes'),
    at(DEPLOYMENTS, 'ends an update that reboots at whichever report it comes'),
    at(DEPLOYMENTS, 'is honoured in a wait'),
    at(ABORTS, 'ends a wait for a person, with whom no control map comes, and a busy server does not'),
    at('unit/core/waits', 'is told again in each polling interval, and ends when the server has ended'),
  ),
  whole(
    34,
    'success reported too early',
    at(REPORTS, 'costs the update, which is rolled back, never the service'),
    at(DEPLOYMENTS, 'that is revoked for good rolls the update back before the commit'),
  ),
  whole(
    35,
    'no server after the reboot',
    at(REPEATS, 'with OfflineCommit %s: decided after the grace, told when the server is back'),
    at(DEPLOYMENTS, 'that is revoked for good rolls the update back before the commit'),
    at('unit/core/reports', 'before the commit is preceded by an authorization that is as patient'),
  ),
  whole(
    36,
    'check fails before a hook can repair',
    at(REPEATS, 'whose identity program is broken is who it was, and is repaired from afar'),
    at(REPEATS, 'whose Sync script forbids every check says so, and is repaired by whoever is at the device'),
    at(REPEATS, 'says what, and takes the artifact that repairs it from the server'),
    at(REPEATS, 'whose device type is lost asks as what it was, and is repaired from afar'),
  ),
  whole(
    37,
    'log grows while it is uploaded',
    at(ABORTS, 'that grows while it is sent is sent whole as it was, with a length that is right'),
    at('integration/log/deployment-log', 'pages through it while it grows'),
    at('integration/server/client', 'is cut to a megabyte, the newest kept, in bounded memory'),
  ),
  whole(38, 'client floods the bus', at('e2e/flood', 'a client that floods the bus')),
  whole(
    39,
    'daemon upgraded in mid-update',
    at(PACKAGE, 'and so on in every phase ${way}, and the update goes on undisturbed (R39)'),
    at(PACKAGE, 'is upgraded at once when no update is under way'),
  ),
  whole(
    40,
    'abrupt reboot loses data of applications',
    at(PACKAGE, 'leaves the reboot to whoever blocks it, and gives whoever asked for time that time (R40)'),
    at(PACKAGE, 'does not wait for ever for who asked for time (R40)'),
    at('e2e/conditions', 'logind: whoever inhibits the shutdown is named, and the reboot waits for him'),
  ),
  whole(
    41,
    'target device busy',
    at('e2e/rootfs-image', 'R41: is refused as target-busy, with the name of the process that has it open'),
    at('e2e/rootfs-image', 'R41: is refused as target-busy, with the place where it is mounted'),
  ),
  whole(
    42,
    'watchdog',
    at(PROCESSES, 'is fed while the loop goes round'),
    at('unit/app/machine', 'has not passed while a write does not return'),
    at(PACKAGE, 'is started again when its loop stands still, and goes on with the update (R42)'),
  ),
];
