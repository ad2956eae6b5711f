"""OpenTelemetry's own exporter: each line of standard input is an OTLP endpoint and the ids for the resource,
`{"url", "rollout_id", "attempt_id", "gzip"}`; spans of all kinds of values are sent there, and the line is answered when
they are. Before that it prints `{}` once.
"""

import json
import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode


def send(question):
    ids = {f"agentlightning.{name}": question[name] for name in ("rollout_id", "attempt_id")}
    provider = TracerProvider(resource=Resource.create({"service.name": "python", **ids}))
    compression = Compression.Gzip if question["gzip"] else Compression.NoCompression
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(question["url"], compression=compression)))
    tracer = provider.get_tracer("theirs", "1")
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        attributes = {
            "text": "héllo \U0001f389",
            "empty": "",
            "yes": True,
            "whole": -(2**53),
            "fraction": 0.1,
            "texts": ["a", ""],
            "numbers": [1.5, 2.0],
            "none": [],
            "bytes": b"\x00\xff",
            "prompt_token_ids": list(range(0, 200_000, 1000)),
            "agentlightning.reward.0.name": "primary",
            "agentlightning.reward.0.value": 1.0,
        }
        with tracer.start_as_current_span("inner", attributes=attributes, links=[Link(outer.get_span_context(), {"n": 1})]):
            pass
        with tracer.start_as_current_span("numbered", attributes={"agentlightning.span_sequence_id": 40}) as span:
            span.add_event("moment", {"at": 0.5})
            span.set_status(Status(StatusCode.ERROR, "broken"))
    provider.shutdown()


print("{}", flush=True)
for line in sys.stdin:
    send(json.loads(line))
    print("{}", flush=True)
