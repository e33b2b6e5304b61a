/**
 * The documents that show what to type, run as they stand there against the real service (document-blocks.ts has the rules).
 * A block that fails or prints something else than the document says fails the test, and so does one that cannot be run.
 */
import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { builtCommand } from '../../support/command.ts';
import { ASK, makeArtifact } from '../../support/device.ts';
import { runBlocks } from '../../support/document-blocks.ts';
import { addMetered, MockService, NETWORK_MANAGER, TIMEDATE } from '../../support/dbusmock.ts';
import { startPrivateBus, type PrivateBus } from '../../support/private-bus.ts';
import { ServiceHarness, SHIPPED_POLICIES } from '../../support/service.ts';

let folder: string;
let service: ServiceHarness;
let bus: PrivateBus;
let mocks: readonly MockService[];

/** A time zone in which it is about noon now: no window of the night is open there. Its sign is turned round, see tzfile. */
const HOURS = 12 - new Date().getUTCHours();
const NOON = `Etc/GMT${HOURS > 0 ? '-' : '+'}${Math.abs(HOURS)}`;
/** Source: NetworkManager, NMMetered: yes. */
const METERED = 1;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdpoint-recipes-'));
  const programs = {
    holdpoint: `exec '${process.execPath}' '${await builtCommand()}' "$@"`,
    backup: 'exec holdpoint holds --json > /dev/null',
    'kiosk-selftest': 'exit 0',
    // The configuration that the block before has shown becomes that of the service; without one: its own alone.
    configure:
      'conf="$HOLDPOINT_CONF_DIR/conf.d/block.json"; mkdir -p "${conf%/*}"; ' +
      'case ${1-} in none) rm -f "$conf";; *) cp "$TMPDIR/block.json" "$conf";; esac; systemctl restart holdpointd',
    // As systemd: it is done when the command ends; by whom, stands below.
    systemctl: 'echo "$*" >"$TMPDIR/order" && while [ -e "$TMPDIR/order" ]; do sleep 0.1; done',
    // What it would do the tests have done before they began, or are; that there is such a script is seen.
    npm: `[ "$1" != run ] || jq -e --arg name "$2" '.scripts[$name]' '${resolve('package.json')}' >/dev/null`,
  };
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(folder, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(folder, name), 0o755);
  }
  await symlink(resolve('examples'), join(folder, 'examples'));
  const others = [NETWORK_MANAGER, TIMEDATE].map(
    (name) => `<allow own="${name}"/><allow send_destination="${name}"/>`,
  );
  bus = await startPrivateBus({
    policyPaths: SHIPPED_POLICIES,
    extraConfig: `<policy context="default">${others.join('')}</policy>`,
  });
  mocks = [
    new MockService(bus.address, NETWORK_MANAGER, 'networkmanager'),
    new MockService(bus.address, TIMEDATE, 'timedated', { NTP: true }),
  ];
  for (const mock of mocks) await mock.start();
  await addMetered(mocks[0]!, METERED);
  service = await ServiceHarness.create({
    bus,
    points: { ArtifactInstall_Enter: ASK, ArtifactCommit_Enter: ASK },
    holdpointConf: { Health: { checkers: ['kiosk-app'], deadline: 120 } },
  });
  await service.start({ environment: { TZ: NOON } });
  await service.waitFor('the device is idle', (seen) => seen['Step'] === 'Idle');
}, 60_000);

afterEach(async () => {
  await service.dispose();
  for (const mock of mocks) await mock.dispose();
  await bus.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** Does what systemctl is told until it is stopped, and what the unit says: a service that has ended is started again. */
function systemd(): { stop(): Promise<void> } {
  const order = join(folder, 'order');
  let isStopped = false;
  const work = async (): Promise<void> => {
    while (!isStopped) {
      await sleep(50);
      const text = (await readFile(order, 'utf8').catch(() => '')).trim();
      if (text === 'restart holdpointd') await service.terminate();
      else if (text === 'kill --signal=KILL holdpointd') await service.kill9();
      else if (text !== '') throw new Error(`systemctl ${text} is not known here`);
      if (!service.isRunning) await service.start({ environment: { TZ: NOON } });
      if (text !== '') await rm(order);
    }
  };
  const ended = work();
  // Whoever waits for it must not wait for ever; what went wrong is told at the end.
  ended.catch(() => rm(order, { force: true }));
  return {
    async stop() {
      isStopped = true;
      await ended;
    },
  };
}

async function run(document: string): Promise<number> {
  const artifact = await makeArtifact({ folder });
  const manager = systemd();
  return runBlocks(resolve(document), {
    folder,
    timeoutMs: 880_000,
    environment: {
      ...(service.device.environment as Record<string, string>),
      DBUS_SYSTEM_BUS_ADDRESS: service.bus.address,
      PATH: `${folder}:/usr/bin:/bin`,
      ARTIFACT: artifact,
      // What the module answers is up to a file there.
      CONTROL: service.device.control,
      TZ: NOON,
      HOME: folder,
    },
  }).finally(() => manager.stop());
}

describe('what the documents show', { timeout: 900_000 }, () => {
  it.each([
    ['docs/recipes.md', 36],
    ['docs/cookbook.md', 61],
    ['docs/guide/troubleshooting.md', 4],
    ['docs/guide/migration.md', 1],
    ['docs/ab-updates.md', 1],
    ['README.md', 4],
  ] as const)('%s does what it says, block after block', async (document, blocks) => {
    expect(await run(document)).toBeGreaterThanOrEqual(blocks);
  });
});
