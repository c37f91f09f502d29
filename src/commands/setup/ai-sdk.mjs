// AI SDK for Node (packages ai and @ai-sdk/openai): replace MODEL with a model
// name. It gets a token before each request; if there is none, the stream has
// an error part with the reason. The ChatGPT backend requires streaming, and
// the system prompt as instructions.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";

const run = promisify(execFile);

const chatgpt = createOpenAI({
  apiKey: "codex-auth",
  baseURL: "{{url}}",
  headers: { {{headers}} },
  fetch: async (url, init) => {
    const { stdout } = await run("{{program}}", ["{{args}}"]);
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${stdout.trim()}`);
    return fetch(url, { ...init, headers });
  },
});

const { fullStream } = streamText({
  model: chatgpt.responses("MODEL"),
  prompt: "Say hello",
  providerOptions: {
    openai: { store: false, instructions: "You are a helpful assistant." },
  },
});
for await (const part of fullStream) {
  if (part.type === "error") throw part.error;
  if (part.type === "text-delta") process.stdout.write(part.text);
}
