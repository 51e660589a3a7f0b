// What a Node server does: files, loopback HTTP, threads, children, Unix and UDP sockets. Prints a word for each.
const http = require('http'), fs = require('fs'), net = require('net'), dgram = require('dgram');
const { Worker } = require('worker_threads');
const child = require('child_process');
const words = [];
const once = (start) => new Promise((resolve, reject) => start(resolve, reject));

(async () => {
  fs.writeFileSync('a', 'x');
  fs.copyFileSync('a', 'b');
  fs.renameSync('b', 'c');
  fs.symlinkSync('a', 'l');
  fs.mkdirSync('d/e', { recursive: true });
  fs.watch('.', () => {}).close();
  fs.statfsSync('.');
  await once((done) => {
    const server = http.createServer((_, response) => response.end('http')).listen(0, '127.0.0.1', () => {
      http.get({ host: '127.0.0.1', port: server.address().port }, (response) => {
        response.on('data', (data) => words.push(String(data)));
        response.on('end', () => server.close(done));
      });
    });
  });
  await once((done) => new Worker('require("worker_threads").parentPort.postMessage("worker")', { eval: true })
    .on('message', (word) => { words.push(word); done(); }));
  words.push(child.execFileSync('/bin/sh', ['-c', 'echo exec | cat']).toString().trim());
  await once((done) => child.spawn(process.execPath, ['-e', 'process.send("fork")'], { stdio: ['pipe', 'pipe', 'pipe', 'ipc'] })
    .on('message', (word) => words.push(word)).on('exit', done));
  await once((done) => {
    const server = net.createServer((socket) => socket.end('unix')).listen('socket', () => {
      net.connect('socket').on('data', (data) => { words.push(String(data)); server.close(done); });
    });
  });
  await once((done) => {
    const socket = dgram.createSocket('udp4').on('message', (data) => { words.push(String(data)); socket.close(done); });
    socket.bind(0, '127.0.0.1', () => socket.send('udp', socket.address().port, '127.0.0.1'));
  });
  try { fs.chmodSync('a', 0o4755); words.push('setid:made'); } catch (error) { words.push('setid:' + error.code); }
  console.log(words.join(' '));
})();
