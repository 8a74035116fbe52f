"""The configurations of the MLPerf benchmark say what its table says."""

from pathlib import Path

import numpy as np
import pytest

from rnnt.data.config import AugmentConfig, FeatureConfig
from rnnt.data.perturb import draw_ratio
from rnnt.options import make_parser, parse
from rnnt.train import CLASSES, Options

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


def test_there_is_one_for_each_row():
    assert {path.stem for path in FOLDER.glob("[0-9]*.yaml")} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_says_what_the_table_says(name):
    path = str(FOLDER / f"{name}.yaml")
    options = Options(*parse(make_parser("", *CLASSES), CLASSES, ["--config", path])[0])
    optim = options.optim
    row = (optim.base_lr, optim.warmup_epochs, optim.hold_epochs, optim.lr_gamma, optim.beta1, optim.beta2)
    assert (*row, options.train.ema_decay, options.model.lstm_init_scale) == TABLE[name]
    assert (optim.optimizer, optim.schedule, optim.clip_norm) == ("lamb", "hold", 1.0)
    assert (optim.eps, optim.weight_decay, optim.min_lr) == (1e-9, 1e-3, 1e-5)
    assert options.loss.loss == "full" and options.train.stop_at_wer == 5.8
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
