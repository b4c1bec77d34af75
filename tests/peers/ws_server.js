// An echo server of the `ws` package; says its port. With TLS when a certificate and its key are
// given.
const fs = require('fs');
const http = require('http');
const https = require('https');
const { WebSocketServer } = require('ws');

const [cert, key] = process.argv.slice(2).map((path) => fs.readFileSync(path));
const page = (request, response) => response.end('no WebSocket');
const carrier = cert ? https.createServer({ cert, key }, page) : http.createServer(page);
const server = new WebSocketServer({ server: carrier, perMessageDeflate: true });
server.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
carrier.listen(0, '127.0.0.1', () => console.log('ready', carrier.address().port));
