// Node's side of the HTTP cases: modules http and http2, as a client and as a server. See ../README.md.
'use strict';
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');

const [role, ...args] = process.argv.slice(2);

function say(line) {
  fs.writeSync(1, JSON.stringify(line) + '\n');
}

function pattern(length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i += 1) bytes[i] = (i * 7 + (i >> 8) * 13) & 255;
  return bytes;
}

function sum(bytes) {
  return crypto.createHash('sha256').update(bytes).digest('hex');
}

// Fields without those that HTTP/2 writes first; what is long by its length only.
function fields(headers) {
  const entries = Object.entries(headers || {}).filter(([name]) => !name.startsWith(':'));
  return Object.fromEntries(entries.map(([name, value]) => {
    const text = Array.isArray(value) ? value.join(', ') : String(value);
    return [name, text.length > 200 ? `(${text.length})` : text];
  }));
}

// --- server: the same handler serves both versions

function serve(address, version) {
  const [host, port] = address.split(':');
  const server = version === '2' ? http2.createServer() : http.createServer();
  let connections = 0;
  server.on(version === '2' ? 'session' : 'connection', (it) => { connections += 1; it.number = connections; });
  server.on('request', answer);
  server.on('sessionError', () => {});
  server.listen(Number(port), host, () => say({ listening: address }));
}

function answer(request, response) {
  const two = request.httpVersionMajor === 2;
  const seen = {
    method: request.method, target: request.url, proto: two ? '2' : request.httpVersion,
    headers: fields(request.headers), end: 'complete',
    connection: two ? request.stream.session.number : request.socket.number,
  };
  let told = false;
  const tell = () => { if (!told) { told = true; say(seen); } };
  request.on('error', () => {});
  response.on('error', () => {});
  response.on('close', () => {
    if ((!response.writableEnded || request.aborted) && seen.end === 'complete') seen.end = 'gone';
    tell();
  });
  const read = (then) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      const body = Buffer.concat(pieces);
      Object.assign(seen, { length: body.length, sha256: sum(body), trailers: fields(request.trailers) });
      then(body);
    });
  };
  const cut = () => {
    seen.end = 'cut';
    if (two) response.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else request.socket.destroy();
  };
  const [what, ...rest] = request.url.split('?')[0].split('/').filter(Boolean);
  const [first, second] = rest.map(Number);
  switch (what) {
    case 'echo':
      read((body) => {
        response.writeHead(200, { trailer: 'x-sha256, x-trailer-seen' });
        response.write(body);
        response.addTrailers({ 'x-sha256': sum(body), 'x-trailer-seen': request.trailers['x-checksum'] || '' });
        response.end();
      });
      break;
    case 'bytes':
      response.writeHead(200, { 'content-length': first });
      response.end(request.method === 'HEAD' ? undefined : pattern(first));
      break;
    case 'stream': {
      response.writeHead(200, { trailer: 'x-sha256' });
      const piece = pattern(second);
      const hash = crypto.createHash('sha256');
      let n = 0;
      const more = () => {
        while (n < first) {
          n += 1;
          hash.update(piece);
          if (!response.write(piece)) { response.once('drain', more); return; }
        }
        response.addTrailers({ 'x-sha256': hash.digest('hex') });
        response.end();
      };
      more();
      break;
    }
    case 'status':
      read(() => { response.writeHead(first); response.end(); });
      break;
    case 'hints':
      response.writeEarlyHints({ link: '</style.css>; rel=preload' });
      response.end('after hints');
      break;
    case 'hold':
      response.write('first piece');
      break;
    case 'die':
      response.writeHead(200, { 'content-length': 10000000 });
      response.write(pattern(first), () => setImmediate(cut));
      break;
    case 'refuse':
      read(() => cut());
      break;
    case 'goaway':
      if (two) {
        response.end('the last one');
        response.stream.session.close();
      } else {
        response.writeHead(200, { connection: 'close' });
        response.end('the last one');
      }
      break;
    case 'early':
      if (!two) response.setHeader('connection', 'close');
      response.writeHead(413);
      response.end('too much');
      break;
    default:
      response.writeHead(404);
      response.end();
  }
}

// --- client

class Client {
  constructor(version, base) {
    this.two = version === '2';
    this.base = base;
    this.agent = new http.Agent({ keepAlive: true });
    this.ports = new Set();
  }

  session() {
    if (!this.live || this.live.closed || this.live.destroyed) {
      this.live = http2.connect(this.base);
      this.live.on('error', () => {});
      this.live.on('connect', (session, socket) => this.ports.add(socket.localPort));
    }
    return this.live;
  }

  close() {
    this.agent.destroy();
    if (this.live) this.live.destroy();
  }

  // Starts a request. `body`: what is sent, piece by piece if `options.pieces`. Resolves with the response's stream.
  start(method, path, body, options = {}) {
    const headers = { ...options.headers };
    const pieces = options.pieces ? Math.ceil(body.length / options.pieces) : 0;
    if (pieces) headers.trailer = 'x-checksum';
    else if (body) headers['content-length'] = body.length;
    const line = { hints: [], continued: false };
    return new Promise((resolve) => {
      const failed = (error) => resolve({ line: { ...line, error: String(error.message || error) } });
      let request;
      if (this.two) {
        const more = { endStream: !body, waitForTrailers: Boolean(pieces) };
        request = this.session().request({ ':method': method, ':path': path, ...headers }, more);
        request.on('wantTrailers', () => request.sendTrailers({ 'x-checksum': sum(body) }));
        request.on('headers', (h) => line.hints.push(`${h[':status']} ${h.link}`));
        request.on('response', (h) => {
          Object.assign(line, { status: h[':status'], proto: '2', headers: fields(h) });
          resolve({ line, response: request, stop: () => request.close(http2.constants.NGHTTP2_CANCEL) });
        });
        request.on('trailers', (t) => { line.trailers = fields(t); });
      } else {
        request = http.request(this.base + path, { method, headers, agent: this.agent });
        request.on('information', (i) => line.hints.push(`${i.statusCode} ${i.headers.link}`));
        request.on('response', (r) => {
          this.ports.add(r.socket.localPort);
          Object.assign(line, { status: r.statusCode, proto: r.httpVersion, headers: fields(r.headers) });
          resolve({ line, response: r, stop: () => request.destroy() });
        });
      }
      request.on('error', failed);
      request.on('continue', () => { line.continued = true; request.end(body); });
      if (headers.expect) {
        if (!this.two) request.flushHeaders();
      } else if (pieces) {
        for (let n = 0; n < options.pieces; n += 1) request.write(body.subarray(n * pieces, (n + 1) * pieces));
        if (!this.two) request.addTrailers({ 'x-checksum': sum(body) });
        request.end();
      } else if (!this.two || body) {
        request.end(body);
      }
    });
  }

  // The whole response.
  async send(...request) {
    const { line, response } = await this.start(...request);
    return response ? this.collect(line, response) : line;
  }

  collect(line, response, had = []) {
    return new Promise((resolve) => {
      const pieces = [...had];
      let done = false;
      const finish = (error) => {
        if (done) return;
        done = true;
        const body = Buffer.concat(pieces);
        const told = { ...line, length: body.length, sha256: sum(body) };
        if (!this.two) told.trailers = fields(response.trailers);
        if (error) told.error = String(error.message || error);
        resolve(told);
      };
      response.on('data', (piece) => pieces.push(piece));
      response.on('end', () => { if (this.two) setImmediate(() => finish()); else finish(); });
      response.on('error', finish);
      response.on('aborted', () => finish(new Error('aborted')));
    });
  }

  async run(name) {
    switch (name) {
      case 'get':
        return this.send('GET', '/bytes/1000?q=%20x&y', undefined, {
          headers: { 'x-test': 'a, b', 'l5d-client-id': 'liar', cookie: 'a=1; b=2; c=3' },
        });
      case 'head': return this.send('HEAD', '/bytes/1000');
      case 'empty': return this.send('GET', '/status/204');
      case 'missing': return this.send('GET', '/status/404');
      case 'post': return this.send('POST', '/echo', pattern(100000));
      case 'upload': return this.send('POST', '/echo', pattern(300000), { pieces: 30 });
      case 'download': return this.send('GET', '/bytes/20000000');
      case 'stream': return this.send('GET', '/stream/100/10000');
      case 'reuse': {
        this.ports.clear();
        let ok = 0;
        for (let n = 0; n < 50; n += 1) {
          if ((await this.send('GET', '/bytes/10')).sha256 === sum(pattern(10))) ok += 1;
        }
        return { ok, connections: Math.max(this.ports.size, 1) };
      }
      case 'parallel': {
        const all = Array.from({ length: 40 }, async (_, n) => {
          const body = pattern(1000 * (n + 1));
          return (await this.send('POST', '/echo', body)).sha256 === sum(body);
        });
        return { ok: (await Promise.all(all)).filter(Boolean).length };
      }
      case 'big-header':
        return this.send('GET', '/bytes/1', undefined, { headers: { 'x-big': 'x'.repeat(8000) } });
      case 'hints': return this.send('GET', '/hints');
      case 'expect':
        return this.send('POST', '/echo', pattern(5000), { headers: { expect: '100-continue' } });
      case 'early': return this.send('POST', '/early', pattern(200000));
      case 'cancel': {
        const { line, response, stop } = await this.start('GET', '/hold');
        const first = await new Promise((resolve) => { response.once('data', resolve); });
        response.on('error', () => {});
        stop();
        return { ...line, first: String(first) };
      }
      case 'die': return this.send('GET', '/die/50000');
      case 'refuse': return this.send('GET', '/refuse');
      case 'refuse-post': return this.send('POST', '/refuse', pattern(10));
      case 'goaway': {
        const first = await this.send('GET', '/goaway');
        return { ...await this.send('GET', '/bytes/10'), first_status: first.status };
      }
      case 'slow': {
        const { line, response } = await this.start('GET', '/bytes/60000000');
        const first = await new Promise((resolve) => { response.once('data', (it) => { response.pause(); resolve(it); }); });
        say({ paused: true });
        while (!fs.existsSync(process.env.GATE)) await new Promise((resolve) => { setTimeout(resolve, 20); });
        const whole = this.collect(line, response, [first]);
        response.resume();
        return whole;
      }
      default: return { unknown: true };
    }
  }
}

async function run(version, base, cases) {
  const client = new Client(version, base);
  for (const name of cases) say({ ...await client.run(name), case: name });
  client.close();
}

if (role === 'http-server') serve(args[0], args[1]);
else run(args[0], args[1], args.slice(2));
