// opencode: save this as ~/.config/opencode/plugin/codex-auth{{suffix}}.js and
// replace MODEL with a model name. It gets a token before each request, sends
// the system messages as instructions, because the ChatGPT backend rejects them
// in the input, and removes members of the body that the backend rejects.

import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

const isRule = ({ role }) => role === "system" || role === "developer";
const textOf = ({ content }) =>
  typeof content === "string" ? content : content.map((part) => part.text ?? "").join("\n");

const accepted = ({ max_output_tokens, ...body }) => ({
  ...body,
  instructions: body.input.filter(isRule).map(textOf).join("\n\n") || "You are a coding agent.",
  input: body.input.filter((item) => !isRule(item)),
  store: false,
});

const send = async (url, init) => {
  const { stdout } = await run("{{program}}", ["{{args}}"]);
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${stdout.trim()}`);
  headers.delete("content-length");
  const body = JSON.stringify(accepted(JSON.parse(init.body)));
  return fetch(url, { ...init, headers, body });
};

export const CodexAuth = async () => ({
  config: async (config) => {
    config.provider = { ...config.provider, "chatgpt{{suffix}}": {
      npm: "@ai-sdk/openai",
      name: "ChatGPT{{of_profile}} through codex-auth",
      options: {
        baseURL: "{{url}}",
        apiKey: "codex-auth",
        headers: { {{headers}} },
        fetch: send,
      },
      models: { MODEL: {} },
    } };
  },
});
