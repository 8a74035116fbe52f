"""Piece by piece an encoder gives what it gives for the whole, for streams that begin and end at different times."""

import pytest
import torch

from rnnt.model.config import ModelConfig
from rnnt.model.encoders import ENCODERS
from rnnt.model.encoders.streaming import StreamingEncoder, join_states, split_states
from rnnt.model.encoders.windowed import WindowedEncoder
from rnnt.options import make

F = 20
SIZES = {
    "lstm": {"encoder_dim": 16, "encoder_layers": 2, "subsampling_channels": 3},
    "deep_lstm": {
        "encoder_dim": 12,
        "encoder_layers": 2,
        "encoder_hidden_dim": 20,
        "feedforward_dim": 24,
        "subsampling_channels": 3,
        "subsampling_factor": 8,
    },
    "stacked_lstm": {"encoder_dim": 12, "encoder_layers": 3, "subsampling_factor": 6},
    "zipformer": {
        "encoder_dim": [16, 24, 32, 24],
        "encoder_unmasked_dim": [16],
        "num_encoder_layers": [1, 2, 1, 1],
        "num_heads": [2, 2, 4, 2],
        "downsampling_factor": [1, 2, 4, 2],
        "feedforward_dim": [32],
        "cnn_module_kernel": [15, 7, 5, 7],
        "query_head_dim": [8],
        "causal": True,
        "chunk_size": [16],
        "left_context_frames": [32],
    },
    "conformer": {
        "encoder_dim": 16,
        "encoder_layers": 2,
        "attention_heads": 2,
        "feedforward_dim": 24,
        "conv_kernel": 5,
        "subsampling_channels": 3,
    },
}
WHOLE = {"lstm": {"encoder_bidirectional": True}, "conformer": {}, "zipformer": {"causal": False}}  # fmt: skip


def make_encoder(name, **options):
    torch.manual_seed(0)
    config = make(ModelConfig, encoder=name, num_features=F, vocab_size=5, **{**SIZES[name], **options}).encoder
    encoder = ENCODERS.implementation(config)(config, F)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2) if parameter.dim() < 2 else None
    for buffer_name, buffer in encoder.named_buffers():
        if "mean" in buffer_name:
            buffer.normal_(std=0.3)
    return encoder.eval()


def features(lengths):
    x_BTF = torch.zeros(len(lengths), max(lengths), F)
    generator = torch.Generator().manual_seed(1)
    for row, length in zip(x_BTF, lengths):
        row[:length] = torch.randn(length, F, generator=generator)
    return x_BTF


def expected_length(encoder, frames):
    """Frames of output of an utterance."""
    with torch.no_grad():
        return int(encoder(torch.zeros(1, frames, F), torch.tensor([frames]))[1])


class Stream:
    """One stream: its features, where it is, its state, and what came out."""

    def __init__(self, encoder, x_TF, chunk):
        self.x_TF, self.windows, self.position = x_TF, encoder.windows(chunk), 0
        self.state, self.found = encoder.init_state(1), []
        self.expected = expected_length(getattr(encoder, "encoder", encoder), len(x_TF))

    @property
    def is_over(self):
        return sum(map(len, self.found)) >= self.expected

    def window(self):
        part = self.x_TF[self.position : self.position + self.windows.size]
        self.position += self.windows.shift
        return torch.nn.functional.pad(part, (0, 0, 0, self.windows.size - len(part))), len(part)


@torch.no_grad()
def run(encoder, x_BTF, lengths, chunk, start_later=0):
    """Outputs of all streams; from the second one on each begins `start_later` windows behind the one before."""
    streams = [Stream(encoder, x_TF[:length], chunk) for x_TF, length in zip(x_BTF, lengths)]
    tick = 0
    while not all(stream.is_over for stream in streams):
        active = [s for i, s in enumerate(streams) if tick >= i * start_later and not s.is_over]
        tick += 1
        if not active:
            continue
        windows, counts = zip(*(stream.window() for stream in active))
        state = join_states([stream.state for stream in active])
        h_BTD, len_B, state = encoder.stream(torch.stack(windows), torch.tensor(counts), state)
        assert not h_BTD[torch.arange(h_BTD.shape[1])[None] >= len_B[:, None]].any()
        for stream, h_TD, count, own in zip(active, h_BTD, len_B, split_states(state)):
            stream.found.append(h_TD[:count])
            stream.state = own
    return [torch.cat(stream.found) for stream in streams]


@pytest.mark.parametrize(
    "name,options,chunk,start_later",
    [
        ("lstm", {}, 0, 0), ("lstm", {}, 0, 2), ("lstm", {}, 5, 2), ("deep_lstm", {}, 40, 2),
        ("lstm", {"adapter_dim": 6}, 5, 2), ("deep_lstm", {"adapter_dim": 6}, 40, 2),
        ("zipformer", {"adapter_dim": 6}, 0, 2), ("stacked_lstm", {}, 1, 2), ("zipformer", {}, 0, 0),
        ("zipformer", {}, 0, 2),
        ("zipformer", {"chunk_size": [8], "left_context_frames": [64]}, 0, 2),
        ("zipformer", {"chunk_size": [32], "left_context_frames": [64], "downsampling_factor": [2, 1, 4, 8]}, 0, 2),
    ],
)  # fmt: skip
def test_pieces_give_what_the_whole_gives(name, options, chunk, start_later):
    encoder = make_encoder(name, **options)
    assert isinstance(encoder, StreamingEncoder)
    lengths = [213, 150, 64, 31, 9]
    x_BTF = features(lengths)
    with torch.no_grad():
        wanted_BTD, len_B = encoder(x_BTF, torch.tensor(lengths))
    found = run(encoder, x_BTF, lengths, chunk, start_later)
    for wanted_TD, length, h_TD in zip(wanted_BTD, len_B, found):
        assert len(h_TD) == length
        torch.testing.assert_close(h_TD, wanted_TD[:length], rtol=1e-5, atol=2e-5)


def test_a_window_sees_no_further_than_it_says():
    for name in SIZES.keys() - {"conformer"}:
        encoder = make_encoder(name)
        windows = encoder.windows()
        x_BTF = features([windows.size + 50])
        state = encoder.init_state(1)
        with torch.no_grad():
            h_BTD, len_B, _ = encoder.stream(x_BTF[:, : windows.size], torch.tensor([windows.size]), state)
        assert int(len_B) == windows.shift // encoder.config.subsampling_factor == h_BTD.shape[1]


@pytest.mark.parametrize(
    "name,options,match",
    [
        ("lstm", {"encoder_bidirectional": True}, "--encoder-bidirectional false"),
        ("zipformer", {"causal": False}, "--causal true"),
        ("zipformer", {"chunk_size": [16, 32]}, "--chunk-size"),
        ("zipformer", {"left_context_frames": [-1]}, "--left-context-frames"),
    ],
)
def test_encoders_that_need_the_whole_utterance_say_so(name, options, match):
    with pytest.raises(ValueError, match=match):
        make_encoder(name, **options).windows()


@pytest.mark.parametrize("left,right", [(220, 220), (32, 24)])
@pytest.mark.parametrize("name", WHOLE)
def test_windows_are_heard_as_utterances(name, left, right):
    """Each chunk is what the encoder gives for its window alone; where that holds everything, what the whole gives."""
    encoder = make_encoder(name, **WHOLE[name])
    windowed, lengths, chunk = WindowedEncoder(encoder, 4, F, left, right), [213, 150, 64, 31, 9], 40
    x_BTF = features(lengths)
    found = run(windowed, x_BTF, lengths, chunk, start_later=1)
    for x_TF, length, h_TD in zip(x_BTF, lengths, found):
        wanted = []
        for begin in range(0, 4 * expected_length(encoder, length), chunk):
            first = max(0, begin - left)
            part_TF = x_TF[first : min(length, begin + chunk + right)]
            with torch.no_grad():
                h_BTD, _ = encoder(part_TF[None], torch.tensor([len(part_TF)]))
            wanted.append(h_BTD[0, (begin - first) // 4 :][: chunk // 4])
        torch.testing.assert_close(h_TD, torch.cat(wanted), rtol=1e-5, atol=2e-5)
        if left > length and right > length:
            with torch.no_grad():
                whole_BTD, _ = encoder(x_TF[None, :length], torch.tensor([length]))
            torch.testing.assert_close(h_TD, whole_BTD[0], rtol=1e-5, atol=2e-5)


def test_windows_that_end_too_early_say_so():
    with pytest.raises(ValueError, match="--right-seconds"):
        WindowedEncoder(make_encoder("zipformer", causal=False), 4, F, 100, 0).windows(32)


def test_conformer_has_no_state():
    assert not isinstance(make_encoder("conformer"), StreamingEncoder)
