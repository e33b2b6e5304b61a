/** Holds a stream back while the deployment is paused. */
export interface Valve {
  set(isShut: boolean): void;
  /** null = open; otherwise resolves when it is opened or the signal aborts. */
  passage(signal: AbortSignal): Promise<void> | null;
}

export function createValve(): Valve {
  let open: (() => void) | null = null;
  let opened: Promise<void> | null = null;
  return {
    set(isShut) {
      if (isShut && opened === null) {
        opened = new Promise((resolve) => {
          open = resolve;
        });
      } else if (!isShut && opened !== null) {
        open?.();
        opened = null;
        open = null;
      }
    },
    passage(signal) {
      if (opened === null || signal.aborted) return null;
      const aborted = new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      return Promise.race([opened, aborted]);
    },
  };
}
