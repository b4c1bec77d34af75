// A client of the `ws` package: many sizes, compressed and not, ping, and a close code; through an
// HTTP proxy when one is given.
//
// Arguments: URL, the proxy or nothing, the certificate to trust of a wss URL.
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const WebSocket = require('ws');

const sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20];

// What the usual agents for proxies do.
class Connecting extends http.Agent {
  createConnection(options, done) {
    const [host, port] = process.argv[3].split(':');
    const path = `${options.host}:${options.port}`;
    const request = http.request({ host, port, method: 'CONNECT', path, headers: { Host: path } });
    request.on('connect', (answer, socket) => {
      assert.equal(answer.statusCode, 200);
      done(null, socket);
    });
    request.on('error', done);
    request.end();
  }
}

const ca = process.argv[4] ? fs.readFileSync(process.argv[4]) : undefined;
const agent = process.argv[3] ? new Connecting() : undefined;

function talk(perMessageDeflate) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(process.argv[2], { perMessageDeflate, agent, ca });
    const waiting = sizes.map((size) => crypto.randomBytes(size));
    let next = 0;
    socket.on('error', reject);
    socket.on('open', () => socket.send(waiting[0]));
    socket.on('message', (data) => {
      assert(data.equals(waiting[next]), `message ${next}`);
      next += 1;
      if (next < waiting.length) socket.send(waiting[next]);
      else socket.ping('hello');
    });
    socket.on('pong', (data) => {
      assert.equal(data.toString(), 'hello');
      socket.close(4001, 'done');
    });
    socket.on('close', (code) => {
      assert.equal(code, 4001);
      resolve();
    });
  });
}

talk(false)
  .then(() => talk(true))
  .then(() => {
    console.log('ok');
    process.exit(0);
  })
  .catch((error) => {
    console.log(`failed ${error}`);
    process.exit(1);
  });
