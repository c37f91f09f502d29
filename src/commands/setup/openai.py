# OpenAI's SDK for Python calls the function before each request. Without a
# token it raises CalledProcessError. The ChatGPT backend accepts
# responses.create(model=..., instructions=..., input=[{"role": "user", ...}],
# store=False, stream=True).
# The same clients serve other libraries: pydantic-ai with
# OpenAIProvider(openai_client=async_client), LangChain with
# ChatOpenAI(root_client=client, root_async_client=async_client, ...).

import asyncio
import subprocess

from openai import AsyncOpenAI, OpenAI


def token():
    command = ["{{program}}", {{args}}]
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
