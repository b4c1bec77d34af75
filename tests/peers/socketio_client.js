// A Socket.IO client: begins with polling, goes over to a WebSocket, and talks on.
const assert = require('assert');
const { io } = require('socket.io-client');

const path = process.argv[3] || '/chat/';
const socket = io(process.argv[2], { path, transports: ['polling', 'websocket'] });
const fail = (error) => {
  console.log(`failed ${error}`);
  process.exit(1);
};
socket.on('connect_error', fail);
setTimeout(() => fail('too late'), 15000);

socket.on('connect', async () => {
  try {
    assert.equal(await socket.emitWithAck('say', 'over polling'), 'over polling');
    if (socket.io.engine.transport.name !== 'websocket') {
      await new Promise((resolve) => socket.io.engine.once('upgrade', resolve));
    }
    assert.equal(socket.io.engine.transport.name, 'websocket');
    for (let number = 0; number < 100; number += 1) {
      assert.equal(await socket.emitWithAck('say', `message ${number}`), `message ${number}`);
    }
    const bytes = Buffer.alloc(100000, 7);
    assert(Buffer.from(await socket.emitWithAck('binary', bytes)).equals(bytes));
    console.log('ok');
    process.exit(0);
  } catch (error) {
    fail(error);
  }
});
