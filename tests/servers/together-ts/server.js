// An MCP server on the official TypeScript SDK with the surface of Together AI's image server, for the end-to-end tests
// and the demo. It checks none of its own bounds on purpose: whatever bound holds is the policy's.
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const ENDPOINT = "https://api.together.xyz/v1/images/generations";
const DEFAULT_MODEL = "black-forest-labs/FLUX.1-schnell-Free";

const server = new McpServer({ name: "together-ts", version: "0.1.0" });

/** Asks the API for images and returns its `data` array. */
async function requestImages(parameters) {
  const response = await fetch(ENDPOINT, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${process.env.TOGETHER_API_KEY ?? ""}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify(parameters),
  });
  if (!response.ok) {
    throw new Error(`the API answered ${response.status}: ${await response.text()}`);
  }
  return (await response.json()).data;
}

/** The error and its causes on one line; fetch hides the reason of a refused connection in `cause`. */
function describe(error) {
  const parts = [];
  for (let e = error; e; e = e.cause) {
    parts.push(e.code ? `${e.message} (${e.code})` : e.message);
  }
  return parts.join(": ");
}

server.registerTool(
  "generate_image",
  {
    title: "Generate image",
    description: "Draws an image from a text prompt with a FLUX model",
    inputSchema: {
      prompt: z.string().describe("What to draw"),
      model: z.string().optional().describe("Model name"),
      width: z.number().optional(),
      height: z.number().optional(),
      steps: z.number().optional(),
      n: z.number().optional(),
      response_format: z.string().optional().describe("b64_json or url"),
      image_path: z.string().optional().describe("Where to write the image"),
    },
  },
  async ({ image_path: imagePath, ...asked }) => {
    try {
      const parameters = { model: DEFAULT_MODEL, response_format: "b64_json", ...asked };
      const images = await requestImages(parameters);
      const content = images.map(({ b64_json: data, url }) =>
        data ? { type: "image", data, mimeType: "image/png" } : { type: "text", text: url },
      );
      if (imagePath && images[0]?.b64_json) {
        await writeFile(imagePath, Buffer.from(images[0].b64_json, "base64"));
        content.push({ type: "text", text: `Image saved to ${imagePath}` });
      }
      return { content };
    } catch (error) {
      return { isError: true, content: [{ type: "text", text: `generate_image failed: ${describe(error)}` }] };
    }
  },
);

// A tool that no policy of the tests lists. It leaves a file behind, so that a test sees on the host whether it ran.
server.registerTool(
  "purge_images",
  { description: "Deletes every image", inputSchema: { confirm: z.boolean().optional() } },
  async () => {
    const mark = join(process.env.IMAGES_DIR ?? "/var/lib/together/images", `ran.purge_images.${randomUUID()}`);
    await writeFile(mark, "ran\n");
    return { content: [{ type: "text", text: "purged" }] };
  },
);

await server.connect(new StdioServerTransport());
