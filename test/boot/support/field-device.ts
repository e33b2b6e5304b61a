/**
 * One machine in the field with its server: deployments are made there, power is cut, and afterwards everything that can
 * be asked is asked: which partition runs, what the boot loader would do next, what the service and the server say.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { startDevServer, type DevServerProcess } from '../../support/dev-server.ts';
import { eventually } from '../../support/eventually.ts';
import { makeArtifact, makeDisk, storedStateOf, type ArtifactOrder } from './field-lab.ts';
import type { Lab } from './lab.ts';
import { BootMachine } from './machine.ts';

const OVER = new Set(['success', 'failure', 'aborted', 'already-installed']);

export interface ServerRun {
  readonly status: string;
  readonly history: readonly { readonly status: string; readonly substate: string }[];
}

/** What a device that has come to rest says of itself. */
export interface Verdict {
  /** Partition that / is on, by the kernel's command line and by the device number. */
  readonly partition: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly areCopiesEqual: boolean;
  readonly properties: Readonly<Record<string, string>>;
}

const PROPERTIES = [
  'State',
  'Step',
  'LastResult',
  'LastErrorName',
  'LastErrorMessage',
  'CurrentArtifactName',
  'WaitPoint',
  'DeploymentId',
] as const;
const OBJECT = 'io.holdpoint.Update1 /io/holdpoint/Update1 io.holdpoint.Update1';

export class FieldDevice {
  readonly machine: BootMachine;
  readonly server: DevServerProcess;
  readonly #disk: string;
  readonly #lab: Lab;

  static async create(lab: Lab, name: string): Promise<FieldDevice> {
    const folder = join(lab.work, name);
    await mkdir(folder, { recursive: true });
    const server = await startDevServer({ options: ['--auto-accept'] });
    const disk = await makeDisk(lab, folder, `http://10.0.2.2:${new URL(server.url).port}`);
    const machine = new BootMachine({ disk, folder, accelerator: lab.accelerator });
    return new FieldDevice(lab, server, machine, disk);
  }

  private constructor(lab: Lab, server: DevServerProcess, machine: BootMachine, disk: string) {
    this.#lab = lab;
    this.server = server;
    this.machine = machine;
    this.#disk = disk;
  }

  /** Powers the machine on for the first time, and waits until the server knows it. */
  async firstBoot(): Promise<void> {
    await this.machine.powerOn();
    await eventually(
      'the server has accepted the device and has its inventory',
      async () => {
        const devices = (await this.server.must('GET', '/devices?status=accepted')) as {
          inventory?: unknown;
        }[];
        return devices.length === 1;
      },
      this.machine.patienceMs,
    );
  }

  /** Makes an artifact and deploys it; the id of the deployment. */
  async deploy(order: ArtifactOrder, controlMap?: object): Promise<string> {
    const path = await makeArtifact(this.#lab, order);
    try {
      const artifact = (await this.server.must('POST', '/artifacts', await readFile(path))) as { id: string };
      const deployment = (await this.server.must('POST', '/deployments', {
        artifact_id: artifact.id,
        devices: { all: true },
        ...(controlMap === undefined ? {} : { update_control_map: controlMap }),
      })) as { id: string };
      return deployment.id;
    } finally {
      await rm(path, { force: true });
    }
  }

  async serverRun(deploymentId: string): Promise<ServerRun> {
    const view = (await this.server.must('GET', `/deployments/${deploymentId}?history=true`)) as {
      devices: ServerRun[];
    };
    const [run] = view.devices;
    if (run === undefined) throw new Error(`deployment ${deploymentId} has no device`);
    return run;
  }

  /** Waits for a status that the server was told. */
  async waitForStatus(
    deploymentId: string,
    what: string,
    claim: (status: string) => boolean,
  ): Promise<ServerRun> {
    let seen: ServerRun | undefined;
    try {
      await eventually(
        what,
        async () => {
          seen = await this.serverRun(deploymentId);
          return claim(seen.status);
        },
        this.machine.patienceMs,
      );
    } catch (error) {
      const tail = this.machine.linesSince(Math.max(0, this.machine.lineCount - 60)).join('\n');
      throw new Error(`${String(error)}\nserver: ${JSON.stringify(seen)}\n${tail}`, { cause: error });
    }
    if (seen === undefined) throw new Error('unreachable');
    return seen;
  }

  /** Waits for the end as the server was told, and for the service to be at rest. */
  async waitForEnd(deploymentId: string): Promise<ServerRun> {
    const ended = await this.waitForStatus(deploymentId, 'the deployment is over', (status) =>
      OVER.has(status),
    );
    await eventually(
      'the service is idle',
      async () => (await this.property('DeploymentId')) === '',
      this.machine.patienceMs,
    );
    return ended;
  }

  /** Cuts the power and says what the service will find; null = no deployment was stored. */
  async cutPower(): Promise<{ readonly storedStep: string; readonly deploymentId: string }> {
    await this.machine.cutPower();
    const stored = await storedStateOf(this.#disk);
    return {
      storedStep: stored?.state.step ?? 'nothing',
      deploymentId: stored?.state.deployment?.id ?? '',
    };
  }

  async property(name: string): Promise<string> {
    const text = await this.machine.shell(`busctl --json=short get-property ${OBJECT} ${name}`);
    return String((JSON.parse(text) as { data: unknown }).data);
  }

  async verdict(): Promise<Verdict> {
    const text = await this.machine.shell(
      [
        // The device number of / must be that of the partition which the kernel was told.
        `p=$(sed 's/.*root=\\([^ ]*\\).*/\\1/' /proc/cmdline)`,
        `mountpoint -q / && [ "$(mountpoint -d /)" = "$(cat /sys/class/block/$(basename $p)/dev)" ] && echo partition=$p`,
        'grub-mender-grubenv-print',
        'cmp /boot/env/grub/mender_grubenv1/env /boot/env/grub/mender_grubenv2/env && echo copies=equal',
        `echo; busctl --json=short get-property ${OBJECT} ${PROPERTIES.join(' ')}`,
      ].join('; '),
    );
    const lines = text.split('\n').map((line) => line.trim());
    const json = lines.filter((line) => line.startsWith('{'));
    const pairs = lines
      .map((line) => /^([a-z_]+)=(.*)$/.exec(line))
      .filter((found) => found !== null)
      .map((found) => [found[1] ?? '', found[2] ?? ''] as const);
    const { partition = '', copies, ...environment } = Object.fromEntries(pairs) as Record<string, string>;
    return {
      partition,
      areCopiesEqual: copies === 'equal',
      environment,
      properties: Object.fromEntries(
        PROPERTIES.map((name, at) => [
          name,
          String((JSON.parse(json[at] ?? '{"data":""}') as { data: unknown }).data),
        ]),
      ),
    };
  }

  async dispose(): Promise<void> {
    await this.machine.dispose();
    await this.server.dispose();
  }
}
