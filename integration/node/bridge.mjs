// A generic client of a relay, as `cloudflared access tcp` is: each connection to a local port becomes one WebSocket to a
// hostname, with a service token in its headers. It cuts what it sends into messages anyhow, which must not matter.
import { readFileSync } from 'node:fs';
import net from 'node:net';
import WebSocket from 'ws';

const { RELAY, HOSTNAME, CA_FILE, CLIENT_ID, CLIENT_SECRET } = process.env;
const ca = readFileSync(CA_FILE, 'utf8');

const pieces = function* (chunk) {
  for (let at = 0; at < chunk.length;) {
    const length = Math.random() < 0.2 ? 1 : 1 + Math.floor(Math.random() * chunk.length);
    yield chunk.subarray(at, at + length);
    at += length;
  }
};

const server = net.createServer((socket) => {
  const ws = new WebSocket(`wss://${RELAY}/`, {
    ca,
    perMessageDeflate: false,
    headers: { Host: HOSTNAME, 'Cf-Access-Client-Id': CLIENT_ID, 'Cf-Access-Client-Secret': CLIENT_SECRET },
  });
  socket.pause();
  ws.on('open', () => socket.resume());
  socket.on('data', (chunk) => { for (const piece of pieces(chunk)) ws.send(piece); });
  socket.on('close', () => ws.close());
  socket.on('error', () => ws.terminate());
  ws.on('message', (data, isBinary) => {
    if (!isBinary) throw new Error('a text message');
    socket.write(data);
  });
  ws.on('ping', () => console.log('ping'));
  ws.on('close', () => socket.end());
  ws.on('unexpected-response', (_, response) => { console.log('refused', response.statusCode); socket.destroy(); });
  ws.on('error', (err) => { console.log('error', err.message); socket.destroy(); });
});
server.listen(0, '127.0.0.1', () => console.log('listening', server.address().port));
