/**
 * The parts of dbus-next we build on: handshake, wire format, name rules. Its bus, proxy and service classes are
 * left alone (design/libraries.md "dbus-next: traps"); these four files have no part in the traps except `h`,
 * which transport.ts patches. Shapes as in dbus-next 0.10.2.
 */
declare module 'dbus-next/lib/handshake.js' {
  import type { Socket } from 'node:net';
  const handshake: (
    stream: Socket,
    options: { readonly authMethods: readonly string[] },
    done: (error: unknown, guid?: string) => void,
  ) => void;
  export default handshake;
}

declare module 'dbus-next/lib/message.js' {
  const format: {
    /** Throws for values that do not fit the signature. Result: bytes, file descriptors. */
    marshall(message: {
      readonly type: number;
      readonly flags: number;
      readonly serial: number;
      readonly path?: string | undefined;
      readonly interface?: string | undefined;
      readonly member?: string | undefined;
      readonly errorName?: string | undefined;
      readonly replySerial?: number | undefined;
      readonly destination?: string | undefined;
      readonly signature?: string | undefined;
      readonly body?: readonly unknown[] | undefined;
    }): [Buffer, unknown[]];
  };
  export default format;
}

declare module 'dbus-next/lib/dbus-buffer.js' {
  interface SignatureTree {
    readonly type: string;
    readonly child: readonly SignatureTree[];
  }
  class DBusBuffer {
    constructor(
      buffer: Buffer,
      startPosition: number,
      endianByte: number,
      fileDescriptors: null,
      options: object,
    );
    align(power: number): void;
    readInt32(): number;
    read(signature: string): unknown[];
    readArray(element: SignatureTree, sizeBytes: number): unknown[];
    readSimpleType(type: string): unknown;
    readonly pos: number;
  }
  export default DBusBuffer;
}

declare module 'dbus-next/lib/validators.js' {
  const validators: {
    isBusNameValid(name: string): boolean;
    isObjectPathValid(path: string): boolean;
    isInterfaceNameValid(name: string): boolean;
    isMemberNameValid(name: string): boolean;
  };
  export default validators;
}
