"""Agent Lightning's own store behind its HTTP server, for serve.ts: prints its URL, and ends when standard input does."""

import asyncio
import logging
import socket
import sys

from agentlightning.store.client_server import LightningStoreServer
from agentlightning.store.memory import InMemoryLightningStore


async def main():
    logging.disable(logging.CRITICAL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = LightningStoreServer(InMemoryLightningStore(), host="127.0.0.1", port=port)
    await server.start()
    print(server.endpoint, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop()


asyncio.run(main())
