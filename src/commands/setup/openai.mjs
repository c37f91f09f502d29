// OpenAI's SDK for Node calls apiKey() before each request. If there is no
// token, the request is rejected with the reason. The ChatGPT backend accepts
// client.responses.create({ model: ..., instructions: ...,
//   input: [{ role: "user", ... }], store: false, stream: true }).
// It also works with @openai/agents: setDefaultOpenAIClient(client), with
// modelSettings: { store: false } and run(agent, input, { stream: true }).

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import OpenAI from "openai";

const run = promisify(execFile);

const client = new OpenAI({
  apiKey: async () => (await run("{{program}}", ["{{args}}"])).stdout.trim(),
  baseURL: "{{url}}",
  defaultHeaders: { {{headers}} },
});
