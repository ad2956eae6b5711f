"""Times Agent Lightning's own adapter on the rollouts in the file that it is given: one list of spans per line.

Prints the seconds of each round, then what the adapter gave, as one line of JSON.
"""

import json
import logging
import sys
import time
import warnings

warnings.filterwarnings("ignore")
answers, sys.stdout = sys.stdout, sys.stderr

from agentlightning.adapter.triplet import TracerTraceToTriplet  # noqa: E402
from agentlightning.types import Span  # noqa: E402

logging.disable(logging.CRITICAL)
path, rounds = sys.argv[1], int(sys.argv[2])
with open(path, encoding="utf-8") as lines:
    rollouts = [[Span.model_validate(span) for span in json.loads(line)] for line in lines]
adapter = TracerTraceToTriplet()
seconds = []
for _ in range(rounds):
    began = time.perf_counter()
    triplets = [adapter.adapt(spans) for spans in rollouts]
    seconds.append(time.perf_counter() - began)
dumped = [[triplet.model_dump() for triplet in given] for given in triplets]
answers.write(json.dumps({"python": sys.version.split()[0], "seconds": seconds, "triplets": dumped}) + "\n")
