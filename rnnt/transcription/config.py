"""Options of transcription. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option


@dataclass(frozen=True)
class PieceConfig:
    """Long audio."""

    piece_seconds: float = option(20.0, "longer audio is cut into overlapping pieces of this many seconds")
    overlap_seconds: float = option(4.0, "seconds that two neighbouring pieces share")
    batch_seconds: float = option(120.0, "seconds of audio computed at once, padding counted")

    def __post_init__(self):
        if not 0 < 2 * self.overlap_seconds <= self.piece_seconds:
            raise ValueError("--overlap-seconds must be positive and at most half of --piece-seconds")
        if self.batch_seconds <= 0:
            raise ValueError("--batch-seconds must be positive")
