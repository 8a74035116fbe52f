"""How many people can speak at the same time before their words come late, and what a stream costs.

    python3 benchmarks/streaming_load.py --way server --model MODEL FILE...
    python3 benchmarks/streaming_load.py --way sherpa --onnx ONNX FILE...       (--format onnx --streaming true)
    python3 benchmarks/streaming_load.py --way server --model MODEL --bad-clients 1000 FILE...
    python3 benchmarks/streaming_load.py --way sherpa-server --onnx ONNX --sherpa-server PROGRAM FILE...

Ways: `server` is serve.py in a process of its own, and its clients are here; `sherpa-server` is the same with
sherpa-onnx's server, sherpa-onnx-online-websocket-server of the package sherpa-onnx-bin; `streams` is what serve.py has
inside, without connections; `sherpa` is sherpa-onnx's OnlineRecognizer, without connections too. These two have a core
for themselves: their time is that of the processor, and waiting is skipped. Without MODEL or ONNX it is an LSTM encoder
of 20 million parameters with random weights.

Every stream says one of the files (none: noise) again and again in pieces of 0.1 s, in real time; they don't begin
together. The latency of a result is from the moment at which the last audio in it was said: the wait for the chunk is
not in it, that for the piece, for others and for computing is. Memory is what the process has more than before the
first stream, cores are its use of the processor. More and more streams are tried until the 95th percentile of the
latencies passes --limit.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from export import read_audio, write_random  # of this folder
from streaming_servers import serving, serving_sherpa

from rnnt.cli import program
from rnnt.options import make, make_parser, option, parse

PIECE = 0.1  # seconds of a message
WARM = 3.0  # seconds before latencies count
CHUNK_SECONDS = 0.32  # of all ways
GROWTH = 1.3
BATCH = 64  # streams that go through the model together


@dataclass(frozen=True)
class LoadBenchmark:
    """Benchmark."""

    way: str = option("server", "what is measured", choices=["server", "sherpa-server", "streams", "sherpa"])
    model: str = option("", "model directory; empty: random weights")
    onnx: str = option("", "folder of streaming ONNX graphs, for --way sherpa and sherpa-server")
    sherpa_server: str = option("sherpa-onnx-online-websocket-server", "the program of --way sherpa-server")
    first: int = option(20, "streams to begin with", minimum=1)
    most: int = option(2000, "streams to end with", minimum=1)
    limit: float = option(0.5, "latency that is too long", above=0)
    run_seconds: float = option(15.0, "for each number of streams", above=2 * WARM)
    bad_clients: int = option(0, "clients that stall, send garbage or break off, while --first others speak", minimum=0)
    # Of the noise, as `read_audio` wants it.
    seconds: float = option(20.0, "length of a noise", above=0)
    number: int = option(4, "noises", minimum=1)


@dataclass(frozen=True)
class Speech:
    """What is said: files, and their sampling rate."""

    files: list[np.ndarray]
    rate: int

    def pieces(self, stream: int, begin: int, end: int) -> np.ndarray:
        """The samples of a stream between two pieces of 0.1 s."""
        size = round(PIECE * self.rate)
        return self.files[stream % len(self.files)].take(np.arange(begin * size, end * size), mode="wrap")


class Engine(Protocol):
    """Streams in this process."""

    def begin(self, number: int) -> None:
        """Forget all streams, and begin this many."""

    def put(self, stream: int, samples: np.ndarray, rate: int) -> None:
        """Samples of one stream."""

    def step(self) -> list[tuple[int, float]]:
        """Go on by one window; streams that did, and the seconds that they have heard."""


class Ours:
    """`StreamingRecognizer`, and the messages that serve.py would send."""

    def __init__(self, model: str) -> None:
        from rnnt.distributed.device import set_threads
        from rnnt.search.config import SearchConfig
        from rnnt.streaming.server import Session
        from rnnt.transcription.recognizer import load_recognizer

        set_threads(1, 1)
        self.recognizer = load_recognizer(model, "cpu").streaming(SearchConfig(max_sym_per_frame=1))
        self._session = Session
        self.sessions: list[Any] = []

    def begin(self, number: int) -> None:
        """As `Engine`."""

        async def sessions() -> list[Any]:
            return [self._session(self.recognizer.stream(), 0) for _ in range(number)]

        self.sessions = asyncio.run(sessions())

    def put(self, stream: int, samples: np.ndarray, rate: int) -> None:
        """As `Engine`."""
        self.sessions[stream].stream.put(samples, rate)

    def step(self) -> list[tuple[int, float]]:
        """As `Engine`."""
        ready = [i for i, session in enumerate(self.sessions) if session.stream.is_ready]
        for begin in range(0, len(ready), BATCH):
            self.recognizer.decode([self.sessions[i].stream for i in ready[begin : begin + BATCH]])
        for i in ready:
            json.dumps(self.sessions[i].news())
        return [(i, self.sessions[i].stream.heard_seconds) for i in ready]


class Sherpa:
    """sherpa-onnx's OnlineRecognizer."""

    def __init__(self, onnx: str) -> None:
        import sherpa_onnx

        description = json.loads((Path(onnx) / "config.json").read_text(encoding="utf-8"))
        features = description["features"]
        graphs = (str(Path(onnx) / f"{name}.onnx") for name in ("encoder", "decoder", "joiner"))
        self.recognizer = sherpa_onnx.OnlineRecognizer.from_transducer(
            str(Path(onnx) / "tokens.txt"), *graphs, num_threads=1, enable_endpoint_detection=True,
            sample_rate=features["sampling_rate"], feature_dim=features["num_mel_bins"],
        )  # fmt: skip
        self.streams: list[Any] = []
        self.heard: list[float] = []

    def begin(self, number: int) -> None:
        """As `Engine`."""
        self.streams = [self.recognizer.create_stream() for _ in range(number)]
        self.heard = [0.0] * number

    def put(self, stream: int, samples: np.ndarray, rate: int) -> None:
        """As `Engine`."""
        self.streams[stream].accept_waveform(rate, samples)

    def step(self) -> list[tuple[int, float]]:
        """As `Engine`."""
        recognizer = self.recognizer
        ready = [i for i, stream in enumerate(self.streams) if recognizer.is_ready(stream)]
        for begin in range(0, len(ready), BATCH):
            recognizer.decode_streams([self.streams[i] for i in ready[begin : begin + BATCH]])
        for i in ready:
            recognizer.get_result_as_json_string(self.streams[i])
            self.heard[i] += CHUNK_SECONDS
            if recognizer.is_endpoint(self.streams[i]):
                recognizer.reset(self.streams[i])
        return [(i, self.heard[i]) for i in ready]


def resident(process: int | str = "self") -> float:
    """MiB of memory of a process."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(process: int | str = "self") -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Clock:
    """The latencies of streams that began at different times, and the share of a core that was used meanwhile.

    Args:
        number: of the streams.
        process: that is measured; None: this one, whose time is that of the processor and of `sleep`.
    """

    def __init__(self, number: int, process: int | None = None) -> None:
        self.process, self.cores, self._slept = process, 0.0, 0.0
        self._used = cpu_seconds(process or "self")
        self.start = self.now() + 0.2
        self.begins = [self.start + CHUNK_SECONDS * i / number for i in range(number)]
        self.heard = [0.0] * number
        self.found: list[float] = []

    def now(self) -> float:
        """Seconds."""
        return time.perf_counter() if self.process else time.process_time() + self._slept

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._slept += seconds

    def note(self, stream: int, heard: float) -> None:
        """A result came that knows `heard` seconds."""
        now = self.now()
        self.heard[stream] = heard
        if now > self.start + WARM:
            self.found.append(now - self.begins[stream] - heard)

    def close(self) -> None:
        """Count the results that should be there by now."""
        now = self.now()
        late = (now - begin - heard - CHUNK_SECONDS for begin, heard in zip(self.begins, self.heard))
        self.found += [latency for latency in late if latency > PIECE]
        self.cores = (cpu_seconds(self.process or "self") - self._used) / (now - self.start)


def in_process(engine: Engine, number: int, speech: Speech, config: LoadBenchmark) -> Clock:
    """Latencies of streams in this process."""
    engine.begin(number)
    clock, given = Clock(number), [0] * number
    while (now := clock.now()) < clock.start + config.run_seconds:
        for i, begin in enumerate(clock.begins):
            due = int(max(now - begin, 0) / PIECE)
            if due > given[i]:
                engine.put(i, speech.pieces(i, given[i], due), speech.rate)
                given[i] = due
        moved = engine.step()
        for i, heard in moved:
            clock.note(i, heard)
        if not moved:
            clock.sleep(0.002)
    clock.close()
    return clock


async def through_server(address: str, process: int, number: int, speech: Speech, config: LoadBenchmark) -> Clock:
    """Latencies of clients of serve.py, or of sherpa-onnx's server, which sends a result for each chunk."""
    from websockets.asyncio.client import connect

    address = f"ws://{address}/?sampling_rate={speech.rate}"
    async with contextlib.AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(connect(address, compression=None, ping_interval=None))
            for _ in range(number)
        ]
        clock = Clock(number, process)

        async def send(i: int) -> None:
            for piece in range(1, int(config.run_seconds / PIECE)):
                await asyncio.sleep(clock.begins[i] + piece * PIECE - time.perf_counter())
                await sockets[i].send(speech.pieces(i, piece - 1, piece).astype("<f4").tobytes())

        async def receive(i: int) -> None:
            for number in itertools.count(1):
                result = json.loads(await sockets[i].recv())
                clock.note(i, result.get("heard", number * CHUNK_SECONDS))

        receivers = [asyncio.create_task(receive(i)) for i in range(number)]
        await asyncio.gather(*(send(i) for i in range(number)))
        clock.close()
        for receiver in receivers:
            if receiver.done():
                receiver.result()
            receiver.cancel()
    return clock


async def misbehave(address: str, number: int) -> None:
    """So many clients in a few seconds: a third stalls, a third sends garbage, a third breaks off."""
    from websockets.asyncio.client import connect

    host, port = address.split(":")

    async def one(i: int) -> None:
        with contextlib.suppress(Exception):
            if i % 2:  # without a handshake
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write((b"", bytes(range(256)), b"GET / HT")[i // 2 % 3])
                if i // 2 % 3:
                    await asyncio.sleep(1)
                    writer.close()
                else:
                    await reader.read()
                return
            socket = await connect(f"ws://{address}", ping_interval=None)
            kind = i // 2 % 3
            await socket.send((np.zeros(1600, "<f4").tobytes(), b"\xff" * 1000, "garbage")[kind])
            if kind == 1:
                socket.transport.abort()
            await socket.wait_closed()

    tasks = []
    for i in range(number):
        tasks.append(asyncio.create_task(one(i)))
        await asyncio.sleep(5 / number)
    await asyncio.wait(tasks)


def row(name: object, clock: Clock, memory: float) -> float:
    """Print a line; the 95th percentile."""
    median, high = np.percentile(clock.found, [50, 95])
    print(
        f"{name!s:>16}  {median:9.3f}  {high:9.3f}  {max(clock.found):9.3f}  {clock.cores:5.2f}  {memory:12.2f}",
        flush=True,
    )
    return float(high)


def measure(config: LoadBenchmark, model: str, onnx: str, speech: Speech) -> None:
    """Print the table."""
    numbers = [config.first]
    while numbers[-1] * GROWTH < config.most:
        numbers.append(round(numbers[-1] * GROWTH))
    print(f"{'streams':>16}  {'median, s':>9}  {'95 %, s':>9}  {'most, s':>9}  {'cores':>5}  {'MiB a stream':>12}")
    if "server" not in config.way:
        engine: Engine = Ours(model) if config.way == "streams" else Sherpa(onnx)
        in_process(engine, 1, speech, make(LoadBenchmark, run_seconds=2 * WARM + 1))
        before = resident()
        for number in numbers:
            clock = in_process(engine, number, speech, config)
            if row(number, clock, (resident() - before) / number) > config.limit:
                break
        return
    with (
        serving(model, config.most + config.bad_clients)
        if config.way == "server"
        else serving_sherpa(config.sherpa_server, onnx, speech.rate, BATCH)
    ) as (address, process):
        asyncio.run(through_server(address, process, 1, speech, make(LoadBenchmark, run_seconds=2 * WARM + 1)))
        before = resident(process)
        if config.bad_clients:
            asyncio.run(with_bad_clients(address, process, before, speech, config))
            return
        for number in numbers:
            clock = asyncio.run(through_server(address, process, number, speech, config))
            if row(number, clock, (resident(process) - before) / number) > config.limit:
                break


async def with_bad_clients(address: str, process: int, before: float, speech: Speech, config: LoadBenchmark) -> None:
    """Two lines: the streams alone, and with bad clients beside them."""
    clock = await through_server(address, process, config.first, speech, config)
    row(config.first, clock, (resident(process) - before) / config.first)
    bad = asyncio.create_task(misbehave(address, config.bad_clients))
    clock = await through_server(address, process, config.first, speech, config)
    row(f"{config.first} + {config.bad_clients} bad", clock, (resident(process) - before) / config.first)
    await bad


@program
def main(argv: Sequence[str] | None = None) -> None:
    """Measure."""
    parser = make_parser(__doc__, LoadBenchmark)
    parser.add_argument("files", metavar="FILE", nargs="*", help="audio files, all of one rate; none: noise")
    (config,), args = parse(parser, (LoadBenchmark,), argv)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    speech = Speech(*read_audio(args.files, config, 16000))
    if config.onnx if "sherpa" in config.way else config.model:
        measure(config, config.model, config.onnx, speech)
        return
    with tempfile.TemporaryDirectory() as name:
        write_random(Path(name), (16, 128))
        measure(config, f"{name}/model", f"{name}/onnx", speech)


if __name__ == "__main__":
    main()
