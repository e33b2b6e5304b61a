/**
 * Loaded in front of the service by the benchmark: measures how late its event loop is, and writes the figures to the
 * file HOLDPOINT_BENCH_LOOP names when the process ends. SIGUSR2 begins anew, so that the start is not counted.
 */
import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 2;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
process.on('SIGUSR2', () => delay.reset());
process.on('exit', () => {
  const lateMs = (nanoseconds) => nanoseconds / 1e6 - RESOLUTION_MS;
  const figures = { maxMs: lateMs(delay.max), p999Ms: lateMs(delay.percentile(99.9)), count: delay.count };
  writeFileSync(process.env['HOLDPOINT_BENCH_LOOP'], JSON.stringify(figures));
});
