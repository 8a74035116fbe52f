"""A server of live captions by WebSocket, which speaks sherpa-onnx's protocol, and serves one page.

A client sends binary messages of float32 little-endian samples of one channel, and the text "Done" at the end. It gets
JSON messages with the words so far, and "Done!" at the end. The streams of all clients go through the model together,
in a thread of its own, so that the connections are served meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qs, urlsplit

import numpy as np

from rnnt.errors import one_line

if TYPE_CHECKING:
    from rnnt.search.result import Word
    from rnnt.streaming.config import ServerConfig
    from rnnt.streaming.recognizer import Stream, StreamingRecognizer

    Taken = tuple["Session", tuple[np.ndarray, bool]]  # see `Session.take`

ItemT = TypeVar("ItemT")
PAGE = Path(__file__).with_name("page.html")
RATES = range(8000, 192001)  # Hz, of clients
BACKLOG = 10.0  # seconds of audio that wait for recognition, before a client is not read any more
SHAKE_SECONDS = 3.0  # for the handshakes with which a connection begins and ends
PAUSE = 0.01  # seconds between two looks for audio
# Codes with which connections are closed.
NO_SUCH_DATA, TOO_SLOW, TOO_MUCH, FAILED, TOO_MANY = 1003, 1008, 1009, 1011, 1013


class Refused(Exception):
    """A client that breaks the rules: the code and the reason with which its connection is closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class _Growing(Generic[ItemT]):
    """What messages say of items that hardly change from one message to the next: only what is new is made."""

    def __init__(self, make: Callable[[ItemT], Any]) -> None:
        self._make = make
        self._items: Sequence[ItemT] = ()
        self._made: list[Any] = []

    def of(self, items: Sequence[ItemT]) -> list[Any]:
        """What there is to say of each."""
        pairs = enumerate(zip(self._items, items))
        same = next((i for i, (a, b) in pairs if a is not b and a != b), min(len(self._items), len(items)))
        self._items, self._made = items, self._made[:same] + list(map(self._make, items[same:]))
        return self._made


class Session:
    """One client's stream: what waits for recognition, and what waits to be sent.

    The event loop alone touches all of it but the stream, which belongs to the thread of the model while that works.
    """

    def __init__(self, stream: Stream, rate: int) -> None:
        self.stream, self.rate = stream, rate
        self.incoming: list[np.ndarray] = []
        self.waiting = 0  # samples
        self.is_ended = False
        self.segment = 0
        self.outgoing: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.refusal: asyncio.Future[Refused] = asyncio.get_running_loop().create_future()
        self.came = time.monotonic()  # when the client last sent something
        self.sends: float | None = None  # since when it is sent something that it has no room for
        seconds = stream.recognizer.seconds_per_frame
        self._times: _Growing[int] = _Growing(lambda frame: round(frame * seconds, 3))
        self._words: _Growing[Word] = _Growing(
            lambda w: [w.word, round(w.start, 3), round(w.end, 3), round(w.confidence, 3)]
        )

    @property
    def has_work(self) -> bool:
        """Whether the model's thread has anything to do for it."""
        if self.refusal.done():
            return False
        return bool(self.incoming) or self.stream.is_ready or (self.is_ended and not self.stream.is_finished)

    def take(self) -> tuple[np.ndarray, bool]:
        """Up to a second of samples for the stream, and whether none follow.

        None as long as it has a window to go on with: who sends hours at once must not stop the others.
        """
        if self.stream.is_ready or not self.incoming:
            return np.zeros(0, np.float32), self.is_ended and not self.incoming
        samples = np.concatenate(self.incoming)
        now, later = samples[: self.rate], samples[self.rate :]
        self.incoming, self.waiting = [later] if len(later) else [], len(later)
        return now, self.is_ended and not self.incoming

    def tell(self, news: dict[str, Any] | Refused) -> None:
        """Keep what the client is to be told; of partial results the newest one."""
        if isinstance(news, Refused):
            if not self.refusal.done():
                self.refusal.set_result(news)
            return
        if self.outgoing and not self.outgoing[-1]["is_final"]:
            self.outgoing.pop()
        self.outgoing.append(news)
        self.changed.set()

    def news(self) -> dict[str, Any] | None:
        """In the thread of the model: the message after a step. Where an utterance has ended, another one begins."""
        stream = self.stream
        is_final = stream.is_done or stream.is_endpoint
        message = self._message(is_final) if stream.is_done or not is_final or stream.text else None
        if is_final and message:
            self.segment += 1
        if is_final and not stream.is_done:
            stream.next_utterance()
        return message

    def _message(self, is_final: bool) -> dict[str, Any]:
        stream = self.stream
        hypothesis, tokens = stream.hypothesis, stream.recognizer.tokenizer.tokens
        return {
            "text": stream.text,
            "stable": stream.text if is_final else stream.stable_text,
            "tokens": [tokens[token] for token in hypothesis.tokens],
            "timestamps": self._times.of(hypothesis.frames),
            "words": self._words.of(stream.words),
            "segment": self.segment,
            "start_time": round(stream.begin_seconds, 3),
            "heard": round(stream.heard_seconds, 3),
            "is_final": is_final,
            "is_eof": stream.is_done,
        }


class Server:
    """Serves until it is told to stop.

    Args:
        recognizer: of all streams.
        config: addresses and limits.
    """

    def __init__(self, recognizer: StreamingRecognizer, config: ServerConfig) -> None:
        self.recognizer, self.config = recognizer, config
        self.sessions: set[Session] = set()
        self.page = PAGE.read_bytes()
        self._stop = asyncio.Event()
        self._model = ThreadPoolExecutor(1, "model")
        self.ready = threading.Event()
        self.port = config.port
        self._full = f"{config.max_connections} connections, no more are taken"

    def stop(self) -> None:
        """End `run`: no new connections, and those that are there are closed."""
        self._stop.set()

    async def run(self) -> None:
        """Serve; SIGTERM and SIGINT stop it where this is the main thread."""
        from websockets.asyncio.server import serve

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        config = self.config
        async with serve(
            self._serve,
            config.host,
            config.port,
            process_request=self._answer,
            max_size=config.max_message_bytes,
            ping_interval=20,
            ping_timeout=config.idle_seconds,
            open_timeout=SHAKE_SECONDS,
            close_timeout=SHAKE_SECONDS,
            compression=None,
            backlog=1024,
            logger=_silent(),
        ) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self.ready.set()
            decoding = asyncio.create_task(self._decode())
            tasks = decoding, asyncio.create_task(self._watch()), asyncio.create_task(self._stop.wait())
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            server.close(code=1001, reason="the server ends")
            await server.wait_closed()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._model.shutdown()
        if not decoding.cancelled():
            decoding.result()  # raises what ended it

    def _answer(self, connection: Any, request: Any) -> Any:
        """The page for a browser that asks for it; None goes on to a WebSocket."""
        from websockets.datastructures import Headers
        from websockets.http11 import Response

        if request.headers.get("Upgrade", "").lower() == "websocket":
            if len(self.sessions) >= self.config.max_connections:
                return connection.respond(503, self._full + "\n")
            return None
        if urlsplit(request.path).path not in ("/", "/index.html"):
            return connection.respond(404, "there is one page, /\n")
        headers = Headers({"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(self.page))})
        return Response(200, "OK", headers, self.page)

    async def _serve(self, socket: Any) -> None:
        """One client."""
        from websockets.exceptions import ConnectionClosed

        code, reason = 1000, ""
        try:
            await self._converse(socket)
        except Refused as refused:
            code, reason = refused.code, refused.reason
        except (ConnectionClosed, ConnectionError):
            return
        except Exception as error:
            _complain(error)
            code, reason = FAILED, "the server failed"
        await socket.close(code, reason)

    async def _converse(self, socket: Any) -> None:
        """Until all is said, or something is wrong; the client has a place for so long."""
        rate = _rate(socket.request.path, self.config.sampling_rate)
        if len(self.sessions) >= self.config.max_connections:  # others came while this one shook hands
            raise Refused(TOO_MANY, self._full)
        session = Session(self.recognizer.stream(), rate)
        self.sessions.add(session)
        reading = asyncio.create_task(self._read(socket, session))
        writing = asyncio.create_task(self._write(socket, session))
        try:
            tasks: set[asyncio.Future[Any]] = {reading, writing, session.refusal}
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if done == {reading} and reading.exception() is None:
                done, _ = await asyncio.wait(tasks - done, return_when=asyncio.FIRST_COMPLETED)
            if session.refusal in done:
                raise session.refusal.result()
            for task in done:
                task.result()
        finally:
            self.sessions.discard(session)
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)

    async def _read(self, socket: Any, session: Session) -> None:
        heard = 0
        while True:
            message = await socket.recv()
            session.came = time.monotonic()
            if isinstance(message, str):
                if message.strip() != "Done":
                    raise Refused(NO_SUCH_DATA, 'send float32 samples, and the text "Done" at the end')
                session.is_ended = True
                return
            if len(message) % 4:
                raise Refused(NO_SUCH_DATA, f"{len(message)} bytes are no float32 samples")
            samples = np.frombuffer(message, "<f4")
            if not np.isfinite(samples).all():
                raise Refused(NO_SUCH_DATA, "a sample is not a finite number")
            heard += len(samples)
            if heard > self.config.max_seconds * session.rate:
                raise Refused(TOO_MUCH, f"more than {self.config.max_seconds:g} s of audio")
            if len(samples):
                session.incoming.append(samples)
                session.waiting += len(samples)
            while session.waiting > BACKLOG * session.rate:
                await asyncio.sleep(PAUSE)
                session.came = time.monotonic()

    async def _write(self, socket: Any, session: Session) -> None:
        while True:
            await session.changed.wait()
            session.changed.clear()
            messages, session.outgoing = session.outgoing, []
            session.sends = time.monotonic()
            for message in messages:
                await socket.send(json.dumps(message, ensure_ascii=False))
            if messages and messages[-1]["is_eof"]:
                await socket.send("Done!")
                return
            session.sends = None

    async def _watch(self) -> None:
        """Refuse clients that neither send nor read. Time limits of every message would cost as much as its words."""
        idle = self.config.idle_seconds
        while True:
            await asyncio.sleep(min(1.0, idle / 4))
            now = time.monotonic()
            for session in self.sessions:
                if not session.is_ended and now - session.came > idle:
                    session.tell(Refused(TOO_SLOW, f"nothing came for {idle:g} s"))
                elif session.sends is not None and now - session.sends > idle:
                    session.tell(Refused(TOO_SLOW, f"nothing was read for {idle:g} s"))

    async def _decode(self) -> None:
        """Let the streams of all clients go on, as long as there is audio."""
        loop = asyncio.get_running_loop()
        while True:
            taken = [(session, session.take()) for session in self.sessions if session.has_work]
            if not taken:
                await asyncio.sleep(PAUSE)
                continue
            for session, news in await loop.run_in_executor(self._model, self._work, taken):
                session.tell(news)

    def _work(self, taken: Sequence[Taken]) -> list[tuple[Session, dict[str, Any] | Refused]]:
        """In the thread of the model: one window for each stream that has one; the news of each."""
        moved, news = [], list[tuple[Session, dict[str, Any] | Refused]]()
        for session, (samples, is_last) in taken:
            if len(samples):
                session.stream.put(samples, session.rate)
            if is_last:
                session.stream.end()
            if session.stream.is_ready or session.stream.is_done:
                moved.append(session)
        for begin in range(0, len(moved), self.config.max_batch):
            together = moved[begin : begin + self.config.max_batch]
            try:
                self.recognizer.decode([session.stream for session in together])
                news += [(session, message) for session in together if (message := session.news())]
            except Exception as error:  # memory, say: it must not end what goes through the model after it
                _complain(error)
                news += [(session, Refused(FAILED, "the recognition failed")) for session in together]
        return news


def _silent() -> logging.Logger:
    """The library would print pages about each client that breaks off or sends garbage."""
    logger = logging.getLogger("rnnt.websockets")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


def _complain(error: Exception) -> None:
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)


def _rate(path: str, default: int) -> int:
    """The sampling rate of `/?sampling_rate=48000`."""
    given = parse_qs(urlsplit(path).query).get("sampling_rate", [str(default)])[0]
    if not given.isdigit() or int(given) not in RATES:
        raise Refused(NO_SUCH_DATA, f"sampling_rate={given[:20]}: a number from {RATES[0]} to {RATES[-1]} is wanted")
    return int(given)
