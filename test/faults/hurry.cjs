'use strict';
// Loaded into the service by `node --require`: its time limits of five seconds and more run forty times as fast, so that a
// limit of a minute can be met in a test. The HTTP library counts long limits in ticks of 499 ms. Everything else is as it is; the sockets are real, and so is their silence.
const FACTOR = 40;
const LONG_MS = 5000;
const TICK_MS = 499;
const original = globalThis.setTimeout;
function setTimeout(callback, ms, ...args) {
  return original(callback, ms >= LONG_MS || ms === TICK_MS ? ms / FACTOR : ms, ...args);
}
// `util.promisify` looks for what it needs there.
Object.defineProperties(setTimeout, Object.getOwnPropertyDescriptors(original));
globalThis.setTimeout = setTimeout;
