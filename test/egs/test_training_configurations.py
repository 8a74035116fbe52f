"""Every shipped configuration of a training learns: 50 updates on a fixed batch, with its own losses and schedule.

Layers, kinds, dropout, losses, optimizer and learning rate are those of the file. So that a CPU does it in seconds,
widths are an eighth, vocabulary and batch are small, and the 50 updates go through the whole warm-up.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rnnt.config_files import read_config
from rnnt.model.objectives.base import TrainingModel, Utterances
from rnnt.model.transducer import Transducer
from rnnt.optim.optimizer import clip_gradients, make_optimizer, set_learning_rate
from rnnt.optim.schedule import TrainingProgress
from rnnt.options import make_parser, option_names, parse
from rnnt.train import main
from rnnt.training.config import Options

ROOT = Path(__file__).parents[2]
# Of the data and the preparation, or completed by others.
OTHERS = ("fbank", "synthetic", "base", "prepare", "run", "finetune")
CONFIGS = [path for path in sorted((ROOT / "egs").glob("*/*/conf/**/*.yaml")) if not path.name.startswith(OTHERS)]
WIDTHS = [
    "encoder_dim", "encoder_unmasked_dim", "encoder_hidden_dim", "feedforward_dim", "subsampling_channels",
    "predictor_dim", "joiner_dim",
]  # fmt: skip
VOCAB, UPDATES = 32, 50


def name(path):
    return str(path.relative_to(ROOT / "egs"))


def load(*paths):
    words = [word for path in paths for word in ("--config", str(path))]
    (options,), _ = parse(make_parser("", Options), [Options], words)
    return options


def eighth(width):
    """Of a width, or of each in a list."""
    return [eighth(w) for w in width] if isinstance(width, list) else max(width // 8, 4)


def narrow(model):
    """The model's options with an eighth of the widths."""
    blank_id = VOCAB - 1 if model.blank_id else 0
    sizes = {"num_features": model.num_features or 80, "vocab_size": VOCAB, "blank_id": blank_id}
    parts = {part: getattr(model, part) for part in ("encoder", "predictor", "joiner")}
    for part, config in parts.items():
        widths = {field: eighth(getattr(config, field)) for field in WIDTHS if hasattr(config, field)}
        parts[part] = replace(config, **widths)
    return replace(model, **parts, **sizes)


def batch(num_features):
    """Four utterances of 0.3 to 0.8 s whose tokens can be heard: each is a pattern of its own."""
    generator = torch.Generator().manual_seed(0)
    patterns_VF = 2 * torch.randn(VOCAB, num_features, generator=generator)
    y_len_B = torch.tensor([5, 10, 7, 4])
    y_BS = torch.randint(1, VOCAB - 1, (4, 10), generator=generator)
    x_BTF = patterns_VF[y_BS].repeat_interleave(8, dim=1)
    return x_BTF + 0.3 * torch.randn(x_BTF.shape, generator=generator), 8 * y_len_B, y_BS, y_len_B


def warm_up(schedule, fraction):
    """The progress when a fraction of the warm-up is over, in epochs of 500 updates."""
    step = fraction * (schedule.warmup_epochs * 500 if schedule.name == "hold" else schedule.warmup_steps)
    return TrainingProgress(int(step), 0.0, 1 + int(step) // 500, 500)


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_loss_falls(path):
    options = load(path)
    torch.manual_seed(0)
    model = TrainingModel(Transducer(narrow(options.model)), options.loss.loss)
    optim, schedule = options.optim.optimizer, options.optim.schedule
    optimizer = make_optimizer(model, optim)
    x_BTF, x_len_B, y_BS, y_len_B = batch(model.network.config.num_features)
    copies = max(loss.copies for loss in options.loss.loss)
    data = Utterances(x_BTF.repeat(copies, 1, 1), x_len_B.repeat(copies), y_BS, y_len_B)
    losses = []
    for step in range(UPDATES):
        set_learning_rate(optimizer, schedule.learning_rate(optim.base_lr, warm_up(schedule, step / UPDATES)))
        optimizer.zero_grad()
        result = model(data, 0)
        (result.total / len(y_BS)).backward()
        assert clip_gradients(model.parameters(), optim).isfinite()
        optimizer.step()
        losses.append(result.total.item())
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_every_key_has_an_effect(path):
    """An option of a component that the file does not choose is refused, and so are unknown ones."""
    assert set(read_config(path)) <= option_names(load(path))


@pytest.mark.parametrize("size", ["s", "m", "l", "m-causal", "l-cr-ctc"])
def test_fine_tuning_changes_how_a_zipformer_learns_and_not_what_it_is(size):
    """A rate that hardly falls from the first update on, and the whole loss."""
    folder = ROOT / "egs/librispeech/ASR/conf"
    plain, options = (
        load(folder / f"zipformer-{size}.yaml"),
        load(folder / f"zipformer-{size}.yaml", folder / "finetune.yaml"),
    )
    assert (options.model, options.batch, options.augment) == (plain.model, plain.batch, plain.augment)
    optim, schedule = options.optim.optimizer, options.optim.schedule
    assert (optim.name, schedule.name, optim.base_lr) == ("scaled_adam", "eden", 0.0045)
    rates = [
        schedule.learning_rate(optim.base_lr, TrainingProgress(step, 0.0, epoch, 1000))
        for step, epoch in ((0, 1), (500, 1), (20_000, 20))
    ]
    assert rates == pytest.approx([0.0045] * 3, rel=0.03)
    pruned = next(loss for loss in options.loss.loss if loss.name == "pruned")
    assert pruned.warm_step == 0 and pruned.simple_loss_scale == 0.5


SIZES = {
    "librispeech/ASR/conf/small.yaml": 1_901_456,
    "librispeech/ASR/conf/small-ctc.yaml": 1_488_596,
    "librispeech/ASR/conf/train.yaml": 34_752_432,
    "librispeech/ASR/conf/lstm.yaml": 84_664_372,
    "librispeech/ASR/conf/conformer.yaml": 78_901_596,
    "librispeech/ASR/conf/tdt.yaml": 78_140_141,
    # As icefall's recipe prints them.
    "librispeech/ASR/conf/zipformer-s.yaml": 23_285_615,
    "librispeech/ASR/conf/zipformer-m.yaml": 65_549_011,
    "librispeech/ASR/conf/zipformer-l.yaml": 148_439_574,
    "librispeech/ASR/conf/zipformer-m-causal.yaml": 66_110_931,
    "librispeech/ASR/conf/zipformer-l-cr-ctc.yaml": 148_824_074,
}


def printed_size(path, capsys, *given):
    """The parameters that `train.py --print-model` counts, without data or tokenizer."""
    main(["--config", str(path), "--print-model", *given])
    return int(capsys.readouterr().out.split()[-1].replace(",", ""))


@pytest.mark.parametrize("path", [path for path in CONFIGS if "librispeech" in name(path)], ids=name)
def test_print_model_shows_the_size(path, capsys):
    """A file that leaves the sizes to the data gets them on the command line."""
    given = [] if load(path).model.vocab_size else ["--num-features", "80", "--vocab-size", "500"]
    assert printed_size(path, capsys, *given) == SIZES.get(name(path), 49_006_080)


def test_sizes_in_the_documents(capsys):
    rows = re.findall(r"^\| `([\w/.-]+\.yaml)` \|[^|]*\| ([\d,]+) \|", (ROOT / "docs/models.md").read_text(), re.M)
    stated = {f"librispeech/ASR/conf/{file}": int(size.replace(",", "")) for file, size in rows}
    assert stated == SIZES
    digits = ROOT / "egs/digits/ASR/conf/train.yaml"
    bins = read_config(digits.with_name("fbank.yaml"))["num_mel_bins"]
    size = printed_size(digits, capsys, "--num-features", str(bins), "--vocab-size", "30")
    assert f"{size / 1e6:.1f} M parameters" in digits.read_text()
    assert f"model of {size / 1e6:.1f} M parameters" in " ".join((ROOT / "README.md").read_text().split())
