import type { Credentials } from './authentication.ts';

/** The door on this device through which other programs reach the server: spec/dbus-mender.md section 4. */
export interface TokenForwarder {
  /**
   * Lets in who shows the token, and nobody with an older one. Resolves, when connections are accepted, with the URL
   * without trailing slash. null closes the door, and resolves with ''. Rejects when no connection can be accepted.
   */
  serve(credentials: Credentials | null): Promise<string>;
  /** Ends every connection in good order, within bounded time. */
  close(): Promise<void>;
}
