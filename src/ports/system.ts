export interface System {
  /** The kernel's boot id: another value after every boot. */
  bootId(): string;
  /** One line `device_type=…` of the device type file (spec/configuration.md section 2.1); rejects when unknown. */
  deviceType(): Promise<string>;
  /**
   * Asks the host to reboot (or to switch itself off) and waits to be killed. Rejects (kind `reboot`) when the command fails or when, ten
   * minutes later, the process is still alive; with kind `cancelled` on abort.
   */
  reboot(signal: AbortSignal, options?: { readonly isPowerOff?: boolean }): Promise<never>;
}
