// Node's side of the WebSocket cases (module ws), and the page that the browser opens. See ../README.md.
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { WebSocket, WebSocketServer } = require('ws');

const [role, ...args] = process.argv.slice(2);

function say(line) {
  fs.writeSync(1, JSON.stringify(line) + '\n');
}

function pattern(length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i += 1) bytes[i] = (i * 7 + (i >> 8) * 13) & 255;
  return bytes;
}

// --- server

function serve(address) {
  const [host, port] = address.split(':');
  const server = http.createServer((request, response) => {
    const seen = { method: request.method, target: request.url, headers: request.headers, end: 'complete' };
    response.on('close', () => {
      if (!response.writableFinished) seen.end = 'gone';
      say(seen);
    });
    switch (request.url) {
      case '/page':
        response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
        fs.createReadStream(path.join(__dirname, 'page.html')).pipe(response);
        break;
      case '/events': {
        // Events until the client goes.
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        let n = 0;
        const timer = setInterval(() => { n += 1; response.write(`data: ${n}\n\n`); }, 20);
        response.on('close', () => clearInterval(timer));
        break;
      }
      case '/report': {
        let text = '';
        request.on('data', (piece) => { text += piece; });
        request.on('end', () => { seen.report = JSON.parse(text); response.end('thanks'); });
        break;
      }
      case '/echo':
        request.pipe(response);
        break;
      case '/hold':
        response.write('first piece');
        break;
      default:
        response.writeHead(404);
        response.end();
    }
  });
  const sockets = new WebSocketServer({
    server, maxPayload: 8 << 20, perMessageDeflate: true,
    handleProtocols: (offered) => (offered.has('second') ? 'second' : false),
  });
  sockets.on('connection', (socket, request) => {
    const seen = { socket: request.url, headers: request.headers, messages: 0, extensions: socket.extensions };
    socket.on('error', (error) => { seen.error = error.message; });
    socket.on('ping', (data) => { seen.ping = String(data); });
    socket.on('message', (data, binary) => {
      seen.messages += 1;
      const text = binary ? '' : String(data);
      if (text === 'end with 4002') socket.close(4002, 'as you wish');
      else if (text === 'drop me') socket.terminate();
      else socket.send(data, { binary });
    });
    socket.on('close', (code, reason) => say({ ...seen, code, reason: String(reason) }));
  });
  server.listen(Number(port), host, () => say({ listening: address }));
}

// --- client

function open(url, protocols, options) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, options);
    socket.waiting = [];
    socket.arrived = [];
    socket.on('message', (data, binary) => {
      const next = socket.waiting.shift();
      if (next) next({ data, binary }); else socket.arrived.push({ data, binary });
    });
    socket.ended = new Promise((done) => { socket.on('close', (code, reason) => done({ code, reason: String(reason) })); });
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
  });
}

function next(socket) {
  if (socket.arrived.length) return socket.arrived.shift();
  return new Promise((resolve) => { socket.waiting.push(resolve); });
}

async function run(url) {
  let socket = await open(`${url}/one?a=b`, ['first', 'second'], { headers: { 'x-test': 'kept' } });
  const line = { protocol: socket.protocol, extensions: socket.extensions, right: 0 };
  const bodies = ['', 'grün', 'x'.repeat(200000), Buffer.alloc(0), pattern(125), pattern(126), pattern(65536), pattern(3000000)];
  for (const body of bodies) {
    socket.send(body);
    const { data, binary } = await next(socket);
    if (Buffer.from(body).equals(data) && binary === Buffer.isBuffer(body)) line.right += 1;
  }
  // One message in three frames, with a ping between them.
  socket.send('in ', { fin: false });
  socket.send('three ', { fin: false });
  const pong = new Promise((resolve) => { socket.once('pong', (data) => resolve(String(data))); });
  socket.ping('are you there');
  socket.send('frames', { fin: true });
  line.fragments = String((await next(socket)).data);
  line.pong = await pong;
  // Many before the first answer is looked at.
  for (let n = 0; n < 500; n += 1) socket.send(`message ${n}`);
  line.order = 0;
  for (let n = 0; n < 500; n += 1) if (String((await next(socket)).data) === `message ${n}`) line.order += 1;
  socket.close(4001, 'enough');
  line.closed = await socket.ended;
  say({ case: 'talk', ...line });

  socket = await open(`${url}/two`, [], { perMessageDeflate: false });
  socket.send('end with 4002');
  say({ case: 'closed by the server', extensions: socket.extensions, closed: await socket.ended });

  socket = await open(`${url}/three`, []);
  socket.send('drop me');
  say({ case: 'dropped by the server', closed: await socket.ended });

  socket = await open(`${url}/four`, []);
  socket.send('here');
  await next(socket);
  socket.terminate();
  say({ case: 'dropped by the client', closed: await socket.ended });
}

if (role === 'server') serve(args[0]);
else run(args[0]).catch((error) => { say({ failed: String(error) }); process.exit(1); });
