// A Socket.IO server that returns every event; says its port.
const http = require('http');
const { Server } = require('socket.io');

const server = http.createServer();
const io = new Server(server, { path: process.argv[2] || '/chat/' });
io.on('connection', (socket) => {
  socket.on('say', (value, done) => done(value));
  socket.on('binary', (value, done) => done(value));
});
server.listen(0, '127.0.0.1', () => console.log('ready', server.address().port));
