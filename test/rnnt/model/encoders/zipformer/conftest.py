"""Numbers of icefall's own zipformer, and this one with the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rnnt.loss import prune_ranges, pruned_joiner_loss, smoothed_loss
from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.model.encoders.zipformer.encoder import Zipformer

DATA = Path(__file__).resolve().parents[4] / "data" / "zipformer.npz"


@pytest.fixture(scope="session")
def vectors():
    """The arrays of test/data/zipformer.npz; texts are read as JSON."""
    with np.load(DATA) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    return {name: json.loads(str(a)) if a.dtype.kind == "U" else torch.from_numpy(a) for name, a in found.items()}


def formula(names, offset=1.01):
    """The weights with which the numbers were made. names: name -> shape, in order."""
    weights = {}
    for n, (name, shape) in enumerate(names.items()):
        size = int(np.prod(shape))
        w = np.sin(0.7 * n + 0.37 * np.arange(size) + offset)
        if name.endswith("bypass_scale"):
            w = 0.5 + 0.2 * w
        elif name.endswith("log_scale"):
            w = 0.3 * w
        elif len(shape) > 1:
            w = 0.8 * w / np.sqrt(size / shape[0])
        else:
            w = 0.1 * w
        weights[name] = torch.from_numpy(w.reshape(shape).astype(np.float32))
    return weights


@pytest.fixture(scope="session")
def weights_by_formula():
    """`formula`."""
    return formula


def our_name(name):
    """The name of one of icefall's encoder tensors here."""
    prefix, _, rest = name.partition(".")
    return f"embed.{rest}" if prefix == "encoder_embed" else rest


class ReferenceModel(torch.nn.Module):
    """The encoder here, with icefall's predictor, joiner and heads in plain operations, and weights by the formula."""

    def __init__(self, vectors, mode, chunk_size=8, left_context_frames=32):
        super().__init__()
        sizes = vectors["config"]
        lists = ("query_head_dim", "pos_head_dim", "value_head_dim")
        known = set(sizes) & set(ZipformerConfig.__dataclass_fields__)
        own = {name: [sizes[name]] if name in lists else sizes[name] for name in known}
        config = ZipformerConfig(
            **own, causal=mode == "causal", chunk_size=[chunk_size], left_context_frames=[left_context_frames]
        )
        self.encoder = Zipformer(config, 80)
        weights = formula(vectors[f"{mode}/names"])
        in_encoder = [name for name in weights if name.startswith("encoder")]
        self.encoder.load_state_dict({our_name(name): weights[name] for name in in_encoder})
        own = self.encoder.named_parameters()
        self.named = {("encoder_embed." if n.startswith("embed") else "encoder.") + n.removeprefix("embed."): p
                      for n, p in own}  # fmt: skip
        for name in [name for name in weights if name not in self.named]:
            self.named[name] = torch.nn.Parameter(weights[name])
        self.others = torch.nn.ParameterList([p for n, p in self.named.items() if not n.startswith("encoder")])
        self.y_BS = torch.nn.utils.rnn.pad_sequence([torch.tensor(y) for y in vectors["targets"]], batch_first=True)
        self.y_len_B = torch.tensor([len(y) for y in vectors["targets"]])

    def losses(self, x_BTF, x_len_B):
        """Simple, pruned and CTC loss, summed over the batch."""
        w, y_BS, y_len_B = self.named, self.y_BS, self.y_len_B
        h_BTD, h_len_B = self.encoder(x_BTF, x_len_B)
        g_BUD = F.embedding(F.pad(y_BS, (1, 0)), w["decoder.embedding.weight"])
        g_BDX = F.pad(g_BUD.transpose(1, 2), (w["decoder.conv.weight"].shape[2] - 1, 0))
        g_BUD = F.relu(F.conv1d(g_BDX, w["decoder.conv.weight"], groups=g_BUD.shape[2] // 4)).transpose(1, 2)

        def head(x, name):
            return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

        simple_B, px_grad, py_grad = smoothed_loss(
            head(h_BTD, "simple_am_proj"), head(g_BUD, "simple_lm_proj"), y_BS, h_len_B, y_len_B,
            blank_id=0, lm_only_scale=0.25, am_only_scale=0.0,
        )  # fmt: skip
        ranges_BTR = prune_ranges(px_grad, py_grad, h_len_B, y_len_B, 4, "regular")
        pruned_B, _ = pruned_joiner_loss(
            head(h_BTD, "joiner.encoder_proj"), head(g_BUD, "joiner.decoder_proj"),
            w["joiner.output_linear.weight"], w["joiner.output_linear.bias"],
            y_BS, ranges_BTR, h_len_B, y_len_B, blank_id=0,
        )  # fmt: skip
        log_probs_TBV = head(h_BTD, "ctc_output.1").log_softmax(-1).transpose(0, 1)
        ctc = F.ctc_loss(log_probs_TBV, y_BS, h_len_B, y_len_B, reduction="sum")
        return simple_B.sum(), pruned_B.sum(), ctc


@pytest.fixture(scope="session")
def reference_model(vectors):
    """`make(mode, chunk_size, left_context_frames)`: a `ReferenceModel` in evaluation mode."""
    return lambda *arguments: ReferenceModel(vectors, *arguments).eval()


def probes(tensor):
    """The two numbers that stand for a tensor: its norm, and a weighted sum."""
    flat = tensor.detach().double().flatten()
    weights = torch.sin(0.13 * torch.arange(len(flat), dtype=torch.float64) + 0.5)
    return torch.stack([flat.norm(), flat @ weights])


@pytest.fixture(scope="session")
def assert_same_probes():
    """`check(tensors, expected, tolerance)`: compare tensors by name with their probes, relative to the norm."""

    def check(tensors, expected, tolerance):
        for name, pair in expected.items():
            pair = torch.tensor(pair, dtype=torch.float64)
            assert (probes(tensors[name]) - pair).abs().max() <= tolerance * max(pair[0], 1e-6), name

    return check
