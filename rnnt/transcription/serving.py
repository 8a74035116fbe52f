"""The server of a model directory."""

from __future__ import annotations

import asyncio
import importlib.util
import resource
from typing import TYPE_CHECKING

from rnnt.distributed.device import set_threads
from rnnt.errors import UserError
from rnnt.model.encoders.streaming import choose_chunks
from rnnt.streaming.server import Server
from rnnt.transcription.recognizer import load_recognizer

if TYPE_CHECKING:
    from rnnt.model.encoders.config import ChunkChoice
    from rnnt.search.config import FusionConfig, SearchConfig
    from rnnt.streaming.config import ServerConfig, StreamConfig


def make_server(
    config: ServerConfig, streams: StreamConfig, search: SearchConfig, fusion: FusionConfig, choice: ChunkChoice
) -> Server:
    """The server, which does not yet listen.

    Raises:
        UserError: a package is missing, or the model can't stream.
    """
    if importlib.util.find_spec("websockets") is None:
        raise UserError("serve.py needs the package websockets; install it: pip install websockets")
    set_threads(config.threads, 1)
    recognizer = load_recognizer(config.model, config.device)
    choose_chunks(recognizer.model, choice)
    return Server(recognizer.streaming(search, recognizer.scorers_of(fusion), streams), config)


def serve(
    config: ServerConfig, streams: StreamConfig, search: SearchConfig, fusion: FusionConfig, choice: ChunkChoice
) -> None:
    """Serve until SIGTERM or Ctrl-C."""

    _allow_sockets(config.max_connections)

    async def run() -> None:
        server = make_server(config, streams, search, fusion, choice)
        task = asyncio.create_task(server.run())
        while not server.ready.is_set() and not task.done():
            await asyncio.sleep(0.01)
        if not task.done():
            print(f"listening at http://{config.host}:{server.port}", flush=True)
        try:
            await task
        except OSError as error:
            raise UserError(f"{config.host}:{config.port}: {error.strerror or error}; choose another --port") from None

    asyncio.run(run())


def _allow_sockets(connections: int) -> None:
    """Let the process have as many open, and as many again that are refused, as far as the system permits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + 1000
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
