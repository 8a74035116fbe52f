"""Every shipped configuration of a training learns: 50 updates on a fixed batch, with its own losses and schedule.

Layers, kinds, dropout, losses, optimizer and learning rate are those of the file. So that a CPU does it in seconds,
widths are an eighth, vocabulary and batch are small, and the 50 updates go through the whole warm-up.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rnnt.model.transducer import Transducer
from rnnt.optim.optimizer import clip_gradients, make_optimizer, set_learning_rate
from rnnt.optim.schedule import Moment, learning_rate
from rnnt.options import make_parser, parse, read_config
from rnnt.train import CLASSES, Options, main

ROOT = Path(__file__).parents[2]
OF_THE_DATA = ("fbank", "synthetic")
CONFIGS = [path for path in sorted((ROOT / "egs").glob("*/*/conf/**/*.yaml")) if not path.name.startswith(OF_THE_DATA)]
WIDTHS = ["encoder_dim", "encoder_hidden_dim", "feedforward_dim", "subsampling_channels", "predictor_dim", "joiner_dim"]
VOCAB, UPDATES = 32, 50


def name(path):
    return str(path.relative_to(ROOT / "egs"))


def load(path):
    return Options(*parse(make_parser("", *CLASSES), CLASSES, ["--config", str(path)])[0])


def narrow(model):
    """The model's options with an eighth of the widths."""
    blank_id = VOCAB - 1 if model.blank_id else 0
    widths = {field: max(getattr(model, field) // 8, 4) for field in WIDTHS}
    sizes = {"num_features": model.num_features or 80, "vocab_size": VOCAB, "blank_id": blank_id}
    return replace(model, **widths, **sizes)


def batch(num_features):
    """Four utterances of 0.3 to 0.8 s whose tokens can be heard: each is a pattern of its own."""
    generator = torch.Generator().manual_seed(0)
    patterns_VF = 2 * torch.randn(VOCAB, num_features, generator=generator)
    y_len_B = torch.tensor([5, 10, 7, 4])
    y_BS = torch.randint(1, VOCAB - 1, (4, 10), generator=generator)
    x_BTF = patterns_VF[y_BS].repeat_interleave(8, dim=1)
    return x_BTF + 0.3 * torch.randn(x_BTF.shape, generator=generator), 8 * y_len_B, y_BS, y_len_B


def warm_up(optim, share):
    """The moment when `share` of the warm-up is over, in epochs of 500 updates."""
    step = share * (optim.warmup_epochs * 500 if optim.schedule == "hold" else optim.warmup_steps)
    return Moment(int(step), 0.0, 1 + int(step) // 500, 500)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_loss_falls(path):
    options = load(path)
    torch.manual_seed(0)
    model = Transducer(narrow(options.model), options.loss)
    optimizer = make_optimizer(model, options.optim)
    data = batch(model.config.num_features)
    losses = []
    for step in range(UPDATES):
        set_learning_rate(optimizer, learning_rate(options.optim, warm_up(options.optim, step / UPDATES)))
        optimizer.zero_grad()
        result = model(*data, *options.loss.scales(0))
        (result.total / len(data[0])).backward()
        assert clip_gradients(model.parameters(), options.optim).isfinite()
        optimizer.step()
        losses.append(result.total.item())
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


# Options that have a meaning only where this holds.
NEEDED = {
    "encoder_bidirectional": lambda o: o.model.encoder == "lstm",
    "encoder_hidden_dim": lambda o: o.model.encoder == "deep_lstm",
    "feedforward_dim": lambda o: o.model.encoder in ("deep_lstm", "conformer"),
    "attention_heads": lambda o: o.model.encoder == "conformer",
    "conv_kernel": lambda o: o.model.encoder == "conformer",
    "layers_before_stacking": lambda o: o.model.encoder == "stacked_lstm",
    "subsampling_channels": lambda o: o.model.encoder != "stacked_lstm",
    "context_size": lambda o: o.model.predictor == "stateless",
    "predictor_layers": lambda o: o.model.predictor == "lstm",
    "lstm_init_scale": lambda o: o.model.encoder == "stacked_lstm" or o.model.predictor == "lstm",
    **dict.fromkeys(
        ["prune_range", "lm_scale", "am_scale", "simple_loss_scale", "warm_step"], lambda o: o.loss.loss == "pruned"
    ),
    "clip_norm": lambda o: o.optim.optimizer != "scaled_adam",
    "weight_decay": lambda o: o.optim.optimizer != "scaled_adam",
    "clip_scale": lambda o: o.optim.optimizer == "scaled_adam",
    "warmup_steps": lambda o: o.optim.schedule != "hold",
    "final_lr_scale": lambda o: o.optim.schedule in ("cosine", "linear"),
    **dict.fromkeys(["warmup_epochs", "hold_epochs", "lr_gamma", "min_lr"], lambda o: o.optim.schedule == "hold"),
    **dict.fromkeys(["lr_batches", "lr_epochs"], lambda o: o.optim.schedule == "eden"),
}


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_every_key_has_an_effect(path):
    options = load(path)
    assert [key for key in read_config(path) if key in NEEDED and not NEEDED[key](options)] == []


SIZES = {
    "librispeech/ASR/conf/small.yaml": 1_901_456,
    "librispeech/ASR/conf/train.yaml": 34_752_432,
    "librispeech/ASR/conf/lstm.yaml": 84_664_372,
    "librispeech/ASR/conf/conformer.yaml": 78_901_596,
}


@pytest.mark.parametrize("path", [path for path in CONFIGS if "librispeech" in name(path)], ids=name)
def test_print_model_shows_the_size(path, capsys):
    """Without data or tokenizer; a file that leaves the sizes to the data gets them on the command line."""
    given = [] if load(path).model.vocab_size else ["--num-features", "80", "--vocab-size", "500"]
    main(["--config", str(path), "--print-model", *given])
    total = int(capsys.readouterr().out.split()[-1].replace(",", ""))
    assert total == SIZES.get(name(path), 49_006_080)
