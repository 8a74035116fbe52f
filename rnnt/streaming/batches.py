"""Batches of whole utterances, decoded as streams would be: window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from rnnt.errors import UserError
from rnnt.model.encoders.streaming import StreamingEncoder, Windows
from rnnt.model.encoders.windowed import WindowedEncoder
from rnnt.model.masking import valid_mask
from rnnt.search.batches import BatchT
from rnnt.streaming.config import WindowConfig
from rnnt.streaming.search import make_search

if TYPE_CHECKING:
    from rnnt.model.transducer import Transducer
    from rnnt.search.config import SearchConfig
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Hypothesis


def as_streaming(network: Transducer, config: WindowConfig, frame_shift: float) -> tuple[StreamingEncoder, Windows]:
    """The encoder, and its windows.

    Args:
        network: whose encoder it is.
        config: chunks, and what is heard around them.
        frame_shift: seconds between two frames of features.

    Raises:
        UserError: it can't stream so.
    """
    encoder: StreamingEncoder = network.encoder
    left, chunk, right = (
        round(seconds / frame_shift)
        for seconds in (config.left_seconds, config.stream_chunk_seconds, config.right_seconds)
    )
    name = network.config.encoder.name
    reason = f"a {name} encoder needs the whole utterance and can't stream"
    if isinstance(encoder, StreamingEncoder):
        try:
            windows = encoder.windows(chunk)
        except ValueError as error:
            reason = str(error)
        else:
            if config.is_windowed:
                raise UserError(f"the {name} encoder keeps what it heard: leave out --left-seconds and --right-seconds")
            return encoder, windows
    if not config.is_windowed:
        raise UserError(f"{reason}; or let it hear windows: --left-seconds 4 --right-seconds 1, say")
    windowed = WindowedEncoder(network.encoder, network.subsampling_factor, network.config.num_features, left, right)
    try:
        return windowed, windowed.windows(chunk)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_streaming(network: Transducer, search: SearchConfig, config: WindowConfig, frame_shift: float) -> None:
    """Raise `UserError` unless encoder and search can stream."""
    as_streaming(network, config, frame_shift)
    make_search(network, search)


@torch.inference_mode()
def stream_batches(
    network: Transducer,
    batches: Iterable[BatchT],
    config: SearchConfig,
    device: torch.device,
    scorers: Iterable[tuple[Scorer, float]] = (),
    choice: WindowConfig | None = None,
    frame_shift: float = 0.01,
) -> Iterator[tuple[BatchT, list[list[Hypothesis]], int]]:
    """As `rnnt.search.batches.decode_batches`, by streams that begin together; see `as_streaming`."""
    encoder, windows = as_streaming(network, choice or WindowConfig(), frame_shift)
    search: Any = make_search(network, config, list(scorers))
    for batch in batches:
        x_len_B = batch.x_len_B.to(device)
        x_BTF = (batch.x_BTF.to(device) - network.feature_mean) / network.feature_std
        x_BTF = x_BTF * valid_mask(x_len_B, x_BTF.shape[1])[..., None]
        length_B = network.encoded_lengths(x_len_B)
        state = encoder.init_state(len(x_BTF))
        states = [search.start(device) for _ in x_BTF]
        for begin in range(0, max(x_BTF.shape[1], 1), windows.shift):
            left_B = (length_B - begin // network.subsampling_factor).clamp(min=0)
            if not bool(left_B.any()):
                break
            x_BWF = x_BTF[:, begin : begin + windows.size]
            x_BWF = F.pad(x_BWF, (0, 0, 0, windows.size - x_BWF.shape[1]))
            h_BTD, h_len_B, state = encoder.stream(x_BWF, (x_len_B - begin).clamp(0, windows.size), state)
            states = search.advance(states, h_BTD, h_len_B.minimum(left_B))
        yield batch, [search.hypotheses(s, is_final=True) for s in states], int(length_B.sum())
