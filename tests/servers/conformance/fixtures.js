// What the scenarios of the conformance suite name: tools, resources and prompts, as data and small functions. Texts that
// a scenario compares are those of its description (`conformance list`, `--verbose`).
import { setTimeout as pause } from "node:timers/promises";

// One red pixel, and a WAV header with one silent sample.
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
const WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA==";
const STEP_MS = 50;

const text = (words) => ({ type: "text", text: words });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const resource = (uri, mimeType, words) => ({ type: "resource", resource: { uri, mimeType, text: words } });
const says = (...content) => ({ content });
const object = (properties = {}, required = Object.keys(properties)) => ({ type: "object", properties, required });
const outcome = (answer) => says(text(`${answer.action}: ${JSON.stringify(answer.content ?? {})}`));

/** Every keyword of JSON Schema 2020-12 that the suite wants to see come through. */
const BROAD_SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: {
    address: {
      $anchor: "addressDef",
      type: "object",
      properties: { street: { type: "string" }, city: { type: "string" } },
    },
  },
  properties: {
    name: { type: "string" },
    address: { $ref: "#/$defs/address" },
    contactMethod: { type: "string", enum: ["phone", "email"] },
    phone: { type: "string" },
    email: { type: "string" },
  },
  allOf: [{ anyOf: [{ required: ["phone"] }, { required: ["email"] }] }],
  if: { properties: { contactMethod: { const: "phone" } }, required: ["contactMethod"] },
  then: { required: ["phone"] },
  else: { required: ["email"] },
  additionalProperties: false,
};

/** SEP-1034: one field of each primitive type, with its default. */
const DEFAULTS = object(
  {
    name: { type: "string", default: "John Doe" },
    age: { type: "integer", default: 30 },
    score: { type: "number", default: 95.5 },
    status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
    verified: { type: "boolean", default: true },
  },
  [],
);

const titled = (...titles) => titles.map((title, index) => ({ const: `value${index + 1}`, title }));
const OPTIONS = ["option1", "option2", "option3"];

/** SEP-1330: the five ways to write a choice. */
const CHOICES = object(
  {
    untitledSingle: { type: "string", enum: OPTIONS },
    titledSingle: { type: "string", oneOf: titled("First Option", "Second Option", "Third Option") },
    legacyEnum: {
      type: "string",
      enum: ["opt1", "opt2", "opt3"],
      enumNames: ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti: { type: "array", items: { type: "string", enum: OPTIONS } },
    titledMulti: { type: "array", items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") } },
  },
  [],
);

const QUESTION = object({ response: { type: "string", description: "What the user says" } });

/**
 * Tools by name. `call` gets the arguments, the progress token if the caller sent one, and `client`:
 * `log(words)`, `progress(token, done, total)`, `sample(params)`, `elicit(params)`.
 */
export const tools = {
  test_simple_text: { call: () => says(text("This is a simple text response for testing.")) },
  test_image_content: { call: () => says(image) },
  test_audio_content: { call: () => says({ type: "audio", data: WAV, mimeType: "audio/wav" }) },
  test_embedded_resource: {
    call: () => says(resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")),
  },
  test_multiple_content_types: {
    call: () =>
      says(
        text("Multiple content types test:"),
        image,
        resource("test://mixed-content-resource", "application/json", JSON.stringify({ test: "data", value: 123 })),
      ),
  },
  test_tool_with_logging: {
    call: async ({ client }) => {
      await client.log("Tool execution started");
      await pause(STEP_MS);
      await client.log("Tool processing data");
      await pause(STEP_MS);
      await client.log("Tool execution completed");
      return says(text("logged three times"));
    },
  },
  test_tool_with_progress: {
    call: async ({ client, token }) => {
      for (const done of [0, 50, 100]) {
        if (token !== undefined) await client.progress(token, done, 100);
        await pause(STEP_MS);
      }
      return says(text("all steps done"));
    },
  },
  test_error_handling: {
    call: () => ({ ...says(text("This tool intentionally returns an error for testing")), isError: true }),
  },
  // Its answer comes late. That the stream is closed meanwhile is a matter of HTTP: the bridge does not.
  test_reconnection: {
    call: async () => {
      await pause(2 * STEP_MS);
      return says(text("answered late"));
    },
  },
  test_sampling: {
    inputSchema: object({ prompt: { type: "string" } }),
    call: async ({ client, prompt }) => {
      const messages = [{ role: "user", content: text(prompt) }];
      const answer = await client.sample({ messages, maxTokens: 100 });
      return says(text(`LLM response: ${answer.content.text}`));
    },
  },
  test_elicitation: {
    inputSchema: object({ message: { type: "string" } }),
    call: async ({ client, message }) => outcome(await client.elicit({ message, requestedSchema: QUESTION })),
  },
  test_elicitation_sep1034_defaults: {
    call: async ({ client }) => outcome(await client.elicit({ message: "Defaults", requestedSchema: DEFAULTS })),
  },
  test_elicitation_sep1330_enums: {
    call: async ({ client }) => outcome(await client.elicit({ message: "Choices", requestedSchema: CHOICES })),
  },
  json_schema_2020_12_tool: { inputSchema: BROAD_SCHEMA, call: () => says(text("seen")) },
};

/** A table of tools as `tools/list` gives it. */
export const listOf = (table) =>
  Object.entries(table).map(([name, { inputSchema = object() }]) => ({
    name,
    description: `Conformance fixture ${name}`,
    inputSchema,
  }));

const TEMPLATE = /^test:\/\/template\/([^/]+)\/data$/;
const PLAIN = "text/plain";

/** Resources by URI: what `resources/read` gives beside the URI. */
const resources = {
  "test://static-text": { mimeType: PLAIN, text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: PLAIN, text: "Watched resource content" },
};

export const resourceList = Object.entries(resources).map(([uri, { mimeType }]) => ({
  uri,
  name: uri,
  description: `Conformance fixture ${uri}`,
  mimeType,
}));

export const templateList = [
  { uriTemplate: "test://template/{id}/data", name: "template", description: "By id", mimeType: "application/json" },
];

/** The contents of a resource, or undefined. */
export function read(uri) {
  const id = TEMPLATE.exec(uri)?.[1];
  if (id !== undefined) {
    const data = { id, templateTest: true, data: `Data for ID: ${id}` };
    return { uri, mimeType: "application/json", text: JSON.stringify(data) };
  }
  return Object.hasOwn(resources, uri) ? { uri, ...resources[uri] } : undefined;
}

const user = (content) => ({ role: "user", content });
const argument = (name) => ({ name, description: `Argument ${name}`, required: true });

/** Prompts by name. */
export const prompts = {
  test_simple_prompt: { arguments: [], get: () => [user(text("This is a simple prompt for testing."))] },
  test_prompt_with_arguments: {
    arguments: [argument("arg1"), argument("arg2")],
    get: ({ arg1, arg2 }) => [user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`))],
  },
  test_prompt_with_embedded_resource: {
    arguments: [argument("resourceUri")],
    get: ({ resourceUri }) => [
      user(resource(resourceUri, PLAIN, "Embedded resource content for testing.")),
      user(text("Please process the embedded resource above.")),
    ],
  },
  test_prompt_with_image: {
    arguments: [],
    get: () => [user(image), user(text("Please analyze the image above."))],
  },
};

/** A table of prompts as `prompts/list` gives it. */
export const promptsOf = (table) =>
  Object.entries(table).map(([name, prompt]) => ({
    name,
    description: `Conformance fixture ${name}`,
    arguments: prompt.arguments,
  }));
