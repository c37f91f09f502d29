# OpenAI's SDK for Python calls token() before each request, which raises
# CalledProcessError if there is no token. The ChatGPT backend accepts
# responses.create(model=..., instructions=..., input=[{"role": "user", ...}],
# store=False, stream=True).
# For pydantic-ai use OpenAIProvider(openai_client=async_client) and
# openai_store=False; for LangChain use ChatOpenAI(api_key=token, **backend,
# streaming=True, use_responses_api=True, store=False,
# model_kwargs={"instructions": ...}).

import asyncio
import subprocess

from openai import AsyncOpenAI, OpenAI


def token():
    command = ["{{words}}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


async def async_token():
    return await asyncio.to_thread(token)


backend = {
    "base_url": "{{url}}",
    "default_headers": { {{headers}} },
}
client = OpenAI(api_key=token, **backend)
async_client = AsyncOpenAI(api_key=async_token, **backend)
