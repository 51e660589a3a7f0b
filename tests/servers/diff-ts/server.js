// An MCP server on the official TypeScript SDK for the differential suite: `node server.js sdk-current` or `sdk-old`.
// It checks nothing: each call that reaches a tool is written down as this language saw it, one line a call.
import { appendFileSync } from "node:fs";

const sdk = process.argv[2];
const { Server } = await import(`${sdk}/server/index.js`);
const { StdioServerTransport } = await import(`${sdk}/server/stdio.js`);
const { CallToolRequestSchema, ListToolsRequestSchema } = await import(`${sdk}/types.js`);

const TOOLS = ["allowed", "denied", "limited"];
const inputSchema = {
  type: "object",
  properties: {
    tag: { type: "string" },
    text: { type: "string" },
    n: { type: "number" },
    flag: { type: "boolean" },
    nested: { type: "object" },
  },
};

/** What a tool reads of its arguments by name is what counts, inherited or own. */
function seenArguments(asked) {
  const named = Object.keys(inputSchema.properties).filter((key) => key in asked);
  return { ...seen(asked), ...Object.fromEntries(named.map((key) => [key, seen(asked[key])])) };
}

/** A value with its leaves as strings, type first: JSON cannot write all that JavaScript reads (Infinity). */
function seen(value) {
  if (Array.isArray(value)) return value.map(seen);
  if (value === null) return "null:";
  if (typeof value !== "object") return `${typeof value}:${value}`;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, seen(member)]));
}

const server = new Server({ name: sdk, version: "0.1.0" }, { capabilities: { tools: {} } });

server.setRequestHandler(ListToolsRequestSchema, async () => ({
  tools: TOOLS.map((name) => ({ name, description: `The tool ${name}`, inputSchema })),
}));

server.setRequestHandler(CallToolRequestSchema, async ({ params: { name, arguments: asked } }) => {
  if (!TOOLS.includes(name)) {
    return { isError: true, content: [{ type: "text", text: "no such tool" }] };
  }
  appendFileSync(process.env.EXECUTED, `${JSON.stringify({ tool: name, arguments: seenArguments(asked ?? {}) })}\n`);
  return { content: [{ type: "text", text: "done" }] };
});

await server.connect(new StdioServerTransport());
