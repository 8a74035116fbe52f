"""The configurations of the MLPerf benchmark say what its table says."""

from pathlib import Path

import numpy as np
import pytest

from rnnt.config_files import read_config
from rnnt.data.augment import draw_ratio
from rnnt.data.config import AugmentConfig, FeatureConfig
from rnnt.options import make_parser, parse
from rnnt.train import main
from rnnt.training.config import Options

FOLDER = Path(__file__).parents[2] / "egs/librispeech/ASR/conf/mlperf"
# Learning rate, warm-up, hold, gamma, beta 1, beta 2, decay of the average, scale of the first weights.
TABLE = {
    "512": (0.0062, 1, 11, 0.915, 0.9, 0.9985, 0.994, 0.45),
    "1024": (0.007447, 3, 17, 0.9037, 0.9, 0.999, 0.992, 0.5),
    "1024-reference": (0.004, 6, 40, 0.935, 0.9, 0.999, 0.999, 0.5),
    "1536": (0.0072, 5, 26, 0.92, 0.9, 0.999, 0.995, 0.5),
    "2048": (0.007, 6, 33, 0.939, 0.9, 0.999, 0.995, 0.5),
    "3072": (0.009, 9, 40, 0.94, 0.9, 0.995, 0.985, 0.35),
    "4096": (0.013, 6, 33, 0.955, 0.833, 0.98, 0.995, 0.5),
    "6144": (0.014, 16, 40, 0.97, 0.82, 0.98, 0.96, 0.5),
}
NAMES = ("base_lr", "warmup_epochs", "hold_epochs", "lr_gamma", "beta1", "beta2", "ema_decay", "lstm_init_scale")
NUM_EPOCHS = {"4096": 130, "6144": 150}
# What all share.
SHARED = {
    "encoder": "stacked_lstm", "subsampling_factor": 6, "encoder_dim": 1024, "encoder_layers": 5,
    "layers_before_stacking": 2, "dropout": 0.1, "predictor": "lstm", "predictor_dim": 512, "predictor_layers": 2,
    "predictor_dropout": 0.3, "joiner_dim": 512, "joiner_activation": "relu", "joiner_dropout": 0.3,
    "num_features": 80, "vocab_size": 1024, "blank_id": 1023, "loss": "full", "optimizer": "lamb", "eps": 1e-9,
    "weight_decay": 1e-3, "clip_norm": 1.0, "schedule": "hold", "min_lr": 1e-5, "stop_at_wer": 5.8,
    "num_feature_masks": 2, "features_mask_size": 20, "num_frame_masks": 10, "frames_mask_size": 10000,
    "max_frames_mask_fraction": 0.3, "perturb_speed_on_the_fly": "0.87-1.18", "max_duration_utt": 16.7,
    "num_buckets": 1, "num_workers": 4, "max_duration": 1000, "max_sym_per_frame": 30, "max_sym_per_utt": 300,
}  # fmt: skip


# Seen from the working folder.
SHARED["front_end"] = str(FOLDER / "fbank.yaml")


def values_of(name):
    return {**dict(zip(NAMES, TABLE[name])), "num_epochs": NUM_EPOCHS.get(name, 100)}


def test_there_is_one_for_each_row():
    assert {path.stem for path in FOLDER.glob("[0-9]*.yaml")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_the_file_and_its_base_are_together_what_one_file_was(name):
    assert read_config(FOLDER / f"{name}.yaml") == {**SHARED, **values_of(name)}


def test_a_file_holds_only_what_differs_from_the_base():
    base = read_config(FOLDER / "base.yaml")
    for name in TABLE:
        own = [line.split(":")[0] for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if line[:1].isalpha()]
        assert sorted(own) == sorted(
            ["base", *(key for key, value in values_of(name).items() if base.get(key) != value)]
        )


def test_an_unknown_name_is_refused_in_the_file_that_holds_it(tmp_path, capsys):
    (tmp_path / "base.yaml").write_text((FOLDER / "base.yaml").read_text() + "encoder_dimm: 3\n")
    (tmp_path / "1024.yaml").write_text((FOLDER / "1024.yaml").read_text())
    with pytest.raises(SystemExit):
        main(["--config", str(tmp_path / "1024.yaml")])
    assert "base.yaml: unknown option 'encoder_dimm'" in capsys.readouterr().err


@pytest.mark.parametrize("name", TABLE)
def test_says_what_the_table_says(name):
    path = str(FOLDER / f"{name}.yaml")
    (options,), _ = parse(make_parser("", Options), [Options], ["--config", path])
    optimizer, schedule, model = options.optim.optimizer, options.optim.schedule, options.model
    row = (optimizer.base_lr, schedule.warmup_epochs, schedule.hold_epochs, schedule.lr_gamma)
    row += (optimizer.beta1, optimizer.beta2, options.train.ema_decay)
    assert (*row, model.encoder.lstm_init_scale) == (*row, model.predictor.lstm_init_scale) == TABLE[name]
    assert (optimizer.name, schedule.name, optimizer.clip_norm) == ("lamb", "hold", 1.0)
    assert (optimizer.eps, optimizer.weight_decay, schedule.min_lr) == (1e-9, 1e-3, 1e-5)
    assert [loss.name for loss in options.loss.loss] == ["full"] and options.train.stop_at_wer == 5.8
    augment = options.augment
    assert (augment.num_feature_masks, augment.features_mask_size, augment.num_frame_masks) == (2, 20, 10)
    assert (augment.frames_mask_size, augment.max_frames_mask_fraction) == (10000, 0.3)
    assert augment.perturb_speed_on_the_fly == "0.87-1.18" and options.batch.max_duration_utt == 16.7
    assert (options.search.max_sym_per_frame, options.search.max_sym_per_utt) == (30, 300)
    assert options.search.decoding_method == "greedy_search"


def test_front_end():
    [features], _ = parse(make_parser("", FeatureConfig), [FeatureConfig], ["--config", str(FOLDER / "fbank.yaml")])
    assert (features.frontend, features.sampling_rate, features.num_mel_bins) == ("slaney_log_mel", 16000, 80)
    assert (features.frame_length_ms, features.frame_shift_ms) == (20, 10)
    assert (features.low_freq, features.highest_freq, features.dither) == (0, 8000, 1e-5)


def test_speeds_are_multiples_of_a_hundredth_from_0_85_to_1_15():
    config = AugmentConfig(perturb_speed_on_the_fly="0.87-1.18")
    generator = np.random.default_rng(0)
    drawn = [draw_ratio(config, 16000, generator) for _ in range(2000)]
    assert {n / m for m, n in drawn} == {n / 100 for n in range(85, 116)}
