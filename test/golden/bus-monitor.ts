/** Everything on a private bus that has to do with the names of Mender, as `busctl monitor` saw it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { BusLine } from './trace.ts';

export interface BusMonitor {
  /** Ends it and hands out what it saw; `t` is wall time in seconds. */
  stop(): Promise<readonly BusLine[]>;
}

interface Message {
  readonly type: string;
  readonly sender?: string;
  readonly destination?: string;
  readonly path?: string;
  readonly interface?: string;
  readonly member?: string;
  readonly error_name?: string;
  readonly 'timestamp-realtime'?: number;
  readonly payload?: { readonly type?: string; readonly data?: readonly unknown[] };
}

export async function monitorBus(address: string): Promise<BusMonitor> {
  const child = spawn('busctl', [`--address=${address}`, 'monitor', '--json=short'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: BusLine[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    const message = JSON.parse(text) as Message;
    const { type, sender, destination, path, member, error_name } = message;
    lines.push({
      t: (message['timestamp-realtime'] ?? Date.now() * 1000) / 1e6,
      src: 'dbus',
      type,
      ...(sender === undefined ? {} : { sender }),
      ...(destination === undefined ? {} : { destination }),
      ...(path === undefined ? {} : { path }),
      ...(message.interface === undefined ? {} : { interface: message.interface }),
      ...(member === undefined ? {} : { member }),
      ...(error_name === undefined ? {} : { error_name }),
      signature: message.payload?.type ?? '',
      args: message.payload?.data ?? [],
    });
  });
  let complaints = '';
  const isReady = new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      complaints += chunk.toString();
      if (complaints.includes('Monitoring bus message stream')) resolve();
    });
    child.once('exit', () => reject(new Error(`the bus cannot be monitored: ${complaints}`)));
  });
  await isReady;
  return {
    stop: async () => {
      const ended = once(child, 'close');
      child.kill('SIGTERM');
      await ended;
      return lines;
    },
  };
}
