//! The real programs that call codex-auth, configured with the output of `setup`, against a strict backend on loopback.
//! `CODEX_AUTH_TEST_PROGRAMS` is the folder that `ci/programs.sh` installed them into; tests of missing programs are
//! skipped. With `CODEX_AUTH_TEST_TABLE`, each test writes its row of the table to a file in that folder.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::fake_issuer::{Endpoint, Request, Trouble};
use support::process::{Output, Running};
use support::sandbox::{LIFE, Sandbox, not_applicable};

const REVOKED: &str = "codex-auth: the issuer refused to refresh the token: The login has ended.";
const SIGNED_OUT: &str = "codex-auth: not signed in: run codex-auth login";

/// A program, and how to make it ask the model something.
struct Caller {
    /// Its name in the table.
    title: &'static str,
    /// Its package: a folder below npm's, or below Python's the name of the distribution.
    package: &'static str,
    /// Its name for `setup`.
    name: &'static str,
    /// The file that it reads the output of `setup` from, below the home folder.
    file: &'static str,
    /// Text to append to that file.
    more: &'static str,
    /// A shell line that runs it.
    line: &'static str,
    /// The endpoint that it calls.
    endpoint: Endpoint,
    /// Whether it shows our stderr to the user.
    shows_why: bool,
}

/// The defaults for most programs.
const CALLER: Caller = Caller {
    title: "",
    package: "",
    name: "",
    file: "ask",
    more: "",
    line: "",
    endpoint: Endpoint::Responses,
    shows_why: true,
};

/// Runs Python with the packages in a folder.
macro_rules! python {
    ($folder:literal, $rest:literal) => {
        concat!(
            "PYTHONPATH=\"$PROGRAMS/",
            $folder,
            "\" exec python3 ",
            $rest
        )
    };
}

const CODEX: Caller = Caller {
    title: "Codex CLI",
    package: "node_modules/@openai/codex",
    name: "codex",
    file: ".codex/config.toml",
    line: "exec codex exec --strict-config --skip-git-repo-check -c check_for_update_on_startup=false \
        -c analytics.enabled=false 'Say hello'",
    ..CALLER
};

const COPILOT: Caller = Caller {
    title: "GitHub Copilot CLI",
    package: "node_modules/@github/copilot",
    name: "copilot",
    line: ". ./ask; exec copilot --no-auto-update -p 'Say hello'",
    shows_why: false,
    ..CALLER
};

const PI: Caller = Caller {
    title: "pi",
    package: "node_modules/@mariozechner/pi-coding-agent",
    name: "pi",
    file: ".pi/agent/models.json",
    line: "exec pi -p --provider chatgpt --model MODEL 'Say hello'",
    shows_why: false,
    ..CALLER
};

const VTCODE: Caller = Caller {
    title: "VT Code",
    package: "vtcode",
    name: "vtcode",
    file: ".vtcode/vtcode.toml",
    line: "exec \"$PROGRAMS/vtcode/bin/vtcode\" --provider chatgpt --model MODEL exec 'Say hello'",
    ..CALLER
};

/// It wants to install a package for the plugin, but works without: npm learns immediately that there is no network. Users
/// report that `opencode run` sometimes hangs before it creates a session (anomalyco/opencode issue 35870); then this test
/// fails after a minute.
const OPENCODE: Caller = Caller {
    title: "opencode",
    package: "node_modules/opencode-ai",
    name: "opencode",
    file: ".config/opencode/plugin/codex-auth.js",
    line: "\
export npm_config_offline=true OPENCODE_DISABLE_AUTOUPDATE=1
export OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_LSP_DOWNLOAD=1
exec opencode run --model chatgpt/MODEL 'Say hello'",
    ..CALLER
};

/// Started with the line that its configuration names.
const HERMES: Caller = Caller {
    title: "Hermes, through `exec`",
    package: "hermes/hermes_agent",
    name: "hermes",
    file: ".hermes/config.yaml",
    line: "\
export PYTHONPATH=\"$PROGRAMS/hermes\" HERMES_SKIP_UPDATE_CHECK=1
hermes() { exec python3 \"$PROGRAMS/hermes/bin/hermes\" \"$@\"; }
call=$(sed -n 's/^#   \\(.* -- \\)hermes$/\\1/p' .hermes/config.yaml)
eval \"exec $call python3 \\\"\\$PROGRAMS/hermes/bin/hermes\\\" --provider chatgpt -m MODEL -z 'Say hello'\"",
    ..CALLER
};

const PYTHON: Caller = Caller {
    title: "OpenAI SDK for Python",
    package: "sdk/openai",
    name: "openai-python",
    more: "\
question = dict(model='m', instructions='i', input=[{'role': 'user', 'content': 'hello'}], store=False, stream=True)
for event in client.responses.create(**question):
    print(event.type)
",
    line: python!("sdk", "ask"),
    ..CALLER
};

const PYTHON_ASYNC: Caller = Caller {
    title: "OpenAI SDK for Python, async",
    more: "\
async def ask():
    question = dict(model='m', instructions='i', input=[{'role': 'user', 'content': 'hello'}], store=False, stream=True)
    async for event in await async_client.responses.create(**question):
        print(event.type)

asyncio.run(ask())
",
    ..PYTHON
};

const PYDANTIC: Caller = Caller {
    title: "pydantic-ai",
    package: "sdk/pydantic_ai_slim",
    more: "\
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.providers.openai import OpenAIProvider

async def ask():
    model = OpenAIResponsesModel('m', provider=OpenAIProvider(openai_client=async_client))
    agent = Agent(model, instructions='i', model_settings=OpenAIResponsesModelSettings(openai_store=False))
    async with agent.run_stream('hello') as result:
        print(await result.get_output())

asyncio.run(ask())
",
    ..PYTHON
};

const LANGCHAIN: Caller = Caller {
    title: "LangChain",
    package: "sdk/langchain_openai",
    more: "\
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model='m', api_key=token, **backend, use_responses_api=True, streaming=True, store=False,
    model_kwargs={'instructions': 'i'})
print(model.invoke('hello').content)
",
    ..PYTHON
};

const AGENTS: Caller = Caller {
    title: "OpenAI Agents SDK for Python",
    package: "sdk/openai_agents",
    name: "openai-agents",
    line: python!("sdk", "ask"),
    ..CALLER
};

const NODE: Caller = Caller {
    title: "OpenAI SDK for Node",
    package: "node_modules/openai",
    name: "openai-node",
    file: "ask.mjs",
    more: "\
const question = { model: 'm', instructions: 'i', input: [{ role: 'user', content: 'hello' }], store: false, stream: true };
for await (const event of await client.responses.create(question)) console.log(event.type);
",
    line: "exec node ask.mjs",
    ..CALLER
};

const AGENTS_NODE: Caller = Caller {
    title: "OpenAI Agents SDK for Node",
    package: "node_modules/@openai/agents",
    more: "\
import { Agent, run as start, setDefaultOpenAIClient, setTracingDisabled } from '@openai/agents';

setDefaultOpenAIClient(client);
setTracingDisabled(true);
const agent = new Agent({ name: 'a', instructions: 'i', model: 'm', modelSettings: { store: false } });
const stream = await start(agent, 'hello', { stream: true });
await stream.completed;
console.log(stream.finalOutput);
",
    ..NODE
};

const AI_SDK: Caller = Caller {
    title: "AI SDK",
    package: "node_modules/@ai-sdk/openai",
    name: "ai-sdk",
    more: "",
    ..NODE
};

/// With its own kind of gateway, one that accepts ChatGPT tokens.
const CLAUDE_CODE: Caller = Caller {
    title: "Claude Code, `--base-url`",
    package: "node_modules/@anthropic-ai/claude-code",
    name: "claude-code",
    file: ".claude/settings.json",
    line: "\
export DISABLE_TELEMETRY=1 DISABLE_ERROR_REPORTING=1 DISABLE_AUTOUPDATER=1
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_MAX_RETRIES=1
exec claude -p 'Say hello'",
    endpoint: Endpoint::Messages,
    ..CALLER
};

/// The version of a package, if installed.
fn version(programs: &Path, package: &str) -> Option<String> {
    let path = programs.join(package);
    if let Ok(text) = fs::read(path.join("package.json")) {
        let package: Value = serde_json::from_slice(&text).ok()?;
        return package["version"].as_str().map(str::to_owned);
    }
    if let Ok(text) = fs::read_to_string(path.join("version")) {
        return Some(text.trim().to_owned());
    }
    let prefix = format!("{}-", path.file_name()?.to_str()?);
    let names = fs::read_dir(path.parent()?).ok()?.flatten();
    let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.find_map(|name| {
        let version = name.strip_prefix(&prefix)?.strip_suffix(".dist-info")?;
        Some(version.to_owned())
    })
}

/// A user with this program but no login, and the program's row in the table. `None` if the program is not installed.
fn person(caller: &Caller) -> Option<(Sandbox, String)> {
    let programs = std::env::var_os("CODEX_AUTH_TEST_PROGRAMS").map(PathBuf::from);
    let found = programs.and_then(|programs| {
        let version = version(&programs, caller.package)?;
        Some((programs, version))
    });
    let Some((programs, version)) = found else {
        not_applicable(&format!("no {} here (see ci/programs.sh)", caller.title));
        return None;
    };
    let mut sandbox = Sandbox::new();
    let modules = sandbox.folder().join("node_modules");
    std::os::unix::fs::symlink(programs.join("node_modules"), modules).unwrap();
    sandbox.set("PROGRAMS", programs);
    // Requests to other hosts fail here; loopback needs no proxy.
    sandbox.set("HTTPS_PROXY", "http://127.0.0.1:9");
    sandbox.set("NO_PROXY", "127.0.0.1,localhost");
    Some((sandbox, format!("| {} | {version} |", caller.title)))
}

/// Writes the output of `setup`, changed for the test, to the file that the program reads.
fn configure(sandbox: &Sandbox, caller: &Caller, change: impl FnOnce(String) -> String) {
    let url = sandbox.issuer.url();
    let arguments = match caller.endpoint {
        Endpoint::Messages => vec!["setup", caller.name, "--base-url", url],
        _ => vec!["setup", caller.name],
    };
    let text = change(sandbox.run(&arguments).stdout) + caller.more;
    let file = sandbox.folder().join(caller.file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

/// Runs the program, and returns the requests that the model received meanwhile.
fn ask(sandbox: &Sandbox, caller: &Caller) -> (Output, Vec<Request>) {
    let before = sandbox.issuer.count(caller.endpoint);
    let output = sandbox.start(shell(sandbox, caller.line)).finish();
    // Some programs make other requests to the backend, too.
    sandbox.issuer.take_violations();
    let questions = sandbox.issuer.requests_to(caller.endpoint);
    (output, questions[before..].to_vec())
}

fn shell(sandbox: &Sandbox, line: &str) -> std::process::Command {
    let line = format!("PATH=\"$PROGRAMS/node_modules/.bin:$PATH\"\n{line}");
    sandbox.shell(&line)
}

fn told(output: &Output) -> String {
    format!("{}\n{}", output.stdout, output.stderr)
}

/// Asserts that each request used the issuer's newest token, and how many refreshes this test has made.
#[track_caller]
fn assert_served(sandbox: &Sandbox, caller: &Caller, refreshes: usize) -> &'static str {
    let before = sandbox.issuer.count(Endpoint::Refresh);
    let (output, questions) = ask(sandbox, caller);
    let told = told(&output);
    assert_eq!(output.code, 0, "{}: {told}", caller.title);
    assert!(!questions.is_empty(), "{}: {told}", caller.title);
    assert!(
        told.contains("Hello from the backend") || told.contains("response.completed"),
        "{}: {told}",
        caller.title
    );
    for question in questions {
        assert_sent(&question, &sandbox.issuer.access_tokens());
    }
    assert_eq!(
        sandbox.issuer.count(Endpoint::Refresh) - before,
        refreshes,
        "{told}"
    );
    match refreshes {
        0 => "works",
        _ => "works with a new token",
    }
}

/// Asserts that a request used the last of these tokens, and the account.
#[track_caller]
fn assert_sent(question: &Request, tokens: &[String]) {
    let bearer = format!("Bearer {}", tokens.last().unwrap());
    assert_eq!(question.header("authorization"), Some(bearer.as_str()));
    assert_eq!(question.header("chatgpt-account-id"), Some("account-1"));
}

/// Asserts that the program fails without sending a token, and shows the reason if it can.
#[track_caller]
fn assert_refused(sandbox: &Sandbox, caller: &Caller, why: &str) -> String {
    let (output, questions) = ask(sandbox, caller);
    let told = told(&output);
    // Programs may wrap or escape what they print.
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_told = words.contains(why);
    assert_eq!(is_told, caller.shows_why, "{}: {told}", caller.title);
    assert!(
        !told.contains("Hello from the backend"),
        "{}: {told}",
        caller.title
    );
    let tokens = sandbox.issuer.access_tokens();
    for question in questions {
        let sent = question.header("authorization").unwrap_or_default();
        assert!(!tokens.iter().any(|token| sent.contains(token)), "{sent}");
    }
    let said = if is_told {
        "says why"
    } else {
        "does not say why"
    };
    format!("{said}, exit {}", output.code)
}

/// Asserts how a program copes with each state of the login: signed in, expired, rejected by the backend, revoked by the
/// issuer, and signed out.
#[track_caller]
fn try_every_state(sandbox: &Sandbox, caller: &Caller, row: &str) {
    let mut login = sandbox.spawn(&["login"]);
    login.sign_in();
    login.finish().assert(0, "", "...\n");
    let mut cells = vec![assert_served(sandbox, caller, 0).to_owned()];
    sandbox.plant_expiring_in(-60, LIFE);
    cells.push(assert_served(sandbox, caller, 1).to_owned());
    sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    sandbox.issuer.reject_access_tokens();
    cells.push(assert_served(sandbox, caller, 1).to_owned());
    sandbox.plant_expiring_in(-60, LIFE);
    sandbox.issuer.revoke_logins();
    cells.push(assert_refused(sandbox, caller, REVOKED));
    sandbox.run(&["logout"]).assert(0, "", "...\n");
    cells.push(assert_refused(sandbox, caller, SIGNED_OUT));
    if let Some(folder) = std::env::var_os("CODEX_AUTH_TEST_TABLE") {
        let file = PathBuf::from(folder).join(caller.title.replace('/', "-"));
        fs::write(file, format!("{row} {} |\n", cells.join(" | "))).unwrap();
    }
}

#[track_caller]
fn assert_served_in_every_state(caller: &Caller) {
    let Some((sandbox, row)) = person(caller) else {
        return;
    };
    sandbox.plant();
    configure(&sandbox, caller, |text| text);
    fs::remove_file(sandbox.file("default")).unwrap();
    try_every_state(&sandbox, caller, &row);
}

#[test]
fn codex_is_served() {
    assert_served_in_every_state(&CODEX);
}

#[test]
fn openais_sdk_for_python_is_served() {
    assert_served_in_every_state(&PYTHON);
}

#[test]
fn openais_sdk_for_python_is_served_when_it_is_async() {
    assert_served_in_every_state(&PYTHON_ASYNC);
}

#[test]
fn pydantic_ai_is_served() {
    assert_served_in_every_state(&PYDANTIC);
}

#[test]
fn langchain_is_served() {
    assert_served_in_every_state(&LANGCHAIN);
}

#[test]
fn openais_agents_for_python_are_served() {
    assert_served_in_every_state(&AGENTS);
}

#[test]
fn openais_sdk_for_node_is_served() {
    assert_served_in_every_state(&NODE);
}

#[test]
fn openais_agents_for_node_are_served() {
    assert_served_in_every_state(&AGENTS_NODE);
}

#[test]
fn the_ai_sdk_is_served() {
    assert_served_in_every_state(&AI_SDK);
}

#[test]
fn copilot_is_served() {
    assert_served_in_every_state(&COPILOT);
}

#[test]
fn pi_is_served() {
    assert_served_in_every_state(&PI);
}

#[test]
fn vt_code_is_served() {
    assert_served_in_every_state(&VTCODE);
}

#[test]
fn hermes_is_served() {
    assert_served_in_every_state(&HERMES);
}

#[test]
fn claude_code_is_served() {
    assert_served_in_every_state(&CLAUDE_CODE);
}

#[test]
fn opencode_is_served() {
    assert_served_in_every_state(&OPENCODE);
}

#[test]
fn claude_code_asks_for_another_token_when_the_gateway_rejects_its_own() {
    let Some((sandbox, _)) = person(&CLAUDE_CODE) else {
        return;
    };
    sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
    configure(&sandbox, &CLAUDE_CODE, |text| text);
    let issuer = &sandbox.issuer;
    let gate = issuer.gate();
    let rejected = Trouble::error(401, "token_revoked").and(Trouble::Hold(gate.clone()));
    issuer.plan(Endpoint::Messages, rejected);
    let running = sandbox.start(shell(&sandbox, CLAUDE_CODE.line));
    issuer.await_requests(Endpoint::Messages, 1);
    issuer.reject_access_tokens();
    gate.open();
    running.finish().assert(0, "Hello from the backend\n", "");
    issuer.take_violations();
    let (questions, tokens) = (
        issuer.requests_to(Endpoint::Messages),
        issuer.access_tokens(),
    );
    assert_eq!((questions.len(), tokens.len()), (2, 2));
    assert_sent(&questions[0], &tokens[..1]);
    assert_sent(&questions[1], &tokens);
}

/// The gateway of `setup litellm`, and programs that use it.
mod litellm {
    use super::*;

    const GATEWAY: Caller = Caller {
        title: "LiteLLM",
        package: "litellm/litellm",
        name: "litellm",
        file: "gateway.py",
        ..CALLER
    };

    const CLAUDE_CODE: Caller = Caller {
        title: "Claude Code",
        endpoint: Endpoint::Responses,
        ..super::CLAUDE_CODE
    };

    const QWEN_CODE: Caller = Caller {
        title: "Qwen Code",
        package: "node_modules/@qwen-code/qwen-code",
        name: "env",
        line: ". ./ask; exec qwen --auth-type openai -p 'Say hello'",
        ..CALLER
    };

    const AIDER: Caller = Caller {
        title: "aider",
        package: "aider/aider_chat",
        name: "env",
        line: ". ./ask; export AIDER_ANALYTICS=false; PYTHONPATH=\"$PROGRAMS/aider\" exec python3 \"$PROGRAMS/aider/bin/aider\" \
            --model openai/MODEL --no-git --yes-always --no-check-update --no-show-model-warnings --message 'Say hello'",
        ..CALLER
    };

    const CN: Caller = Caller {
        title: "Continue (cn)",
        package: "node_modules/@continuedev/cli",
        name: "env",
        line: "\
mkdir -p .continue
{ printf 'name: c\\nversion: 1.0.0\\nschema: v1\\n'; sed -n '/^#   models:/,/}]$/s/^#   //p' ask; } >.continue/config.yaml
export CONTINUE_TELEMETRY_ENABLED=0
exec cn --config .continue/config.yaml -p 'Say hello'",
        ..CALLER
    };

    /// It leaves a process behind that keeps its output open.
    const CLINE: Caller = Caller {
        title: "Cline",
        package: "node_modules/cline",
        name: "env",
        line: "\
eval \"$(sed -n 's/^# Cline: //p' ask)\" >auth.log 2>&1
cline --timeout 40 'Say hello' >said 2>&1; code=$?; cat said; exit $code",
        ..CALLER
    };

    const LLM: Caller = Caller {
        title: "llm",
        package: "llm/llm",
        name: "env",
        line: "\
export PYTHONPATH=\"$PROGRAMS/llm\"
llm() { python3 \"$PROGRAMS/llm/bin/llm\" \"$@\"; }
sed -n '/^#   - {/,/}$/s/^#   //p' ask >\"$(dirname \"$(llm logs path)\")/extra-openai-models.yaml\"
eval \"$(sed -n 's/^#   and: //p' ask)\"
llm -m MODEL 'Say hello'",
        ..CALLER
    };

    const HTTPIE: Caller = Caller {
        title: "HTTPie",
        package: "llm/httpie",
        name: "env",
        line: "\
. ./ask; export PYTHONPATH=\"$PROGRAMS/llm\"
exec python3 \"$PROGRAMS/llm/bin/http\" --ignore-stdin --check-status POST \"$OPENAI_BASE_URL/chat/completions\" \
    \"Authorization: Bearer $OPENAI_API_KEY\" model=m 'messages:=[{\"role\": \"user\", \"content\": \"hello\"}]'",
        ..CALLER
    };

    /// Starts a gateway, and returns it with its port.
    fn start(sandbox: &Sandbox, change: impl FnOnce(String) -> String) -> (Running, u16) {
        configure(sandbox, &GATEWAY, change);
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let line = python!("litellm", "gateway.py --port");
        let running = sandbox.start(sandbox.shell(&format!("{line} {port}")));
        // Its imports take minutes if other tests run at the same time.
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let so_far = running.stderr();
            assert!(
                begun.elapsed() < Duration::from_mins(5),
                "no gateway: {so_far}"
            );
            thread::sleep(Duration::from_millis(50));
        }
        (running, port)
    }

    /// The cache is off, so that each program meets each state.
    fn assert_served_behind(caller: &Caller) {
        let Some((sandbox, row)) = person(caller) else {
            return;
        };
        if person(&GATEWAY).is_none() {
            return;
        }
        sandbox.plant();
        let (_gateway, port) = start(&sandbox, |text| {
            assert!(text.contains("CACHE_SECONDS = 30\n"));
            text.replace("CACHE_SECONDS = 30\n", "CACHE_SECONDS = 0\n")
        });
        configure(&sandbox, caller, |text| {
            text.replace(":4000", &format!(":{port}"))
        });
        fs::remove_file(sandbox.file("default")).unwrap();
        try_every_state(&sandbox, caller, &row);
    }

    #[test]
    fn claude_code_is_served() {
        assert_served_behind(&CLAUDE_CODE);
    }

    #[test]
    fn qwen_code_is_served() {
        assert_served_behind(&QWEN_CODE);
    }

    #[test]
    fn continue_is_served() {
        assert_served_behind(&CN);
    }

    #[test]
    fn cline_is_served() {
        assert_served_behind(&CLINE);
    }

    #[test]
    fn aider_is_served() {
        assert_served_behind(&AIDER);
    }

    #[test]
    fn llm_is_served() {
        assert_served_behind(&LLM);
    }

    #[test]
    fn httpie_is_served() {
        assert_served_behind(&HTTPIE);
    }

    /// Sends a request to the gateway, and returns the status and the body.
    fn post(sandbox: &Sandbox, port: u16, path: &str, body: &Value) -> (String, String) {
        fs::write(sandbox.folder().join("body"), body.to_string()).unwrap();
        let line = format!(
            "exec curl -sS -w '\\n%{{http_code}}' -H 'Authorization: Bearer sk-local' -H 'anthropic-version: 2023-06-01' \
             -H 'Content-Type: application/json' --data-binary @body http://127.0.0.1:{port}{path}"
        );
        let output = sandbox.start(sandbox.shell(&line)).finish();
        let (body, status) = output.stdout.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }

    #[test]
    fn streams_tools_and_messages_are_translated() {
        let Some((sandbox, _)) = person(&GATEWAY) else {
            return;
        };
        sandbox.plant();
        let (_gateway, port) = start(&sandbox, |text| text);
        let messages = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hello" }]);
        let whole = json!({ "model": "m", "messages": messages, "max_tokens": 9 });
        let streamed = json!({ "model": "m", "messages": messages, "stream": true });
        let parameters =
            json!({ "type": "object", "properties": { "word": { "type": "string" } } });
        let function = json!({ "name": "look_up", "description": "d", "parameters": parameters });
        let with_tool = json!({ "model": "m", "messages": messages, "tools": [{ "type": "function", "function": function }] });
        let user = json!([{ "role": "user", "content": "hello" }]);
        let anthropic =
            json!({ "model": "m", "system": "Be brief.", "messages": user, "max_tokens": 9 });
        let mut anthropic_streamed = anthropic.clone();
        anthropic_streamed["stream"] = json!(true);
        let mut anthropic_tool = anthropic.clone();
        anthropic_tool["tools"] =
            json!([{ "name": "look_up", "description": "d", "input_schema": parameters }]);
        let response =
            json!({ "model": "m", "instructions": "i", "input": "hello", "stream": true });
        let greeting = "Hello from the backend";
        for (path, body, wanted) in [
            ("/v1/chat/completions", &whole, greeting),
            ("/v1/chat/completions", &streamed, greeting),
            ("/v1/chat/completions", &with_tool, "look_up"),
            ("/v1/messages", &anthropic, greeting),
            ("/v1/messages", &anthropic_streamed, greeting),
            ("/v1/messages", &anthropic_tool, "look_up"),
            ("/v1/responses", &response, greeting),
        ] {
            let (status, answer) = post(&sandbox, port, path, body);
            assert_eq!(status, "200", "{path} {body}: {answer}");
            assert!(answer.contains(wanted), "{path} {body}: {answer}");
        }
        assert_eq!(sandbox.issuer.count(Endpoint::Responses), 7);
        // As printed, with the cache on, it calls codex-auth once, which asks the backend once.
        assert_eq!(sandbox.issuer.count(Endpoint::Usage), 1);
        sandbox.issuer.take_violations();
    }

    /// A cached token that is rejected must not fail the request.
    #[test]
    fn a_cached_token_that_the_backend_rejects_is_replaced() {
        let Some((sandbox, _)) = person(&GATEWAY) else {
            return;
        };
        sandbox.plant_expiring_in((LIFE - 3600).cast_signed(), LIFE);
        let (_gateway, port) = start(&sandbox, |text| text);
        let messages = json!([{ "role": "user", "content": "hello" }]);
        let question = json!({ "model": "m", "messages": messages });
        let (status, answer) = post(&sandbox, port, "/v1/chat/completions", &question);
        assert_eq!(status, "200", "{answer}");
        sandbox.issuer.reject_access_tokens();
        let (status, answer) = post(&sandbox, port, "/v1/chat/completions", &question);
        assert_eq!(status, "200", "{answer}");
        assert_eq!(sandbox.issuer.count(Endpoint::Refresh), 1);
        sandbox.issuer.take_violations();
    }
}
