/** Listeners on loopback that can be taken away with everything that goes through them. */
import { once } from 'node:events';
import { connect, type AddressInfo, type Server, type Socket } from 'node:net';

/** A listener whose connections end with it, or when it is told. */
export class Listener {
  readonly server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(server: Server) {
    this.server = server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => this.#sockets.delete(socket));
    });
  }

  async listen(port = 0): Promise<number> {
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
    return (this.server.address() as AddressInfo).port;
  }

  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.drop();
    if (this.server.listening) await new Promise((done) => this.server.close(done));
  }
}

export function pipeTo(socket: Socket, port: number, host = '127.0.0.1'): void {
  const far = connect(port, host);
  far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
  socket.on('error', () => far.destroy()).on('close', () => far.destroy());
  socket.pipe(far).pipe(socket);
}
