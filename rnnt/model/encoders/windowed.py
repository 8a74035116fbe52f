"""Encoders that need the whole utterance, heard through windows: a chunk with what is left and right of it.

For each chunk the encoder hears up to `left` frames before it, the chunk, and up to `right` frames behind it, as if
that was an utterance; what it gives for the chunk is kept. Everything is computed (left + chunk + right) / chunk times,
and the result is that of the whole only where the windows hold the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnt.model.encoders.streaming import State, Windows, chunk_windows
from rnnt.model.masking import valid_mask


class WindowedEncoder:
    """A `StreamingEncoder` of an encoder without a state. Its own state is the features on the left.

    Args:
        encoder: `(x_BTF, x_len_B) -> (h_BTD, h_len_B)`.
        factor: input frames per encoder frame.
        num_features: F.
        left, right: input frames, rounded up to multiples of `factor`.
    """

    def __init__(self, encoder: nn.Module, factor: int, num_features: int, left: int, right: int) -> None:
        self.encoder, self.factor, self.num_features = encoder, factor, num_features
        self.left, self.right = (-(-frames // factor) * factor for frames in (left, right))

    def windows(self, chunk_frames: int = 0) -> Windows:
        """As `StreamingEncoder`."""
        chunk = chunk_windows(chunk_frames, self.factor).shift
        lengths = getattr(self.encoder, "output_lengths", None)
        # Convolutions without padding at the end need frames behind the last of the chunk.
        if lengths and int(lengths(torch.tensor([chunk + self.right]))) < chunk // self.factor:
            raise ValueError(f"--right-seconds: the encoder needs more than {self.right} frames behind a chunk")
        return Windows(chunk + self.right, chunk)

    def init_state(self, batch: int) -> State:
        """The features on the left (B, left, F), at the end of their places, and how many there are (B,)."""
        parameter = next(self.encoder.parameters())
        empty = torch.zeros(batch, dtype=torch.int64, device=parameter.device)
        return [parameter.new_zeros(batch, self.left, self.num_features), empty]

    def stream(self, x_BTF: Tensor, x_len_B: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        """As `StreamingEncoder`."""
        chunk = x_BTF.shape[1] - self.right
        left_BLF, count_B = state
        all_BTF = torch.cat([left_BLF, x_BTF], dim=1)
        kept_B = (count_B + x_len_B.clamp(max=chunk)).clamp(max=self.left)
        heard_B = count_B + x_len_B
        # Each stream from its first frame on, as an utterance of its own.
        part_BTF = _shifted(all_BTF, self.left - count_B, all_BTF.shape[1])
        part_BTF = part_BTF * valid_mask(heard_B, part_BTF.shape[1])[..., None]
        h_BTD, h_len_B = self.encoder(part_BTF, heard_B)
        first_B, frames = count_B // self.factor, chunk // self.factor
        len_B = (h_len_B - first_B).clamp(0, frames)
        h_BTD = _shifted(h_BTD, first_B, frames) * valid_mask(len_B, frames)[..., None]
        return h_BTD, len_B, [all_BTF[:, chunk : chunk + self.left], kept_B]


def _shifted(x_BTD: Tensor, first_B: Tensor, frames: int) -> Tensor:
    """`frames` frames of each row from `first_B` on; behind the end, the last one again."""
    index_BT = first_B[:, None] + torch.arange(frames, device=x_BTD.device)
    return x_BTD.take_along_dim(index_BT.clamp(max=max(x_BTD.shape[1] - 1, 0))[..., None], dim=1)
