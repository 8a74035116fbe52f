"""Synthetic data: the lengths that were asked for, the same each time, and something to learn."""

from pathlib import Path

import numpy as np
import pytest

from rnnt.data.config import AugmentConfig
from rnnt.data.dataset import PlannedBatches
from rnnt.data.synthetic import SyntheticManifest, SyntheticTokenizer
from rnnt.errors import UserError

LENGTHS = """
train_utterances: 500
train_percentiles: [0, 1, 50, 4, 100, 5]
dev_utterances: 20
dev_percentiles: [0, 2, 100, 2]
tokens_per_second: 3
"""
TOKENIZER = SyntheticTokenizer(8, 7)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "lengths.yaml").write_text(LENGTHS)
    return tmp_path / "lengths.yaml"


def test_durations_follow_the_percentiles(path):
    train = SyntheticManifest(path, "train", TOKENIZER, 6)
    assert len(train) == 500 and train.durations.dtype == np.float32
    assert train.durations.min() >= 1 and train.durations.max() <= 5
    assert np.median(train.durations) == pytest.approx(4, abs=0.4)
    assert len(SyntheticManifest(path, "dev", TOKENIZER, 6)) == 20
    scaled = SyntheticManifest(path, "train", TOKENIZER, 6, number=9, scale=0.5)
    np.testing.assert_allclose(2 * scaled.durations, SyntheticManifest(path, "train", TOKENIZER, 6, 9).durations)
    rates = [len(train[i].tokens) / train[i].duration for i in range(200)]
    assert np.mean(rates) == pytest.approx(3, abs=0.2) and np.std(rates) > 0.1


def test_the_same_each_time_and_another_for_each_set(path):
    one, two = (SyntheticManifest(path, "train", TOKENIZER, 6) for _ in range(2))
    assert one[17].supervisions == two[17].supervisions
    np.testing.assert_array_equal(one.feature_loader().load(one[17]), two.feature_loader().load(two[17]))
    dev = SyntheticManifest(path, "dev", TOKENIZER, 6)
    assert one[3].supervisions[0].text != dev[3].supervisions[0].text


def test_text_and_tokens(path):
    cut = SyntheticManifest(path, "train", TOKENIZER, 6)[5]
    text = cut.supervisions[0].text
    assert TOKENIZER.encode(text) == cut.tokens.tolist() and TOKENIZER.blank_id not in cut.tokens
    assert TOKENIZER.decode([7, *cut.tokens, 7]) == text


def test_features_carry_the_tokens(path):
    dev = SyntheticManifest(path, "dev", TOKENIZER, 6)
    cut = dev[0]
    x_TF = dev.feature_loader().load(cut)
    assert x_TF.shape == (200, 6) and x_TF.dtype == np.float32
    token_T = cut.tokens[np.arange(200) * len(cut.tokens) // 200]
    pattern_VF = dev.feature_loader().pattern_VF
    nearest_T = ((x_TF[:, None] - pattern_VF) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest_T == token_T).mean() > 0.7
    everything = np.concatenate([dev.feature_loader().load(dev[i]) for i in range(20)])
    assert 0.6 < everything.std() < 1.4


def test_speed_and_masks_as_for_real_data(path):
    train = SyntheticManifest(path, "train", TOKENIZER, 6)
    config = AugmentConfig(perturb_speed_on_the_fly="0.87-1.18", features_mask_size=2)
    plan = [np.arange(100)]
    loader = train.feature_loader(config, np.full(6, 77, np.float32))
    dataset = PlannedBatches(train, plan, loader, TOKENIZER, seed=1, epoch=1)
    batch, again = dataset[0], dataset[0]
    ratios = batch.x_len_B.numpy() / (100 * train.durations[:100])
    assert 0.84 < ratios.min() < 0.88 and 1.12 < ratios.max() < 1.16
    assert (batch.x_BTF == again.x_BTF).all() and (batch.x_BTF == 77).any()
    assert batch.texts[4] == train[4].supervisions[0].text and batch.audio[4] == []


def test_what_the_file_lacks_is_named(path):
    with pytest.raises(UserError, match="lengths.yaml: does not describe the set test"):
        SyntheticManifest(path, "test", TOKENIZER, 6)


def test_lengths_of_the_recipe():
    path = Path(__file__).parents[3] / "egs/librispeech/ASR/conf/mlperf/synthetic.yaml"
    train, dev = (SyntheticManifest(path, name, SyntheticTokenizer(1024, 1023), 4) for name in ("train", "dev"))
    assert (len(train), len(dev)) == (281241, 2703)
    assert train.durations.sum() / 3600 == pytest.approx(960.9, rel=0.01)
    assert 278_528 - 300 <= (train.durations <= 16.7).sum() <= 278_783 + 300
    assert dev.durations.sum() / 3600 == pytest.approx(5.4, abs=0.2)
