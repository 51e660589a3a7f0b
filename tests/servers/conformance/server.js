// An MCP server on the official TypeScript SDK, over stdio, with what the conformance suite asks for. The SDK's low level
// is used on purpose: schemas go out as they are written, keyword by keyword.
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import {
  CallToolRequestSchema,
  CompleteRequestSchema,
  CreateMessageResultSchema,
  ElicitResultSchema,
  ErrorCode,
  GetPromptRequestSchema,
  ListPromptsRequestSchema,
  ListResourcesRequestSchema,
  ListResourceTemplatesRequestSchema,
  ListToolsRequestSchema,
  McpError,
  ReadResourceRequestSchema,
  SetLevelRequestSchema,
  SubscribeRequestSchema,
  UnsubscribeRequestSchema,
} from "@modelcontextprotocol/sdk/types.js";

import { listOf, prompts, promptsOf, read, resourceList, templateList, tools } from "./fixtures.js";

const listChanged = true;
const capabilities = {
  completions: {},
  logging: {},
  prompts: { listChanged },
  resources: { listChanged, subscribe: true },
  tools: { listChanged },
};
const server = new Server({ name: "conformance-fixture", version: "0.1.0" }, { capabilities });

/** What a tool may ask of its caller, bound to the call. */
function clientOf({ sendNotification, sendRequest }) {
  const notify = (method, params) => sendNotification({ method, params });
  return {
    log: (data) => notify("notifications/message", { level: "info", logger: "conformance-fixture", data }),
    progress: (progressToken, progress, total) => notify("notifications/progress", { progressToken, progress, total }),
    sample: (params) => sendRequest({ method: "sampling/createMessage", params }, CreateMessageResultSchema),
    elicit: (params) => sendRequest({ method: "elicitation/create", params }, ElicitResultSchema),
  };
}

function known(table, name) {
  if (Object.hasOwn(table, name)) return table[name];
  throw new McpError(ErrorCode.InvalidParams, `Unknown name: ${name}`);
}

const subscriptions = new Set();
const handlers = [
  [ListToolsRequestSchema, () => ({ tools: listOf(tools) })],
  [
    CallToolRequestSchema,
    ({ params }, extra) => {
      const about = { token: params._meta?.progressToken, client: clientOf(extra) };
      return known(tools, params.name).call({ ...params.arguments, ...about });
    },
  ],
  [ListResourcesRequestSchema, () => ({ resources: resourceList })],
  [ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: templateList })],
  [
    ReadResourceRequestSchema,
    ({ params: { uri } }) => {
      const contents = read(uri);
      if (!contents) throw new McpError(-32002, "Resource not found", { uri });
      return { contents: [contents] };
    },
  ],
  [SubscribeRequestSchema, ({ params }) => (subscriptions.add(params.uri), {})],
  [UnsubscribeRequestSchema, ({ params }) => (subscriptions.delete(params.uri), {})],
  [ListPromptsRequestSchema, () => ({ prompts: promptsOf(prompts) })],
  [GetPromptRequestSchema, ({ params }) => ({ messages: known(prompts, params.name).get(params.arguments ?? {}) })],
  [
    CompleteRequestSchema,
    ({ params: { argument } }) => {
      const values = ["paris", "park", "party"].filter((value) => value.startsWith(argument.value));
      return { completion: { values, total: values.length, hasMore: false } };
    },
  ],
  [SetLevelRequestSchema, () => ({})],
];
for (const [schema, handler] of handlers) server.setRequestHandler(schema, handler);

await server.connect(new StdioServerTransport());
