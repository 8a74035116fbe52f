"""The encoder in evaluation against icefall's own: outputs, losses, gradients; whole, causal, in chunks."""

import pytest
import torch

from rnnt.model.encoders.zipformer.config import ZipformerConfig
from rnnt.model.encoders.zipformer.encoder import Zipformer

MODES = ["offline", "causal"]


def assert_close(found, expected, tolerance=1e-5):
    """Within a fraction of the largest number."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("mode", MODES)
def test_outputs(mode, vectors, reference_model):
    encoder = reference_model(mode).encoder
    with torch.no_grad():
        embedded_BTD, len_B = encoder.embed(vectors["offline/x"], vectors["offline/x_len"])
        assert_close(embedded_BTD, vectors[f"{mode}/embed"])
        h_BTD, h_len_B = encoder(vectors["offline/x"], vectors["offline/x_len"])
    assert len_B.tolist() == [72] * 3
    assert h_len_B.tolist() == vectors[f"{mode}/h_len"].tolist()
    assert_close(h_BTD, vectors[f"{mode}/h"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("frames", [120, 77])
def test_an_utterance_in_a_batch_is_what_icefall_makes_of_it_alone(mode, frames, vectors, reference_model):
    """The end of the utterance is not the end of the batch: where icefall's own depends on the padding."""
    encoder = reference_model(mode).encoder
    lengths = torch.tensor([151, frames, 133])
    with torch.no_grad():
        h_BTD, h_len_B = encoder(vectors["offline/x"], lengths)
        alone_BTD, _ = encoder(vectors["offline/x"][1:2, :frames], lengths[1:2])
    assert_close(alone_BTD, vectors[f"{mode}/h_alone_{frames}"])
    assert_close(h_BTD[1:2, : h_len_B[1]], vectors[f"{mode}/h_alone_{frames}"])


@pytest.mark.parametrize("mode", MODES)
def test_losses_and_gradients(mode, vectors, reference_model, assert_same_probes):
    model = reference_model(mode)
    simple, pruned, ctc = model.losses(vectors["offline/x"], vectors["offline/x_len"])
    for name, loss in (("simple", simple), ("pruned", pruned), ("ctc", ctc)):
        assert loss.item() == pytest.approx(vectors[f"{mode}/{name}_loss"].item(), rel=1e-5)
    (0.5 * simple + pruned + 0.2 * ctc).backward()
    gradients = {name: p.grad for name, p in model.named.items() if p.grad is not None}
    expected = vectors[f"{mode}/grad_probes"]
    assert set(gradients) == set(expected)
    unused = [name for name in model.named if name not in gradients]
    assert len(unused) == 4 and all(name.endswith(".bypass_scale") for name in unused)
    # Small gradients that are differences of large sums: how far they are off depends on threads and processor
    # (downsampling up to 7e-4, the convolution 4e-6 to 1.02e-5).
    differences = {"downsample": 1e-3, "convnext.depthwise_conv": 3e-5}
    for name, pair in expected.items():
        tolerance = next((value for part, value in differences.items() if part in name), 1e-5)
        assert_same_probes(gradients, {name: pair}, tolerance)


GOLDEN = [
    ("offline", False, -1, -1),
    ("causal_full", True, -1, -1),
    ("causal_chunk8_leftall", True, 8, -1),
    ("causal_chunk16_left64", True, 16, 64),
]


@pytest.mark.parametrize("name, causal, chunk_size, left", GOLDEN, ids=[case[0] for case in GOLDEN])
def test_chunks_of_a_larger_model(name, causal, chunk_size, left, vectors, weights_by_formula):
    config = ZipformerConfig(
        num_encoder_layers=[1, 2, 1], downsampling_factor=[1, 2, 4], encoder_dim=[32, 48, 40],
        encoder_unmasked_dim=[32], feedforward_dim=[48, 64, 56], num_heads=[4, 4, 8],
        cnn_module_kernel=[15, 7, 7], causal=causal,
    )  # fmt: skip
    encoder = Zipformer(config, 80).eval()
    shapes = encoder.state_dict()
    icefall_names = {("encoder_embed." + n[6:] if n.startswith("embed.") else "encoder." + n): n for n in shapes}
    weights = weights_by_formula({n: list(shapes[icefall_names[n]].shape) for n in sorted(icefall_names)}, offset=1.0)
    assert len(weights) == (221 if causal else 197)
    encoder.load_state_dict({icefall_names[n]: weight for n, weight in weights.items()})
    encoder.set_chunks(chunk_size, left)
    i = torch.arange(2 * 151 * 80, dtype=torch.float64)
    x_BTF = (2 * torch.sin(0.011 * i) + torch.sin(0.37 * i) - 3).float().view(2, 151, 80)
    with torch.no_grad():
        h_BTD, _ = encoder(x_BTF, torch.tensor([151, 120]))
    assert_close(h_BTD[0], vectors[f"golden/{name}"])


def test_parameters_of_the_published_sizes():
    sizes = {
        "small": ([2], [192, 256, 256, 256, 256, 256], [512, 768, 768, 768, 768, 768]),
        "medium": ([2, 2, 3, 4, 3, 2], [192, 256, 384, 512, 384, 256], [512, 768, 1024, 1536, 1024, 768]),
        "large": ([2, 2, 4, 5, 4, 2], [192, 256, 512, 768, 512, 256], [512, 768, 1536, 2048, 1536, 768]),
    }
    expected = {  # parameters and tensors, without and with --causal
        "small": ((21_989_779, 555), (22_332_051, 627)),
        "medium": ((63_994_103, 731), (64_556_023, 827)),
        "large": ((146_625_594, 863), (147_467_066, 977)),
    }
    for name, (layers, dims, hidden) in sizes.items():
        for causal in (False, True):
            config = ZipformerConfig(
                num_encoder_layers=layers, encoder_dim=dims, feedforward_dim=hidden, encoder_unmasked_dim=[192],
                causal=causal,
            )  # fmt: skip
            with torch.device("meta"):
                state = Zipformer(config, 80).state_dict()
            assert (sum(p.numel() for p in state.values()), len(state)) == expected[name][causal]
