"""Training on a GPU: the losses and gradients of every encoder and objective are those of a CPU.

Without a GPU, training in half precision is tested with a stand-in for a GPU's autocast.
"""

import copy
from dataclasses import fields

import pytest
import torch
from torch.overrides import TorchFunctionMode

from rnnt.model.config import JoinerConfig, ModelConfig, StatelessConfig
from rnnt.model.encoders import ENCODERS
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.regularisers import chance
from rnnt.model.regularisers.schedule import set_progress
from rnnt.model.transducer import Transducer
from rnnt.options import make as make_config
from rnnt.training.config import LossConfig

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIZES = {"encoder_dim": 32, "encoder_layers": 3, "encoder_hidden_dim": 48, "feedforward_dim": 64, "conv_kernel": 5,
         "attention_heads": 2, "subsampling_channels": 4, "predictor_dim": 24, "joiner_dim": 24, "num_features": 20,
         "vocab_size": 30, "dropout": 0.0}  # fmt: skip
ZIPFORMER = {"encoder_dim": [16, 32], "encoder_unmasked_dim": [16], "num_encoder_layers": [2], "num_heads": [2],
             "downsampling_factor": [1, 2], "feedforward_dim": [48], "cnn_module_kernel": [5]}  # fmt: skip
# https://docs.pytorch.org/docs/stable/amp.html: what CUDA's autocast computes in float32, and a CPU's as it comes
IN_FLOAT32 = {
    *("exp", "expm1", "log", "log1p", "log2", "pow", "__pow__", "reciprocal", "rsqrt", "tan", "softplus", "cumprod"),
    *("layer_norm", "group_norm", "nll_loss", "norm", "vector_norm", "softmax", "log_softmax", "logsumexp", "cumsum"),
    *("sum", "prod"),
}


class AutocastOfGPU(TorchFunctionMode):
    """Where autocast is on, functions of `IN_FLOAT32` get float32 for half precision."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu") and getattr(function, "__name__", "") in IN_FLOAT32 and "out" not in kwargs:
            args = [a.float() if isinstance(a, torch.Tensor) and a.dtype == torch.bfloat16 else a for a in args]
        return function(*args, **kwargs)


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Products in float32, not in TF32."""
    if torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def make_training_model(encoder: str, loss: str) -> TrainingModel:
    """A small model with its objectives, without dropout."""
    torch.manual_seed(0)
    classes = (ENCODERS.config(encoder), StatelessConfig, JoinerConfig, ModelConfig)
    known = {f.name for cls in classes for f in fields(cls)}
    wanted = {**SIZES, **(ZIPFORMER if encoder == "zipformer" else {})}
    sizes = {name: value for name, value in wanted.items() if name in known}
    network = Transducer(make_config(ModelConfig, **sizes, encoder=encoder))
    set_progress(network, 0.0)  # where random choices are the most frequent
    return TrainingModel(network, make_config(LossConfig, loss=loss.split(",")).loss).train()


@pytest.fixture(autouse=True)
def masks_of_a_cpu(monkeypatch):
    """Masks are drawn on the CPU, so that both devices drop the same."""
    drawn = chance.kept
    monkeypatch.setattr(
        chance, "kept", lambda shape, drop, like: drawn(shape, drop, torch.empty(0, dtype=like.dtype)).to(like.device)
    )


def losses_and_gradients(
    model: TrainingModel, device: str, precision: torch.dtype | None = None, seed: int = 0
) -> dict[str, object]:
    """The sum of the losses of one batch, and the gradient of each parameter, on the CPU."""
    generator = torch.Generator().manual_seed(1)
    x_BTF = torch.randn(5, 160, 20, generator=generator)
    y_BS = torch.randint(1, 30, (5, 12), generator=generator)
    batch = Utterances(
        x_BTF.to(device), torch.tensor([160, 120, 90, 160, 55]), y_BS.to(device), torch.tensor([12, 9, 0, 5, 3])
    )
    model = copy.deepcopy(model).to(device)
    torch.manual_seed(seed)
    with torch.autocast(device, precision, enabled=precision is not None):
        total = model(batch, 0).total
    total.backward()
    return {
        "total": total.detach().cpu(),
        **{name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None},
    }


@on_gpu
@pytest.mark.parametrize("loss", ["pruned,ctc", "full"])
@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_losses_and_gradients_are_those_of_a_cpu(encoder, loss):
    model = make_training_model(encoder, loss)
    here, there = (losses_and_gradients(model, device) for device in ("cpu", "cuda"))
    for name, wanted in here.items():
        error = (there[name] - wanted).norm() / wanted.norm().clamp(min=0.1)  # some are 0 but for rounding
        assert error < 2e-3, f"{name}: {error:.1e}"


def assert_bfloat16_stays_near(model: TrainingModel, device: str, seed: int) -> None:
    wanted = losses_and_gradients(model, device, seed=seed)
    with AutocastOfGPU():
        found = losses_and_gradients(model, device, torch.bfloat16, seed)
    assert abs(found["total"] / wanted["total"] - 1) < 2e-2
    assert all(torch.isfinite(grad).all() for grad in found.values())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])
@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_bfloat16_stays_near(encoder, device, skip_without_bf16):
    if "lstm" in encoder:
        skip_without_bf16(device)
    model = make_training_model(encoder, "full")
    for seed in range(6 if encoder == "zipformer" else 1):  # whose parts are left out or replaced at random
        assert_bfloat16_stays_near(model, device, seed)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=on_gpu)])
@pytest.mark.parametrize("loss", ["pruned,ctc", "tdt", "ctc"])
def test_every_objective_in_bfloat16(loss, device):
    assert_bfloat16_stays_near(make_training_model("conformer", loss), device, 0)


def test_the_stand_in_widens_sums():
    x = torch.ones(3, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert x.sum().dtype == torch.bfloat16
        with AutocastOfGPU():
            assert (x.sum().dtype, torch.sum(x).dtype, (x + x).dtype) == (torch.float32, torch.float32, torch.bfloat16)


@on_gpu
def test_gradients_repeat_bit_for_bit():
    model = make_training_model("conformer", "pruned")
    first, second = (losses_and_gradients(model, "cuda") for _ in range(2))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
