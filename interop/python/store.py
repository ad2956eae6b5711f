"""The real Agent Lightning store behind its HTTP server, and its adapters on what it holds.

Prints `{"url": ...}` when it serves. Then each line of standard input is a question
`{"rollout_id", "triplets": {name: options}, "messages": bool}`, answered with what the adapters give for the
spans of that rollout, in the order in which the store returns them.
"""

import asyncio
import json
import logging
import socket
import sys

from agentlightning.adapter.messages import TraceToMessages
from agentlightning.adapter.triplet import TracerTraceToTriplet
from agentlightning.store.client_server import LightningStoreServer
from agentlightning.store.memory import InMemoryLightningStore


def outcome(call):
    try:
        return {"result": call()}
    except Exception as error:
        return {"error": type(error).__name__}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def adapt(spans, question):
    triplets = {
        name: outcome(
            lambda: [triplet.model_dump() for triplet in TracerTraceToTriplet(**options).adapt(spans)]
        )
        for name, options in question.get("triplets", {}).items()
    }
    messages = outcome(lambda: TraceToMessages().adapt(spans)) if question.get("messages") else None
    return {"count": len(spans), "triplets": triplets, "messages": messages}


async def main():
    logging.disable(logging.WARNING)
    store = InMemoryLightningStore()
    server = LightningStoreServer(store, host="127.0.0.1", port=free_port())
    await server.start()
    answers = sys.stdout
    print(json.dumps({"url": server.endpoint}), file=answers, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question = json.loads(line)
        spans = list(await store.query_spans(question["rollout_id"]))
        print(json.dumps(adapt(spans, question)), file=answers, flush=True)
    await server.stop()


asyncio.run(main())
