# OpenAI Agents SDK for Python: replace MODEL with a model name. The SDK calls
# token() before each request, which raises CalledProcessError if there is no
# token. The ChatGPT backend requires streaming and a list as input. Tracing is
# off because it needs an API key.

import asyncio
import subprocess

from agents import Agent, ModelSettings, Runner
from agents import set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI


def token():
    command = ["{{words}}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


async def async_token():
    return await asyncio.to_thread(token)


client = AsyncOpenAI(
    api_key=async_token,
    base_url="{{url}}",
    default_headers={ {{headers}} },
)
set_default_openai_client(client, use_for_tracing=False)
set_tracing_disabled(True)

agent = Agent(
    name="Assistant",
    instructions="You are a helpful assistant.",
    model="MODEL",
    model_settings=ModelSettings(store=False),
)


async def main():
    result = Runner.run_streamed(agent, [{"role": "user", "content": "Say hello"}])
    async for _ in result.stream_events():
        pass
    print(result.final_output)


if __name__ == "__main__":
    asyncio.run(main())
