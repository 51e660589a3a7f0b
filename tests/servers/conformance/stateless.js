// The server of the 2026-07-28 revision: the same fixtures and those of rounds.js, on the second TypeScript SDK. No session,
// no request from here to the client: what a tool needs to ask, it returns.
import { ProtocolError, ProtocolErrorCode, Server } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";

import { listOf, promptsOf, prompts, read, resourceList, templateList, tools } from "./fixtures.js";
import { requestState, roundPrompts, roundTools } from "./rounds.js";

const REVISION = "2026-07-28";
const SESSION_ONLY = ["test_sampling", "test_elicitation", "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums"];
const allTools = { ...tools, ...roundTools };
for (const name of SESSION_ONLY) delete allTools[name];
const allPrompts = { ...prompts, ...roundPrompts };

const listChanged = true;
const capabilities = {
  completions: {},
  logging: {},
  prompts: { listChanged },
  resources: { listChanged, subscribe: true },
  tools: { listChanged },
};

function known(table, name) {
  if (Object.hasOwn(table, name)) return table[name];
  throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Unknown name: ${name}`);
}

/** What a tool gets beside its arguments. */
function about({ mcpReq }, server) {
  const token = mcpReq._meta?.progressToken;
  const client = {
    log: (data) => mcpReq.log("info", data, "conformance-fixture"),
    progress: (progressToken, progress, total) =>
      mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total } }),
  };
  return {
    client,
    token,
    server,
    responses: mcpReq.inputResponses,
    state: mcpReq.requestState(),
    capabilities: mcpReq.envelope?.["io.modelcontextprotocol/clientCapabilities"] ?? {},
  };
}

function make() {
  const server = new Server({ name: "conformance-fixture", version: "0.1.0" }, { capabilities, requestState });
  const handlers = {
    "tools/list": () => ({ tools: listOf(allTools) }),
    "tools/call": ({ params }, context) =>
      known(allTools, params.name).call({ ...params.arguments, ...about(context, server) }),
    "resources/list": () => ({ resources: resourceList }),
    "resources/templates/list": () => ({ resourceTemplates: templateList }),
    "resources/read": ({ params: { uri } }) => {
      const contents = read(uri);
      if (contents) return { contents: [contents] };
      throw new ProtocolError(ProtocolErrorCode.InvalidParams, "Resource not found", { uri });
    },
    "prompts/list": () => ({ prompts: promptsOf(allPrompts) }),
    "prompts/get": ({ params }, { mcpReq }) => {
      const got = known(allPrompts, params.name).get(params.arguments ?? {}, mcpReq.inputResponses);
      return Array.isArray(got) ? { messages: got } : got;
    },
    "completion/complete": ({ params: { argument } }) => {
      const values = ["paris", "park", "party"].filter((value) => value.startsWith(argument.value));
      return { completion: { values, total: values.length, hasMore: false } };
    },
  };
  for (const [method, handler] of Object.entries(handlers)) server.setRequestHandler(method, handler);
  return server;
}

serveStdio(make, { legacy: "reject", onerror: (error) => process.stderr.write(`${REVISION}: ${error.message}\n`) });
