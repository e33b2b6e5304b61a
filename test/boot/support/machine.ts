/**
 * A machine in QEMU: power on, power cut, the lines of its serial console as they come, and a shell on its virtual
 * console. Nothing here knows of updates.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

export interface MachineOptions {
  readonly disk: string;
  /** Folder for its sockets and its console log. */
  readonly folder: string;
  readonly accelerator: Accelerator;
}

export type Accelerator = 'kvm' | 'tcg';

/** How long to wait for whatever must come. Emulated on a host with much else to do, a boot may take a quarter of an hour. */
export const PATIENCE_MS: Readonly<Record<Accelerator, number>> = { kvm: 300_000, tcg: 3_600_000 };

/**
 * Emulated, the guest's clock counts instructions: on a loaded host everything in it takes longer by our clock and no
 * longer by its own, so that no limit in the guest (of systemd, of a script, of the clock calibration) depends on the host.
 */
const ACCELERATION: Readonly<Record<Accelerator, readonly string[]>> = {
  kvm: ['-accel', 'kvm', '-cpu', 'max'],
  tcg: ['-accel', 'tcg,thread=single,tb-size=256', '-icount', 'shift=1', '-cpu', 'Nehalem'],
};

interface Waiting {
  readonly claim: (line: string) => boolean;
  readonly resolve: (line: string) => void;
}

export class BootMachine {
  readonly #options: MachineOptions;
  readonly #log: WriteStream;
  readonly #lines: string[] = [];
  readonly #waiting = new Set<Waiting>();
  #process: ChildProcess | null = null;
  #ended: Promise<unknown> | null = null;

  constructor(options: MachineOptions) {
    this.#options = options;
    this.#log = createWriteStream(this.consoleLog, { flags: 'a' });
  }

  get consoleLog(): string {
    return `${this.#options.folder}/console.log`;
  }

  get #shellSocket(): string {
    return `${this.#options.folder}/shell.sock`;
  }

  get patienceMs(): number {
    return PATIENCE_MS[this.#options.accelerator];
  }

  get isOn(): boolean {
    return this.#process !== null && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** A place in the console's output, for waitForLine. */
  get lineCount(): number {
    return this.#lines.length;
  }

  /** `isOneStart`: a reboot turns the machine off. */
  async powerOn({ isOneStart = false } = {}): Promise<void> {
    const { disk, accelerator } = this.#options;
    await rm(this.#shellSocket, { force: true });
    const child = spawn(
      'qemu-system-x86_64',
      [
        ...ACCELERATION[accelerator],
        ...(isOneStart ? ['-no-reboot'] : []),
        '-m',
        '512',
        '-smp',
        '1',
        '-nodefaults',
        '-no-user-config',
        '-display',
        'none',
        '-monitor',
        'none',
        '-serial',
        'stdio',
        '-device',
        'virtio-serial-pci',
        '-device',
        'virtconsole,chardev=shell',
        '-chardev',
        `socket,id=shell,path=${this.#shellSocket},server=on,wait=off`,
        // The guest has an address and no route: it reaches the host's loopback as 10.0.2.2, and nothing else.
        '-netdev',
        'user,id=net',
        '-device',
        'virtio-net-pci,netdev=net,romfile=',
        '-drive',
        `file=${disk},if=virtio,format=raw,cache=writeback`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.#process = child;
    this.#ended = once(child, 'close');
    this.#take('=== power on');
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => this.#take(line));
    }
    await once(child, 'spawn');
  }

  /** Resolves when the machine has turned itself off. */
  async waitForOff(): Promise<void> {
    await this.#ended;
  }

  /** Pulls the plug: what the guest has not given to its disk is gone. */
  async cutPower(): Promise<void> {
    this.#process?.kill('SIGKILL');
    await this.#ended;
    this.#take('=== power cut');
  }

  async dispose(): Promise<void> {
    if (this.isOn) await this.cutPower();
    await new Promise<void>((resolve) => this.#log.end(resolve));
  }

  linesSince(from: number): readonly string[] {
    return this.#lines.slice(from);
  }

  /** The first line from that place on of which the claim holds; waits for it. */
  async waitForLine(
    what: string,
    claim: (line: string) => boolean,
    from = 0,
    withinMs = this.patienceMs,
  ): Promise<string> {
    for (let at = from; at < this.#lines.length; at++) {
      const line = this.#lines[at] ?? '';
      if (claim(line)) return line;
    }
    const abort = new AbortController();
    let waiting: Waiting | undefined;
    const come = new Promise<string>((resolve) => {
      waiting = { claim, resolve };
      this.#waiting.add(waiting);
    });
    const late = sleep(withinMs, null, { signal: abort.signal }).catch(() => null);
    const line = await Promise.race([come, late]);
    abort.abort();
    if (waiting) this.#waiting.delete(waiting);
    if (line === null) {
      const tail = this.#lines.slice(-40).join('\n');
      throw new Error(`not seen on the console within ${withinMs / 1000} s: ${what}\n${tail}`);
    }
    return line;
  }

  /** Standard output of a command in the machine, whose shell must be up. Rejects when it fails. */
  async shell(command: string): Promise<string> {
    const endMs = performance.now() + this.patienceMs;
    for (;;) {
      const answer = await this.#ask(command, 20_000);
      if (answer !== null && answer.status === 0) return answer.text;
      if (answer !== null)
        throw new Error(`in the machine: ${command}: exit ${answer.status}: ${answer.text}`);
      if (performance.now() > endMs) throw new Error(`the machine's shell does not answer: ${command}`);
      await sleep(500);
    }
  }

  /** null = no answer in time. The marks are bytes that an echo of the command does not contain. */
  async #ask(command: string, withinMs: number): Promise<{ status: number; text: string } | null> {
    let socket: Socket | undefined;
    const abort = new AbortController();
    try {
      socket = createConnection(this.#shellSocket);
      socket.on('error', () => {});
      const opened = socket;
      const answer = new Promise<{ status: number; text: string }>((resolve) => {
        let seen = '';
        opened.on('data', (chunk: Buffer) => {
          seen += chunk.toString();
          // eslint-disable-next-line no-control-regex
          const found = /\u0001([^\u0001\u0002]*)\u0002(\d+)\u0003/.exec(seen);
          if (found)
            resolve({ status: Number(found[2]), text: (found[1] ?? '').replaceAll('\r', '').trim() });
        });
      });
      opened.write(`\nprintf '\\001'; (${command}) 2>&1; printf '\\002%s\\003' $?\n`);
      return await Promise.race([answer, sleep(withinMs, null, { signal: abort.signal }).catch(() => null)]);
    } finally {
      abort.abort();
      socket?.destroy();
    }
  }

  #take(line: string): void {
    this.#lines.push(line);
    this.#log.write(`${new Date().toISOString().slice(11, 23)} ${line}\n`);
    for (const waiting of this.#waiting) if (waiting.claim(line)) waiting.resolve(line);
  }
}

/** Whether KVM runs a kernel here: where it is offered it may still not work, and then the machine is emulated. */
export async function chooseAccelerator(kernel: string): Promise<Accelerator> {
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...ACCELERATION.kvm,
      '-m',
      '256',
      '-nodefaults',
      '-no-user-config',
      '-display',
      'none',
      '-serial',
      'stdio',
      '-no-reboot',
      '-kernel',
      kernel,
      '-append',
      'console=ttyS0 panic=-1',
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = once(child, 'close').then(() => false);
  const abort = new AbortController();
  const says = new Promise<boolean>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      // Late enough that processes could be started: the first lines come from kernels that hang soon after.
      if (line.includes('Kernel panic') || line.includes('Run /init')) resolve(true);
    });
  });
  // The machine stops, the process does not.
  const fails = new Promise<boolean>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (/KVM internal error|emulation failure/.test(line)) resolve(false);
    });
  });
  const late = sleep(20_000, false, { signal: abort.signal }).catch(() => false);
  const isWorking = await Promise.race([says, fails, ended, late]);
  abort.abort();
  child.kill('SIGKILL');
  await ended;
  return isWorking ? 'kvm' : 'tcg';
}
