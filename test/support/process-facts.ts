import { readdir, readFile } from 'node:fs/promises';

/** Memory a process has in use, MiB. */
export async function rssMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** The most memory a process has ever had in use, MiB; null = it has ended. */
export async function peakMib(pid: number): Promise<number | null> {
  const status = await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  const found = /^VmHWM:\s+(\d+)/m.exec(status);
  return found === null ? null : Number(found[1]) / 1024;
}

export async function openFiles(pid: number): Promise<number> {
  return (await readdir(`/proc/${pid}/fd`)).length;
}
