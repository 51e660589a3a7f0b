// Streamable HTTP in front of an MCP server over stdio, for clients that speak HTTP alone: `bridge.js COMMAND [ARGUMENT...]`.
// Each session is one child. Loopback only; prints its URL on a line, and ends, with its children, when its stdin does.
//
// Nothing a message says is changed: a body goes to the child as the line it is, a line of the child comes out as one event.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

const [program, ...words] = process.argv.slice(2);
const PATH = "/mcp";
const BODY_LIMIT = 8 * 1024 * 1024;
/** Clients that forget to end their session must not add up: beyond this many, the oldest that nobody waits for ends. */
const SESSION_LIMIT = 3;
/** How long a child may take to end after its stdin did. */
const END_LIMIT_MS = 5_000;
const VERSIONS = ["2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];
const LOCAL = ["127.0.0.1", "localhost", "[::1]"];

const EVENTS = { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" };
const sessions = new Map();

/** One child and the HTTP answers that wait for its lines. */
class Session {
  id = randomUUID();
  /** Open answers to POSTed requests, by the request's id as JSON; the newest is the last. */
  #calls = new Map();
  /** Progress token as JSON to the key of its call. */
  #tokens = new Map();
  /** The stream of a GET, and what came while there was none. */
  #standing;
  #early = [];
  #child = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });

  constructor() {
    const idle = [...sessions.values()].filter((session) => session.#calls.size === 0);
    if (sessions.size >= SESSION_LIMIT) idle[0]?.end();
    sessions.set(this.id, this);
    createInterface({ input: this.#child.stdout, crlfDelay: Infinity }).on("line", (line) => this.#route(line));
    this.#child.stdin.on("error", (error) => complain(`the child takes no more: ${error.message}`));
    this.ended = new Promise((resolve) => {
      const over = () => (this.#close(), resolve());
      this.#child.on("error", (error) => (complain(error.message), over())).on("close", over);
    });
  }

  send(line) {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Sends a request; its answer, and what comes before it on its account, goes to `response`. */
  request(line, message, response) {
    const key = JSON.stringify(message.id);
    response.writeHead(200, { ...EVENTS, "Mcp-Session-Id": this.id }).flushHeaders();
    response.on("close", () => this.#calls.delete(key));
    const token = message.params?._meta?.progressToken;
    if (token !== undefined) this.#tokens.set(JSON.stringify(token), key);
    this.#calls.set(key, response);
    this.send(line);
  }

  /** Makes `response` the stream for what belongs to no call. */
  stand(response) {
    this.#standing?.end();
    this.#standing = response;
    response.writeHead(200, { ...EVENTS, "Mcp-Session-Id": this.id }).flushHeaders();
    response.on("close", () => (this.#standing = this.#standing === response ? undefined : this.#standing));
    for (const line of this.#early.splice(0)) emit(response, line);
  }

  /** Ends the child: its stdin first, as MCP says, its life if that is not enough. */
  async end() {
    sessions.delete(this.id);
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill("SIGKILL"), END_LIMIT_MS);
    await this.ended;
    clearTimeout(late);
  }

  #route(line) {
    let message;
    try {
      message = JSON.parse(line);
    } catch {
      return complain(`the child wrote no JSON: ${line.slice(0, 200)}`);
    }
    if (message.method === undefined) {
      const key = JSON.stringify(message.id);
      const call = this.#calls.get(key);
      if (!call) return complain(`an answer to nobody: ${line.slice(0, 200)}`);
      emit(call, line);
      this.#calls.delete(key);
      return call.end();
    }
    // Over stdio only progress says whose it is. The rest is taken for the newest open call's, as a client would see it.
    const key = this.#tokens.get(JSON.stringify(message.params?.progressToken));
    const stream = this.#calls.get(key) ?? [...this.#calls.values()].at(-1) ?? this.#standing;
    if (stream) emit(stream, line);
    else this.#early.push(line);
  }

  #close() {
    sessions.delete(this.id);
    for (const stream of [...this.#calls.values(), this.#standing]) stream?.end();
  }
}

function emit(stream, line) {
  stream.write(`event: message\ndata: ${line}\n\n`);
}

function complain(words) {
  process.stderr.write(`bridge: ${words}\n`);
}

function refuse(response, status, code, message) {
  const body = { jsonrpc: "2.0", id: null, error: { code, message } };
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

/** Whether a browser's page elsewhere may be behind this request (DNS rebinding). */
function isForeign({ headers: { host = "", origin } }) {
  const isLocal = (authority) => LOCAL.includes(authority.replace(/:\d+$/, ""));
  return !isLocal(host) || (origin !== undefined && !isLocal(origin.replace(/^https?:\/\//, "")));
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_LIMIT) throw new Error("the body is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

async function post(request, response, session) {
  let text, message;
  try {
    text = await bodyOf(request);
    message = JSON.parse(text);
  } catch (error) {
    return refuse(response, 400, -32700, `Parse error: ${error.message}`);
  }
  // Line ends inside a JSON text are blanks between tokens: without them it is one line and says the same.
  const line = text.replace(/[\r\n]/g, " ");
  const isRequest = message?.method !== undefined && message.id !== undefined;
  if (!session && message?.method === "initialize") session = new Session();
  if (!session) return refuse(response, 400, -32000, "Mcp-Session-Id is missing");
  if (isRequest) return session.request(line, message, response);
  session.send(line);
  response.writeHead(202).end();
}

async function serve(request, response) {
  if (isForeign(request)) return refuse(response, 403, -32000, "Host or Origin is not local");
  if (new URL(request.url, "http://localhost").pathname !== PATH) return refuse(response, 404, -32000, "Not found");
  const { "mcp-session-id": id, "mcp-protocol-version": version } = request.headers;
  if (version !== undefined && !VERSIONS.includes(version)) {
    return refuse(response, 400, -32000, "Unsupported MCP-Protocol-Version");
  }
  const session = sessions.get(id);
  if (id !== undefined && !session) return refuse(response, 404, -32001, "Session not found");
  if (request.method === "POST") return post(request, response, session);
  if (!session) return refuse(response, 400, -32000, "Mcp-Session-Id is missing");
  if (request.method === "GET") return session.stand(response);
  if (request.method !== "DELETE") return refuse(response, 405, -32000, "Method not allowed");
  await session.end();
  response.writeHead(200).end();
}

const server = createServer((request, response) => {
  serve(request, response).catch((error) => {
    complain(error.stack);
    response.destroy();
  });
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`http://127.0.0.1:${server.address().port}${PATH}\n`));

process.stdin.resume().on("end", async () => {
  await Promise.all([...sessions.values()].map((session) => session.end()));
  process.exit(0);
});
