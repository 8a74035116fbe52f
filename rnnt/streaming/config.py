"""Options of streaming. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class WindowConfig:
    """What an encoder hears at a time."""

    stream_chunk_seconds: float = option(
        0.32, "audio that goes through the encoder at a time; a causal zipformer has --chunk-size", above=0, maximum=60
    )
    left_seconds: float = option(
        0.0,
        "audio before a chunk that is heard with it, for encoders that need the whole utterance: bidirectional lstm, "
        "conformer, zipformer that is not causal",
        minimum=0,
        maximum=60,
    )
    right_seconds: float = option(
        0.0,
        "audio behind a chunk that is heard with it, for the same; words come that much later",
        minimum=0,
        maximum=60,
    )

    @property
    def is_windowed(self) -> bool:
        """Whether an encoder that needs the whole utterance is to hear parts of it."""
        return self.left_seconds > 0 or self.right_seconds > 0


@dataclass(frozen=True)
class StreamConfig(WindowConfig):
    """Streaming."""

    tail_seconds: float = option(
        0.5, "silence behind the end of a stream, so that a late last word is heard", minimum=0, maximum=60
    )
    rule1_silence: float = option(
        2.4, "an utterance ends after so many seconds without a token, also where none came at all", above=0
    )
    rule2_silence: float = option(
        1.2, "an utterance ends after so many seconds without a token behind the last", above=0
    )
    rule3_length: float = option(20.0, "an utterance ends after so many seconds, whatever is said", above=0)


@dataclass(frozen=True)
class ServerConfig:
    """Server."""

    model: str = option(help="model directory, as export_model.py writes it")
    host: str = option("127.0.0.1", "address to listen at; 0.0.0.0: all of this machine, for everybody who reaches it")
    port: int = option(6006, "port to listen at; 0: a free one", minimum=0, maximum=65535)
    sampling_rate: int = option(
        16000, "samples per second of clients that do not say ?sampling_rate=N", minimum=8000, maximum=192000
    )
    max_connections: int = option(100, "clients at a time; others get status 503", minimum=1)
    max_seconds: float = option(7200.0, "audio of one client", above=0)
    max_message_bytes: int = option(1 << 20, "largest message of a client", minimum=1024)
    idle_seconds: float = option(30.0, "a client that sends nothing for so long is closed", above=0)
    max_batch: int = option(64, "streams that go through the model together", minimum=1)
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])
    threads: int = option(1, "CPU threads; 0: as many as cores", minimum=0, maximum=4096)
