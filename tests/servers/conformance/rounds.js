// Fixtures of the 2026-07-28 revision: calls that come back with questions (InputRequiredResult) until they are answered, and
// what the suite pokes a stateless server with.
import { MissingRequiredClientCapabilityError, createRequestStateCodec, inputRequired } from "@modelcontextprotocol/server";

const text = (words) => ({ type: "text", text: words });
const says = (words) => ({ content: [text(words)] });
const field = (name, type = "string") => ({ type: "object", properties: { [name]: { type } }, required: [name] });
const form = (message, name, type) => inputRequired.elicit({ message, requestedSchema: field(name, type) });
const sample = (words, maxTokens) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: text(words) }], maxTokens });

/** State that goes through the client and must come back untouched: signed, with a key of this process. */
const codec = createRequestStateCodec({ key: crypto.getRandomValues(new Uint8Array(32)), ttlSeconds: 600 });
export const requestState = { verify: codec.verify };

const NAME = form("What is your name?", "name");
const ROOTS = inputRequired.listRoots();
const GREETING = sample("Generate a greeting", 50);

/** The field of an accepted form, if it is a string. */
function filled(responses, key, name) {
  const value = responses?.[key]?.content?.[name];
  return typeof value === "string" ? value : undefined;
}

/** A tool that asks `inputRequests` with a signed state, and says `words` once they are answered. */
const withState = (inputRequests, words) => ({
  call: async ({ responses, state }) => {
    if (state !== undefined && Object.keys(inputRequests).every((key) => responses?.[key])) return says(words);
    return inputRequired({ inputRequests, requestState: await codec.mint({ round: 1 }) });
  },
});
const confirm = () => withState({ confirm: form("Please confirm", "ok", "boolean") }, "state-ok");

/** Tools by name. Beside what other fixtures get: `responses`, `state`, `capabilities` of the client, and `server`. */
export const roundTools = {
  test_input_required_result_elicitation: {
    call: ({ responses }) => {
      const name = filled(responses, "user_name", "name");
      return name === undefined ? inputRequired({ inputRequests: { user_name: NAME } }) : says(`Hello, ${name}!`);
    },
  },
  test_input_required_result_sampling: {
    call: ({ responses }) => {
      const answer = responses?.capital_question?.content?.text;
      const capital_question = sample("What is the capital of France?", 100);
      return answer === undefined ? inputRequired({ inputRequests: { capital_question } }) : says(answer);
    },
  },
  test_input_required_result_list_roots: {
    call: ({ responses }) => {
      const roots = responses?.client_roots?.roots;
      if (!roots) return inputRequired({ inputRequests: { client_roots: ROOTS } });
      return says(roots.map((root) => root.uri).join(" "));
    },
  },
  test_input_required_result_request_state: confirm(),
  test_input_required_result_tampered_state: confirm(),
  test_input_required_result_multiple_inputs: withState(
    { user_name: NAME, greeting: GREETING, client_roots: ROOTS },
    "all answered",
  ),
  test_input_required_result_multi_round: {
    call: async ({ responses, state }) => {
      const color = filled(responses, "step2", "color");
      if (state?.round === 2 && color) return says(`${state.name} likes ${color}`);
      const name = filled(responses, "step1", "name");
      const [inputRequests, next] =
        state?.round === 1 && name
          ? [{ step2: form("Step 2: What is your favorite color?", "color") }, { round: 2, name }]
          : [{ step1: form("Step 1: What is your name?", "name") }, { round: 1 }];
      return inputRequired({ inputRequests, requestState: await codec.mint(next) });
    },
  },
  test_input_required_result_capabilities: {
    call: ({ capabilities, responses }) => {
      const inputRequests = {};
      if (capabilities.sampling) inputRequests.greeting = GREETING;
      if (capabilities.elicitation) inputRequests.user_name = NAME;
      if (capabilities.roots) inputRequests.client_roots = ROOTS;
      return responses ? says("answered") : inputRequired({ inputRequests });
    },
  },
  test_streaming_elicitation: { call: () => inputRequired({ inputRequests: { user_name: NAME } }) },
  test_missing_capability: {
    call: ({ capabilities }) => {
      if (capabilities.sampling) return says("sampling is there");
      throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
    },
  },
  test_logging_tool: { call: async ({ client }) => (await client.log("logged"), says("done")) },
  test_trigger_tool_change: { call: async ({ server }) => (await server.sendToolListChanged(), says("changed")) },
  test_trigger_prompt_change: { call: async ({ server }) => (await server.sendPromptListChanged(), says("changed")) },
};

/** A prompt that asks first. */
export const roundPrompts = {
  test_input_required_result_prompt: {
    arguments: [],
    get: (_, responses) => {
      const context = filled(responses, "user_context", "context");
      const user_context = form("What context should the prompt use?", "context");
      if (context === undefined) return inputRequired({ inputRequests: { user_context } });
      return { messages: [{ role: "user", content: text(`Use this: ${context}`) }] };
    },
  },
};
