"""Real Agent Lightning stores behind their HTTP servers, as many as are asked for, and its real client.

Prints `{}` when it is ready. Each line of standard input is a question:
`{"serve": {...options of the store in memory}}` answers `{"url"}` of a new server; `{"stop": url}` ends one;
`{"client": url, "call": method, "args": {...}}` answers with the method's result as JSON, or with
`{"error", "message"}`. Calls of a client go one after the other, or side by side where `args` is a list.
`{"export": url, "rollout_id", "attempt_id", "count"}` sends spans by OpenTelemetry's own exporter.
"""

import asyncio
import json
import logging
import socket
import sys

from agentlightning.store.client_server import LightningStoreClient, LightningStoreServer
from agentlightning.store.memory import InMemoryLightningStore
from agentlightning.types import EnqueueRolloutRequest, RolloutConfig, Span
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import BaseModel

servers = {}
clients = {}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def plain(value):
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "items") and hasattr(value, "total"):
        return {"items": [plain(item) for item in value.items], "total": value.total}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def typed(name, value):
    if name == "span":
        return Span.model_validate(value)
    if name == "spans":
        return [Span.model_validate(item) for item in value]
    if name == "config" and value is not None:
        return RolloutConfig.model_validate(value)
    if name == "rollouts":
        return [EnqueueRolloutRequest.model_validate(item) for item in value]
    return value


async def call(client, method, args):
    try:
        arguments = {name: typed(name, value) for name, value in args.items()}
        return {"result": plain(await getattr(client, method)(**arguments))}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


def export(question):
    ids = {name: question[name] for name in ("rollout_id", "attempt_id")}
    resource = Resource.create({f"agentlightning.{name}": value for name, value in ids.items()})
    finished = InMemorySpanExporter()
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(SimpleSpanProcessor(finished))
    tracer = provider.get_tracer("stores")
    for number in range(question["count"]):
        with tracer.start_as_current_span(f"span {number}") as span:
            attributes = {"number": number, "float": 1.5, "texts": ["a", "b"], "ids": list(range(5))}
            span.set_attributes(attributes)
            span.add_event("event", {"a": 1})
            span.set_status(StatusCode.OK)
    return OTLPSpanExporter(question["export"], timeout=5).export(finished.get_finished_spans()).name


async def answer(question):
    if "export" in question:
        return {"result": await asyncio.to_thread(export, question)}
    if "serve" in question:
        store = InMemoryLightningStore(**question["serve"])
        server = LightningStoreServer(store, host="127.0.0.1", port=free_port())
        await server.start()
        servers[server.endpoint] = server
        return {"url": server.endpoint}
    if "stop" in question:
        server = servers.pop(question["stop"], None)
        if server is not None:
            await server.stop()
        return {}
    url = question["client"]
    client = clients.setdefault(url, LightningStoreClient(url))
    args = question.get("args", {})
    if isinstance(args, list):
        return await asyncio.gather(*(call(client, question["call"], one) for one in args))
    return await call(client, question["call"], args)


async def main():
    logging.disable(logging.CRITICAL)
    answers = sys.stdout
    print(json.dumps({}), file=answers, flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await answer(json.loads(line))), file=answers, flush=True)
    for client in clients.values():
        await client.close()
    for server in servers.values():
        await server.stop()


asyncio.run(main())
