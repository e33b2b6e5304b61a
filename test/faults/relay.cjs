'use strict';
// In a network namespace of its own: `relay.cjs ADDRESS:PORT=SOCKET…` passes each connection on to a Unix socket, which
// is reached from any namespace. Says "ready" once it listens.
const net = require('node:net');

const listening = process.argv.slice(2).map((pair) => {
  const [, host, port, path] = /^([\d.]+):(\d+)=(.+)$/.exec(pair);
  const server = net.createServer((socket) => {
    const far = net.connect(path);
    socket.on('error', () => far.destroy()).on('close', () => far.destroy());
    far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.pipe(far).pipe(socket);
  });
  return new Promise((done) => server.listen({ host, port: Number(port) }, done));
});
void Promise.all(listening).then(() => process.stdout.write('ready\n'));
