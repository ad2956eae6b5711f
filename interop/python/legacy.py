"""The real legacy client and server of Agent Lightning.

`legacy.py server` serves and prints `{"url": ...}`; `legacy.py client URL` is a client of the server there. Each line of
standard input is a question `{"do": name, ...}` for one of their methods, answered with what it returns.
"""

import asyncio
import json
import logging
import socket
import sys
import warnings

warnings.simplefilter("ignore")

from agentlightning.client import AgentLightningClient
from agentlightning.server import AgentLightningServer
from agentlightning.types import LLM, PromptTemplate, RolloutLegacy


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def dump(model):
    return None if model is None else model.model_dump(mode="json")


async def serve():
    server = AgentLightningServer(host="127.0.0.1", port=free_port(), task_timeout_seconds=1.0)
    await server.start()

    async def answer(question):
        do = question["do"]
        if do == "queue_task":
            return await server.queue_task(question["input"], mode="train", metadata={"n": 1})
        if do == "update_resources":
            llm = LLM(endpoint="http://m/v1", model="m", sampling_parameters={"top_p": 0.5})
            prompt = PromptTemplate(template="{x}", engine="f-string")
            return await server.update_resources({"main": llm, "prompt": prompt})
        if do == "rollout":
            return dump(await server.poll_completed_rollout(question["id"], timeout=10))

    return {"url": server.endpoint}, answer


async def use(url):
    client = AgentLightningClient(url, poll_interval=0.1)

    async def answer(question):
        do = question["do"]
        if do == "task":
            return dump(await client.poll_next_task_async())
        if do == "latest":
            return dump(await client.get_latest_resources_async())
        if do == "resources":
            return dump(await client.get_resources_by_id_async(question["id"]))
        if do == "post":
            return await client.post_rollout_async(RolloutLegacy.model_validate(question["rollout"]))

    return {"url": url}, answer


async def main():
    logging.disable(logging.CRITICAL)
    hello, answer = await (serve() if sys.argv[1] == "server" else use(sys.argv[2]))
    print(json.dumps(hello), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await answer(json.loads(line))), flush=True)


asyncio.run(main())
