// Streamable HTTP in front of an MCP server over stdio, for clients that speak HTTP alone: `bridge.js COMMAND [ARGUMENT...]`.
// Each session is one child. Loopback only; prints its URL on a line, and ends, with its children, when its stdin does.
//
// Nothing a message says is changed: a body goes to the child as the line it is, a line of the child comes out as one event.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

const [program, ...words] = process.argv.slice(2);
const PATH = "/mcp";
const BODY_LIMIT = 8 * 1024 * 1024;
/** Clients that forget to end their session must not add up: beyond this many, the oldest that nobody waits for ends. */
const SESSION_LIMIT = 3;
/** How long a child may take to end after its stdin did. */
const END_LIMIT_MS = 5_000;
const VERSIONS = ["2025-03-26", "2025-06-18", "2025-11-25"];
/** From this revision on there are no sessions: one child serves every request, and each names its revision itself. */
const STATELESS = "2026-07-28";
const VERSION_KEY = "io.modelcontextprotocol/protocolVersion";
const SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId";
/** HTTP statuses that the stateless revision gives to errors; any other is 200. */
const STATUS = { [-32601]: 404, [-32602]: 400, [-32020]: 400, [-32021]: 400, [-32022]: 400 };
const HEADER_MISMATCH = -32020;
const LOCAL = ["127.0.0.1", "localhost", "[::1]"];

const EVENTS = { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" };
/** Sessions that can be asked for, by id, and all whose child lives. */
const sessions = new Map();
const living = new Set();
let stateless;

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
    const idle = [...sessions.values()].filter((session) => session !== stateless && session.#calls.size === 0);
    if (sessions.size >= SESSION_LIMIT) idle[0]?.end();
    sessions.set(this.id, this);
    living.add(this);
    let rest = "";
    this.#child.stdout.setEncoding("utf8").on("data", (chunk) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop();
      lines.forEach((line) => this.#route(line));
    });
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
    // Without a session the first line decides: an error has a status of its own. Who hangs up cancels.
    if (this !== stateless) response.writeHead(200, { ...EVENTS, "Mcp-Session-Id": this.id }).flushHeaders();
    response.on("close", () => {
      const waited = this.#calls.get(key) === response && this.#calls.delete(key);
      const params = { requestId: message.id };
      if (waited && this === stateless) this.send(JSON.stringify({ jsonrpc: "2.0", method: "notifications/cancelled", params }));
    });
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
      this.#calls.delete(key);
      if (message.error && !call.headersSent) return reply(call, STATUS[message.error.code] ?? 200, line);
      emit(call, line);
      return call.end();
    }
    // Over stdio only progress and subscriptions say whose they are. The rest is taken for the newest open call's.
    const subscription = JSON.stringify(message.params?._meta?.[SUBSCRIPTION_KEY]);
    const key = this.#tokens.get(JSON.stringify(message.params?.progressToken)) ?? subscription;
    const stream = this.#calls.get(key) ?? [...this.#calls.values()].at(-1) ?? this.#standing;
    if (stream) emit(stream, line);
    else this.#early.push(line);
  }

  #close() {
    sessions.delete(this.id);
    living.delete(this);
    if (stateless === this) stateless = undefined;
    for (const stream of [...this.#calls.values(), this.#standing]) stream?.end();
  }
}

function emit(stream, line) {
  if (!stream.headersSent) stream.writeHead(200, EVENTS);
  stream.write(`event: message\ndata: ${line}\n\n`);
}

function complain(words) {
  process.stderr.write(`bridge: ${words}\n`);
}

function reply(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json" }).end(body);
}

function refuse(response, status, code, message, id = null) {
  reply(response, status, JSON.stringify({ jsonrpc: "2.0", id, error: { code, message } }));
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

/** What a header of a stateless request says otherwise than its body, if anything. */
function mismatch({ headers }, { method, params }, claimed) {
  const name = { "tools/call": params?.name, "prompts/get": params?.name, "resources/read": params?.uri }[method];
  const wanted = { "mcp-protocol-version": claimed, "mcp-method": method, "mcp-name": name };
  return Object.keys(wanted).find((header) => wanted[header] !== undefined && headers[header] !== wanted[header]);
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
  const claimed = message?.params?._meta?.[VERSION_KEY];
  if (!session && (claimed ?? request.headers["mcp-protocol-version"] ?? "") >= STATELESS) {
    const header = mismatch(request, message, claimed);
    if (header) return refuse(response, 400, HEADER_MISMATCH, `${header} does not say what the body says`, message.id);
    session = stateless ??= new Session();
  }
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
  const session = sessions.get(id);
  if (session && version !== undefined && !VERSIONS.includes(version)) {
    return refuse(response, 400, -32000, "Unsupported MCP-Protocol-Version");
  }
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
  await Promise.all([...living].map((session) => session.end()));
  process.exit(0);
});
