"""Streaming encoders as sherpa-onnx's online recogniser calls them: a window of features and a state in, both out.

Two of its layouts of a state serve. A causal Zipformer has that of "zipformer2", whose tensors the engine makes from
the sizes in the metadata. Of all other encoders the state is one row of numbers per stream: to the engine the outputs
of an "lstm" with one layer as wide as that. The engine has no "lstm" with a CTC layer: there the row is the history of
a convolution in a "zipformer2" whose other tensors are as small as the layout allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.checkpoints.onnx.graphs import blank_first
from rnnt.checkpoints.onnx.tracing import Axes, save, trace
from rnnt.errors import UserError
from rnnt.model.encoders.streaming import StreamingEncoder, Windows
from rnnt.model.encoders.zipformer.encoder import Zipformer

if TYPE_CHECKING:
    from rnnt.model.transducer import Transducer

PER_LAYER = ("key", "nonlin_attn", "val1", "val2", "conv1", "conv2")
EMBED_CHANNELS, FRONT_BINS = 128, 19  # of the Zipformer's front, as sherpa-onnx has it


class StreamingGraph(nn.Module):
    """A window of features (N, T, F) and the state of each stream -> output, new state.

    The output is the projected encoder output (N, U, J), or the CTC layer's log-probabilities (N, U, V), blank first.
    """

    order_V: Tensor

    def __init__(self, network: Transducer, size: int, ctc: bool = False) -> None:
        super().__init__()
        self.network = network
        self.size = size
        self.ctc = ctc
        self.register_buffer("order_V", torch.tensor(blank_first(network.vocab_size, network.blank_id)))

    def step(self, x_BTF: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One window, normalised, through the encoder and what follows it."""
        network = self.network
        x_BTF = (x_BTF - network.feature_mean) / network.feature_std
        x_len_B = torch.full_like(x_BTF[:, 0, 0], self.size).long()
        h_BTD, _, state = cast(StreamingEncoder, network.encoder).stream(x_BTF, x_len_B, state)
        if self.ctc:
            head: Any = network.heads["ctc"]
            return head.log_probs(h_BTD)[..., self.order_V], state
        return network.joiner.project_encoder(h_BTD), state

    def first_state(self, batch: int) -> list[Tensor]:
        """The state of streams that begin, zeros, in the layout of the graph."""
        raise NotImplementedError

    def metadata(self, windows: Windows) -> dict[str, int | str | Sequence[int]]:
        """What the engine wants to know."""
        raise NotImplementedError

    def axes(self) -> dict[str, int]:
        """The names of the tensors of the state, in order, and which axis of each counts the streams."""
        raise NotImplementedError


class RowGraph(StreamingGraph):
    """The state of a stream is one row of numbers."""

    def __init__(self, network: Transducer, size: int, ctc: bool = False) -> None:
        super().__init__(network, size, ctc)
        self.shapes = [tensor.shape[1:] for tensor in cast(StreamingEncoder, network.encoder).init_state(1)]
        self.width = sum(map(prod, self.shapes))

    def step_row(self, x_BTF: Tensor, row_BD: Tensor) -> tuple[Tensor, Tensor]:
        """`step` with a state (N, width)."""
        parts = row_BD.split([prod(shape) for shape in self.shapes], dim=1)
        out_BUD, state = self.step(x_BTF, [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes)])
        return out_BUD, torch.cat([part.flatten(1) for part in state], dim=1)


class LSTMGraph(RowGraph):
    """The layout "lstm": all of the state in s0 (1, N, width); s1 (1, N, 1) counts windows."""

    def forward(self, x_BTF: Tensor, s0_1BD: Tensor, s1_1B1: Tensor) -> tuple[Tensor, ...]:
        """As the class says."""
        out_BUD, row_BD = self.step_row(x_BTF, s0_1BD[0])
        return out_BUD, row_BD[None], s1_1B1 + 1

    def first_state(self, batch: int) -> list[Tensor]:
        """Zeros."""
        return [torch.zeros(1, batch, self.width), torch.zeros(1, batch, 1)]

    def metadata(self, windows: Windows) -> dict[str, int | str | Sequence[int]]:
        """One layer as wide as the state."""
        return {
            "model_type": "lstm", "num_encoder_layers": 1, "T": windows.size, "decode_chunk_len": windows.shift,
            "d_model": self.width, "rnn_hidden_size": 1,
        }  # fmt: skip

    def axes(self) -> dict[str, int]:
        """Two tensors."""
        return {"s0": 1, "s1": 1}


class HistoryGraph(RowGraph):
    """The layout "zipformer2" with one layer of `DIM` channels: the row, filled up with zeros, is its first history."""

    DIM = 4  # the fewest of which the layout takes three quarters

    def forward(self, x_BTF: Tensor, *theirs: Tensor) -> tuple[Tensor, ...]:
        """As the class says."""
        *unused, row_BDX, conv2, front, done_B = theirs
        out_BUD, row_BD = self.step_row(x_BTF, row_BDX.flatten(1)[:, : self.width])
        row_BDX = F.pad(row_BD, (0, self.DIM * self.depth - self.width)).unflatten(1, (self.DIM, self.depth))
        return out_BUD, *unused, row_BDX, conv2, front, done_B + self.size

    @property
    def depth(self) -> int:
        """Numbers per channel."""
        return -(-self.width // self.DIM)

    def first_state(self, batch: int) -> list[Tensor]:
        """Zeros."""
        small = torch.zeros(1, batch, 1)
        row_BDX = torch.zeros(batch, self.DIM, self.depth)
        nonlin = torch.zeros(1, batch, 1, 3 * self.DIM // 4)
        front = torch.zeros(batch, EMBED_CHANNELS, 3, FRONT_BINS)
        done_B = torch.zeros(batch, dtype=torch.int64)
        return [small, nonlin, small.clone(), small.clone(), row_BDX, row_BDX.clone(), front, done_B]

    def metadata(self, windows: Windows) -> dict[str, int | str | Sequence[int]]:
        """Sizes from which the engine makes the tensors of `first_state`."""
        ones = ("query_head_dims", "value_head_dims", "num_heads", "num_encoder_layers", "left_context_len")
        sizes = {"encoder_dims": self.DIM, "cnn_module_kernels": 2 * self.depth, **dict.fromkeys(ones, 1)}
        window = {"T": windows.size, "decode_chunk_len": windows.shift}
        return {"model_type": "zipformer2", "version": "1", **sizes, **window}

    def axes(self) -> dict[str, int]:
        """Eight tensors."""
        return _zipformer_axes(1)


class ZipformerGraph(StreamingGraph):
    """The layout "zipformer2": six tensors per layer, the frames of the front, and the frames so far."""

    def forward(self, x_BTF: Tensor, *theirs: Tensor) -> tuple[Tensor, ...]:
        """As the class says."""
        *layers, front_BCTF, done_B = theirs
        state = [_exchange(part, PER_LAYER[i % 6], to_theirs=False) for i, part in enumerate(layers)]
        out_BUD, state = self.step(x_BTF, [*state, front_BCTF.permute(0, 2, 3, 1), done_B])
        return out_BUD, *self._to_theirs(state)

    def _to_theirs(self, state: list[Tensor]) -> list[Tensor]:
        *layers, front_BTFC, done_B = state
        exchanged = [_exchange(part, PER_LAYER[i % 6], to_theirs=True) for i, part in enumerate(layers)]
        return [*exchanged, front_BTFC.permute(0, 3, 1, 2), done_B]

    def first_state(self, batch: int) -> list[Tensor]:
        """Zeros."""
        state = cast(StreamingEncoder, self.network.encoder).init_state(batch)
        return [part.contiguous() for part in self._to_theirs(state)]

    def metadata(self, windows: Windows) -> dict[str, int | str | Sequence[int]]:
        """The sizes of each stack."""
        encoder = cast(Zipformer, self.network.encoder)
        sizes, chunks = encoder.sizes, encoder.chunks
        lists = {
            "encoder_dims": "encoder_dim", "query_head_dims": "query_head_dim", "value_head_dims": "value_head_dim",
            "num_heads": "num_heads", "num_encoder_layers": "num_encoder_layers",
            "cnn_module_kernels": "cnn_module_kernel",
        }  # fmt: skip
        found: dict[str, Any] = {name: [getattr(one, ours) for one in sizes] for name, ours in lists.items()}
        left = [chunks.size * chunks.left // one.downsampling_factor for one in sizes]
        window = {"T": windows.size, "decode_chunk_len": windows.shift}
        return {"model_type": "zipformer2", "version": "1", **found, "left_context_len": left, **window}

    def axes(self) -> dict[str, int]:
        """Six tensors per layer and two."""
        return _zipformer_axes(sum(one.num_encoder_layers for one in cast(Zipformer, self.network.encoder).sizes))


def _zipformer_axes(layers: int) -> dict[str, int]:
    """The tensors of the layout "zipformer2"."""
    named = {f"cached_{part}_{i}": int("conv" not in part) for i in range(layers) for part in PER_LAYER}
    return {**named, "embed_states": 0, "processed_lens": 0}


def _exchange(part: Tensor, kind: str, to_theirs: bool) -> Tensor:
    """A tensor of a layer's state between the two layouts."""
    if kind == "nonlin_attn":
        return part[None] if to_theirs else part[0]
    if kind.startswith("conv"):
        return part.transpose(1, 2)
    return part.transpose(0, 1)


def windows_of(network: Transducer, chunk_size: int, left_context_frames: int) -> Windows:
    """Set the chunks of an encoder, in frames of 20 ms, and return its windows; `UserError` where it can't stream."""
    encoder = network.encoder
    if not isinstance(encoder, StreamingEncoder):
        raise UserError(f"--streaming true: the encoder {network.config.encoder.name} hears the whole utterance")
    try:
        if isinstance(encoder, Zipformer):
            encoder.set_chunks(chunk_size, left_context_frames)
            if encoder.config.embed_channels[-1] != EMBED_CHANNELS:
                raise ValueError(f"sherpa-onnx knows a zipformer with {EMBED_CHANNELS} channels in front alone")
            if network.predictor is None and not has_streaming_ctc(network):
                raise ValueError("sherpa-onnx knows a zipformer with a CTC layer for 80 filters alone")
        return encoder.windows(2 * chunk_size)
    except ValueError as error:
        raise UserError(f"--streaming true: {error}") from None


def has_streaming_ctc(network: Transducer) -> bool:
    """Whether there is a CTC layer that the engine can call; its Zipformers with one have a front of fixed width."""
    encoder = network.encoder
    is_narrow = isinstance(encoder, Zipformer) and encoder.init_state(1)[-2].shape[2] != FRONT_BINS
    return "ctc" in network.heads and not is_narrow


def make_graph(network: Transducer, windows: Windows, ctc: bool = False) -> StreamingGraph:
    """The graph in the layout of the encoder and of what follows it: the joiner's projection, or the CTC layer."""
    layout = ZipformerGraph if isinstance(network.encoder, Zipformer) else HistoryGraph if ctc else LSTMGraph
    return layout(network, windows.size, ctc)


def write_streaming_encoder(path: Path, network: Transducer, windows: Windows, ctc: bool = False) -> None:
    """Write encoder.onnx with a state, or ctc.onnx."""
    graph = make_graph(network, windows, ctc)
    x_BTF, state = torch.randn(2, windows.size, network.config.num_features), graph.first_state(2)
    axes: dict[str, Axes] = {name: {axis: "N"} for name, axis in graph.axes().items()}
    output = "log_probs" if ctc else "encoder_out"
    outputs: dict[str, Axes] = {output: {0: "N"}, **{f"new_{name}": one for name, one in axes.items()}}
    model = trace(graph, (x_BTF, *state), {"x": {0: "N"}, **axes}, outputs)
    save(model, path, {**graph.metadata(windows), "comment": network.config.encoder.name})
