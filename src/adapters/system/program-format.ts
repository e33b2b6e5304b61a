/**
 * Whether the kernel can run a file. execvp(3), which Node uses, hands everything the kernel refuses to /bin/sh:
 * a damaged program or one for another machine would be run as shell commands, by root. Mender's clients refuse it.
 */
import { open, readdir } from 'node:fs/promises';

/** ELF machine numbers that run on a processor, by Node's name for it. */
const MACHINES: Readonly<Record<string, readonly number[]>> = {
  x64: [62, 3],
  ia32: [3],
  arm64: [183, 40],
  arm: [40],
  riscv64: [243],
};
const HEADER_BYTES = 20;
const MACHINE_OFFSET = 18;
const LITTLE_ENDIAN = 1;

/** True also for what cannot be read or judged: the attempt to start it then says what is wrong. */
export async function isRunnable(path: string): Promise<boolean> {
  const header = Buffer.alloc(HEADER_BYTES);
  try {
    const file = await open(path, 'r');
    try {
      await file.read(header, 0, HEADER_BYTES, 0);
    } finally {
      await file.close();
    }
  } catch {
    return true;
  }
  if (header.toString('latin1', 0, 2) === '#!') return true;
  if (header.toString('latin1', 0, 4) === '\x7fELF') {
    const known = MACHINES[process.arch];
    const isLittle = header[5] === LITTLE_ENDIAN;
    const machine = isLittle ? header.readUInt16LE(MACHINE_OFFSET) : header.readUInt16BE(MACHINE_OFFSET);
    if (!known || known.includes(machine)) return true;
  }
  return await hasForeignFormats();
}

/** Emulators and the like registered with the kernel (binfmt_misc) may run anything. */
async function hasForeignFormats(): Promise<boolean> {
  const entries = await readdir('/proc/sys/fs/binfmt_misc').catch((): string[] => []);
  return entries.some((entry) => entry !== 'register' && entry !== 'status');
}
