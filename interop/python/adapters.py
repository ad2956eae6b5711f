"""Agent Lightning's own adapters, for comparison.

Each line of standard input is `{"adapter": "triplets" | "proxy" | "messages", "options": {...}, "spans": [...]}`, with
options under Python's names; each is answered with one line, `{"result": ...}` or `{"error": "ClassName"}`. Before
that it prints `{}` once.
Non-finite numbers are `{"$float": "nan" | "inf" | "-inf"}`.
"""

import functools
import json
import logging
import math
import sys
import warnings

warnings.filterwarnings("ignore")
answers, sys.stdout = sys.stdout, sys.stderr

import agentlightning.adapter.messages as messages  # noqa: E402
from agentlightning.adapter.triplet import LlmProxyTraceToTriplet, TracerTraceToTriplet  # noqa: E402
from agentlightning.types import Span  # noqa: E402

logging.disable(logging.CRITICAL)
# The adapter lets go of the validator that its lazily checked contents still need.
messages.TypeAdapter = functools.cache(messages.TypeAdapter)


def plain(value):
    """Also what pydantic checks only when it is read: the parts of a message's content."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value]


def adapt(question):
    spans = [Span.model_validate(span) for span in question["spans"]]
    options = question.get("options", {})
    if question["adapter"] == "messages":
        return plain(messages.TraceToMessages().adapt(spans))
    adapter = TracerTraceToTriplet(**options) if question["adapter"] == "triplets" else LlmProxyTraceToTriplet()
    return [plain(triplet.model_dump()) for triplet in adapter.adapt(spans)]


answers.write("{}\n")
answers.flush()
for line in sys.stdin:
    try:
        answer = {"result": adapt(json.loads(line))}
    except Exception as error:
        answer = {"error": type(error).__name__}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
