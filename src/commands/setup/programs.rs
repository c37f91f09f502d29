//! The texts of `setup`, one function for each program that can call us.

use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Call, Comments, Text};
use crate::cli::Program;
use crate::commands::formats::{curl_word, object_of, toml_string};
use crate::text::{shell_quoted, shell_word};

/// How long the callers let us run before they kill us, in milliseconds: longer than we wait at most.
const TIMEOUT_MS: u64 = 15_000;
/// How often they ask again, in milliseconds: as long as a token is valid at least when it is printed.
const REFRESH_MS: u64 = 300_000;

pub fn text(program: Program, call: &Call) -> Result<Text> {
    match program {
        Program::Codex => codex(call),
        Program::Vtcode => vtcode(call),
        Program::Curl => Ok(curl(call)),
        Program::ClaudeCode => Ok(claude_code(call)),
        Program::Pi => Ok(pi(call)),
        Program::Crush => Ok(crush(call)),
        Program::Copilot => Ok(copilot(call)),
        Program::Opencode => opencode(call),
        Program::Hermes => hermes(call),
        Program::OpenaiPython => openai_python(call),
        Program::OpenaiNode => openai_node(call),
    }
}

/// A text whose lines of a shell have the variables in them, but on Windows.
fn with_lines(about: &str, body: String, comments: Comments) -> Text {
    Text {
        about: about.to_owned(),
        body,
        comments,
        has_variables: !cfg!(windows),
    }
}

fn json_text(about: &str, configuration: &Value) -> Text {
    with_lines(about, format!("{configuration:#}\n"), Comments::None)
}

fn codex(call: &Call) -> Result<Text> {
    let (name, key) = (toml_string(&call.id)?, toml_key(&call.id)?);
    let body = format!(
        "\
model_provider = {name}

[model_providers.{key}]
name = {}
base_url = {}
wire_api = \"responses\"
{}
[model_providers.{key}.auth]
{}",
        toml_string(&call.title)?,
        toml_string(&call.responses_url())?,
        toml_headers(call)?,
        toml_auth(call)?
    );
    Ok(Text {
        about: "\
Codex CLI: put this into ~/.codex/config.toml (or $CODEX_HOME/config.toml). The first line belongs above all
[tables] that are there already. After signing in to another account, replace it. Without a token Codex shows why."
            .to_owned(),
        body,
        comments: Comments::Hash,
        has_variables: false,
    })
}

fn vtcode(call: &Call) -> Result<Text> {
    let body = format!(
        "\
[[custom_providers]]
name = {}
display_name = {}
base_url = {}
api_format = \"openai-responses\"
model = \"MODEL\"

[custom_providers.auth]
{}",
        toml_string(&call.id)?,
        toml_string(&call.title)?,
        toml_string(&call.responses_url())?,
        toml_auth(call)?
    );
    Ok(Text {
        about: "\
VT Code: put this into ~/.vtcode/vtcode.toml, with the name of a model in the place of MODEL. A vtcode.toml in a
project may not name commands. VT Code sends no account ID: if yours cannot do without, give a gateway with --base-url."
            .to_owned(),
        body,
        comments: Comments::Hash,
        has_variables: false,
    })
}

/// The URL goes the same way as the token, so that curl sends nothing if there is none.
fn curl(call: &Call) -> Text {
    let ours = || format!("{}/wham/usage", call.backend);
    let url = call.base_url.clone().unwrap_or_else(ours);
    let url = shell_quoted(&format!("url = {}", curl_word(&url)));
    let line = call.line();
    with_lines(
        "curl: the token goes through a pipe, so that no list of processes shows it. Without a token nothing is sent.",
        format!("{{ {line} --format curl && printf '%s\\n' {url}; }} | curl -f -K -\n"),
        Comments::Hash,
    )
}

fn claude_code(call: &Call) -> Text {
    json_text(
        "\
Claude Code: put this into ~/.claude/settings.json.
Behind the base URL has to be something that speaks Anthropic's API: the ChatGPT backend does not.
Without a token it tries 10 times, for minutes, before it shows why: CLAUDE_CODE_MAX_RETRIES in \"env\" makes it fewer.",
        &json!({
            "apiKeyHelper": call.line(),
            "env": {
                "ANTHROPIC_BASE_URL": call.base_url,
                "CLAUDE_CODE_API_KEY_HELPER_TTL_MS": REFRESH_MS.to_string(),
            },
        }),
    )
}

/// pi adds the path of the Responses API, and reads the account ID from the token.
fn pi(call: &Call) -> Text {
    let base_url = call.base_url.as_ref().unwrap_or(&call.backend);
    json_text(
        &format!(
            "\
pi: put this into ~/.pi/agent/models.json, with the name of a model in the place of MODEL.
Without a token pi does not show why: run {}.",
            call.status
        ),
        &json!({ "providers": { call.id.as_str(): {
            "baseUrl": base_url,
            "api": "openai-codex-responses",
            "apiKey": format!("!{}", call.line()),
            "headers": object_of(&call.headers),
            "models": [{ "id": "MODEL" }],
        } } }),
    )
}

fn crush(call: &Call) -> Text {
    json_text(
        "\
crush: put this into ~/.config/crush/crush.json, with the name of a model in the place of MODEL.
Behind the base URL has to be something that speaks OpenAI's API: the ChatGPT backend refuses what crush sends.",
        &json!({ "providers": { call.id.as_str(): {
            "name": call.title,
            "type": "openai",
            "base_url": call.responses_url(),
            "api_key": format!("$({})", call.line()),
            "extra_headers": object_of(&call.headers),
            "models": [{ "id": "MODEL", "name": "MODEL" }],
        } } }),
    )
}

fn copilot(call: &Call) -> Text {
    let headers: Vec<String> = call
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    let body = format!(
        "\
export COPILOT_PROVIDER_BASE_URL={}
export COPILOT_PROVIDER_TYPE=openai
export COPILOT_PROVIDER_WIRE_API=responses
export COPILOT_PROVIDER_API_KEY_COMMAND={}
export COPILOT_PROVIDER_HEADERS={}
export COPILOT_MODEL=MODEL
",
        shell_word(&call.responses_url()),
        shell_quoted(&call.line()),
        shell_quoted(&headers.join("\n"))
    );
    with_lines(
        &format!(
            "\
GitHub Copilot CLI: put this into the file that your shell reads at its start, with the name of a model in the place
of MODEL. Without a token Copilot does not show why: run {}.",
            call.status
        ),
        body,
        Comments::Hash,
    )
}

fn opencode(call: &Call) -> Result<Text> {
    let (id, file) = (in_code(&call.id)?, call.id.replace("chatgpt", "codex-auth"));
    let body = format!(
        "\
import {{ execFile }} from \"node:child_process\";
import {{ promisify }} from \"node:util\";

const run = promisify(execFile);

export const CodexAuth = async () => ({{
  config: async (config) => {{
    config.provider = {{ ...config.provider, {id}: {{
      npm: \"@ai-sdk/openai\",
      name: {},
      options: {{ baseURL: {}, apiKey: \"codex-auth\", headers: {} }},
      models: {{ MODEL: {{}} }},
    }} }};
  }},
  \"chat.headers\": async (input, output) => {{
    if (input.model.providerID !== {id}) return;
    const {{ stdout }} = await {};
    output.headers.Authorization = `Bearer ${{stdout.trim()}}`;
  }},
}});
",
        in_code(&call.title)?,
        in_code(&call.responses_url())?,
        object_of(&call.headers),
        node_call(call)?
    );
    Ok(Text {
        about: format!(
            "\
opencode: save this as ~/.config/opencode/plugin/{file}.js, with the name of a model in the place of MODEL.
It puts its instructions into a system message: if the backend refuses that, give a gateway with --base-url.
For one run without a plugin: codex-auth exec -- opencode, and \"apiKey\": \"{{env:CODEX_AUTH_TOKEN}}\" in opencode.json."
        ),
        body,
        comments: Comments::Slashes,
        has_variables: true,
    })
}

/// It keeps a token for 900 seconds.
fn hermes(call: &Call) -> Result<Text> {
    let line = in_code(&format!("{} --min-ttl 20m", call.line()))?;
    let mut body = format!(
        "\
providers:
  {}:
    base_url: {}
    api_mode: codex_responses
    key_cmd: {line}
",
        call.id,
        in_code(&call.responses_url())?
    );
    if !call.headers.is_empty() {
        body += "    extra_headers:\n";
    }
    for (name, value) in &call.headers {
        writeln!(body, "      {name}: {}", in_code(value)?)?;
    }
    Ok(with_lines(
        "Hermes: put this into ~/.hermes/config.yaml. Written after its source, and not tried.",
        body,
        Comments::Hash,
    ))
}

fn openai_python(call: &Call) -> Result<Text> {
    let (import, environment) = match in_code_pairs(call)? {
        Some(pairs) => (
            "import os
",
            format!(", env={{**os.environ, {pairs}}}"),
        ),
        None => ("", String::new()),
    };
    let command = command_in_code(call)?;
    let body = format!(
        "\
{import}import subprocess

from openai import OpenAI


def token():
    command = [{command}]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True{environment})
    return done.stdout.strip()


client = OpenAI(
    api_key=token,
    base_url={},
    default_headers={},
)
",
        in_code(&call.responses_url())?,
        object_of(&call.headers)
    );
    Ok(Text {
        about: "\
OpenAI's Python SDK: the function is called for every request. The ChatGPT backend takes
client.responses.create(…, instructions=…, store=False, stream=True). Without a token it raises CalledProcessError."
            .to_owned(),
        body,
        comments: Comments::Hash,
        has_variables: true,
    })
}

fn openai_node(call: &Call) -> Result<Text> {
    let body = format!(
        "\
import {{ execFile }} from \"node:child_process\";
import {{ promisify }} from \"node:util\";
import OpenAI from \"openai\";

const run = promisify(execFile);

const client = new OpenAI({{
  apiKey: async () => (await {}).stdout.trim(),
  baseURL: {},
  defaultHeaders: {},
}});
",
        node_call(call)?,
        in_code(&call.responses_url())?,
        object_of(&call.headers)
    );
    Ok(Text {
        about: "\
OpenAI's Node SDK: the function is called for every request. The ChatGPT backend takes
client.responses.create({ …, instructions: …, store: false, stream: true }). Without a token the call is rejected."
            .to_owned(),
        body,
        comments: Comments::Slashes,
        has_variables: true,
    })
}

/// The call of `execFile`, made a promise, in JavaScript.
fn node_call(call: &Call) -> Result<String> {
    let program = in_code(&call.program)?;
    let arguments = call.arguments.iter().map(|argument| in_code(argument));
    let arguments = arguments.collect::<Result<Vec<_>>>()?.join(", ");
    Ok(match in_code_pairs(call)? {
        Some(pairs) => {
            format!("run({program}, [{arguments}], {{ env: {{ ...process.env, {pairs} }} }})")
        }
        None => format!("run({program}, [{arguments}])"),
    })
}

/// The call as the items of a list in Python.
fn command_in_code(call: &Call) -> Result<String> {
    let items = [&call.program].into_iter().chain(&call.arguments);
    let items = items
        .map(|item| in_code(item))
        .collect::<Result<Vec<_>>>()?;
    Ok(items.join(", "))
}

/// The variables as the inside of a dictionary of Python, or an object of JavaScript, if there are any.
fn in_code_pairs(call: &Call) -> Result<Option<String>> {
    let pair = |(name, value): &(&str, String)| {
        anyhow::Ok(format!("{}: {}", in_code(name)?, in_code(value)?))
    };
    let pairs = call
        .variables
        .iter()
        .map(pair)
        .collect::<Result<Vec<_>>>()?;
    Ok((!pairs.is_empty()).then(|| pairs.join(", ")))
}

/// A string of JSON, which Python, JavaScript and YAML read alike.
fn in_code(text: &str) -> Result<String> {
    serde_json::to_string(text).context("could not quote a text")
}

/// A key of TOML (1.0, "Keys").
fn toml_key(name: &str) -> Result<String> {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if name.bytes().all(is_bare) {
        return Ok(name.to_owned());
    }
    toml_string(name)
}

/// The line of the headers with its end, or nothing.
fn toml_headers(call: &Call) -> Result<String> {
    let pair = |(name, value): &(&str, String)| {
        anyhow::Ok(format!("{} = {}", toml_string(name)?, toml_string(value)?))
    };
    let pairs = call.headers.iter().map(pair).collect::<Result<Vec<_>>>()?;
    if pairs.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("http_headers = {{ {} }}\n", pairs.join(", ")))
}

fn toml_auth(call: &Call) -> Result<String> {
    let command = toml_string(&call.program)?;
    let arguments = call.arguments.iter().map(|argument| toml_string(argument));
    let arguments = arguments.collect::<Result<Vec<_>>>()?.join(", ");
    Ok(format!(
        "\
command = {command}
args = [{arguments}]
timeout_ms = {TIMEOUT_MS}
refresh_interval_ms = {REFRESH_MS}
"
    ))
}
