# LiteLLM: a gateway for programs that speak Chat Completions or Anthropic's
# Messages API. Save this as codex-auth-litellm.py and start it with
#   uv run codex-auth-litellm.py
# or, after pip install 'litellm[proxy]==1.108.0', with python. It listens on
# http://127.0.0.1:4000 with the key sk-local; callers never see the ChatGPT
# token. It patches LiteLLM's internals, so use exactly this version.

# /// script
# dependencies = ["litellm[proxy]==1.108.0"]
# ///

import json
import subprocess
import sys
import tempfile
import time

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.llms.chatgpt.authenticator import Authenticator
from litellm.llms.chatgpt.common_utils import GetAccessTokenError
from litellm.llms.chatgpt.responses.transformation import ChatGPTResponsesAPIConfig
from litellm.proxy.proxy_cli import run_server

# LiteLLM asks several times for each request. A token printed by codex-auth is
# valid for at least five more minutes.
CACHE_SECONDS = 30
cached = {"token": None, "until": 0.0}


def token(self):
    if time.monotonic() >= cached["until"]:
        command = ["{{words}}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise GetAccessTokenError(message=done.stderr.strip(), status_code=401)
        cached.update(token=done.stdout.strip(), until=time.monotonic() + CACHE_SECONDS)
    return cached["token"]


class ForgetRejected(CustomLogger):
    """Drops the cached token after a failure, so that codex-auth verifies it."""

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        cached.update(until=0.0)


transform = ChatGPTResponsesAPIConfig.transform_responses_api_request


def accepted(self, *args, **kwargs):
    """The backend requires the input as a list, without system messages."""
    request = transform(self, *args, **kwargs)
    if isinstance(request["input"], str):
        request["input"] = [{"role": "user", "content": request["input"]}]
    for item in request["input"]:
        if isinstance(item, dict) and item.get("role") == "system":
            item["role"] = "developer"
    return request


Authenticator.get_access_token = token
Authenticator.get_account_id = lambda self: None  # See extra_headers.
Authenticator.get_api_base = lambda self: "{{url}}"
ChatGPTResponsesAPIConfig.transform_responses_api_request = accepted
# LiteLLM fakes it for unknown models, but the backend only supports streaming.
ChatGPTResponsesAPIConfig.should_fake_stream = lambda self, *args, **kwargs: False
litellm.callbacks.append(ForgetRejected())

config = {
    "model_list": [
        {
            "model_name": "*",
            "litellm_params": {
                "model": "chatgpt/responses/*",
                "extra_headers": { {{headers}} },
            },
        }
    ],
    "litellm_settings": {"drop_params": True},
    "router_settings": {"retry_policy": {"AuthenticationErrorRetries": 1}},
    "general_settings": {"master_key": "sk-local"},
}

if __name__ == "__main__":
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(config, file)
        file.flush()
        options = ["--config", file.name, "--host", "127.0.0.1", "--port", "4000"]
        run_server([*options, *sys.argv[1:]])
