"""Mixtures of sets: shares, repetition, streams without a gap, and one set as if there were no mixture."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from rnnt.data.config import BatchConfig
from rnnt.data.manifest import Manifest
from rnnt.data.plan import longest_allowed, plan_fingerprint, plan_training
from rnnt.data.sets.config import MixConfig, parse_sets
from rnnt.data.sets.mixture import Mixture
from rnnt.errors import UserError


class Durations(Manifest):
    """A manifest of durations alone; item n is n."""

    def __init__(self, durations, shard_ends=None):
        self.path = Path("some.jsonl")
        self.durations = np.asarray(durations, np.float32)
        self.shard_ends = shard_ends

    def __len__(self):
        return len(self.durations)

    def __getitem__(self, number):
        return number


def durations(number, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 15, number).astype(np.float32)


def mixture(weights, sizes=(2000, 300), config=None, ends=(None, None), **options):
    manifests = [Durations(durations(n, seed), e) for seed, (n, e) in enumerate(zip(sizes, ends))]
    return Mixture(["a", "b"][: len(sizes)], manifests, weights, config or MixConfig(), **options)


def plan_of(mix, batch, epoch=1, group=1):
    return plan_training(batch, mix.durations, epoch, group, mix.epoch(batch.seed, epoch))


def digest(plan):
    return hashlib.sha256(b"|".join(np.asarray(b, "<i8").tobytes() for b in plan)).hexdigest()[:16]


@pytest.mark.parametrize(
    "config, group, plans, fingerprint",
    [
        (BatchConfig(max_duration=60, seed=1), 4, ["eac89eba6fa0a92d", "8b2839a0467450ad"], "465338d870cca2de"),
        (
            BatchConfig(max_duration=60, seed=1, max_duration_utt=12.0, short_first_epochs=1),
            1,
            ["b6eebbad0638b670", "ed8b995cf23a7be8"],
            "b167980082414ece",
        ),
        (
            BatchConfig(batch_size=6, num_buckets=3, seed=7),
            4,
            ["a208936e96bab6f8", "3d1fbcf345ecd124"],
            "0cf7d20ff324e129",
        ),
    ],
)
def test_one_set_has_the_batches_that_it_had_before_there_were_mixtures(config, group, plans, fingerprint):
    """The hashes were taken from the version without mixtures."""
    mix = Mixture(["a"], [Durations(durations(500))], None, MixConfig(), longest_allowed(config))
    assert [digest(plan_of(mix, config, epoch, group)) for epoch in (1, 2)] == plans
    assert plan_fingerprint(config, mix.durations, group, mix.plan_key())[:16] == fingerprint


@pytest.mark.parametrize("by", ["time", "utterances"])
def test_shares_of_every_epoch(by):
    mix = mixture([0.7, 0.3], config=MixConfig(mix_by=by))
    for epoch in (1, 2, 7):
        (numbers,) = mix.epoch(3, epoch)
        assert np.array_equal(np.unique(numbers[numbers < 2000]), np.arange(2000))  # the first set once
        sizes = mix.durations[numbers].astype(float) if by == "time" else np.ones(len(numbers))
        assert sizes[numbers >= 2000].sum() / sizes.sum() == pytest.approx(0.3, abs=0.003)
        # The small set is repeated evenly.
        assert np.ptp(np.bincount(numbers[numbers >= 2000] - 2000, minlength=300)) <= 2


def test_share_of_what_is_short_enough():
    limit = BatchConfig(max_duration_utt=6.0, seed=3)
    mix = mixture([0.5, 0.5], longest=longest_allowed(limit))
    kept = np.concatenate(plan_of(mix, limit))
    assert mix.durations[kept].max() <= 6
    assert mix.durations[kept[kept >= 2000]].sum() / mix.durations[kept].sum() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(UserError, match="no utterance of b lasts at most --max-duration-utt"):
        Mixture(["a", "b"], [Durations([1.0]), Durations([9.0])], [1, 1], MixConfig(), 5.0)


def test_later_epochs_take_what_earlier_ones_did_not():
    """A fifth of the large set in each epoch: five epochs are one pass, and the next five another."""
    mix = Mixture(["new", "old"], [Durations(np.ones(100)), Durations(np.ones(500))], [1, 1], MixConfig())
    found = [mix.epoch(1, epoch)[0] for epoch in range(1, 11)]
    old = [np.sort(numbers[numbers >= 100]) for numbers in found]
    assert {len(numbers) for numbers in old} <= {99, 100, 101}
    for first in (0, 5):
        assert np.array_equal(np.sort(np.concatenate(old[first : first + 5])), np.arange(100, 600))
    assert not np.array_equal(old[0], old[5])
    assert np.array_equal(found[3], mix.epoch(1, 4)[0]) and not np.array_equal(found[3], mix.epoch(2, 4)[0])


def test_without_weights_every_utterance_once_and_temperature_lifts_small_sets():
    plain, warm = mixture(None), mixture(None, config=MixConfig(mix_temperature=2.0))
    assert np.array_equal(plain.epoch(0, 4)[0], np.arange(2300))
    seconds = [m.durations.sum() for m in plain.manifests]
    assert warm.passes[1] == pytest.approx(np.sqrt(seconds[0] / seconds[1]), rel=1e-6)
    sharp = mixture([4, 1], config=MixConfig(mix_temperature=0.5))
    numbers = sharp.epoch(0, 1)[0]
    share = sharp.durations[numbers[numbers >= 2000]].sum() / sharp.durations[numbers].sum()
    assert share == pytest.approx(1 / 17, abs=0.003)


def test_plan_key_tells_mixtures_apart():
    keys = [
        mixture(w, config=c).plan_key() for w in (None, [3, 1], [2, 1]) for c in (MixConfig(), MixConfig("time", 2))
    ]
    assert len({str(key) for key in keys}) == 6


def test_cuts_are_those_of_their_sets():
    mix = mixture(None)
    assert [mix[n] for n in (0, 1999, 2000, 2299)] == [0, 1999, 0, 299] and len(mix) == 2300
    assert [line.split(",")[1].split(" %")[0].strip() for line in mix.describe(1)] == ["87.1", "12.9"]


def test_shards_make_windows_that_open_few_of_them():
    ends = np.arange(100, 2001, 100)
    mix = mixture([0.6, 0.4], ends=(ends, None), config=MixConfig(open_shards=4))
    windows = mix.epoch(1, 1)
    assert len(windows) == 5
    shards = [set((w[w < 2000] // 100).tolist()) for w in windows]
    assert max(map(len, shards)) <= 6 and sum(map(len, shards)) <= 20 + 4
    assert np.array_equal(np.sort(np.concatenate(windows)[np.concatenate(windows) < 2000]), np.arange(2000))
    assert shards != [set((w[w < 2000] // 100).tolist()) for w in mix.epoch(1, 2)]
    for window in windows:  # each has its share
        seconds = mix.durations[window]
        assert seconds[window >= 2000].sum() / seconds.sum() == pytest.approx(0.4, abs=0.02)
    plan = plan_of(mix, BatchConfig(max_duration=60, seed=1))
    order = [i for batch in plan for i in batch]
    assert sorted(order) == sorted(np.concatenate(windows))
    assert set(order[: len(windows[0])]) == set(windows[0].tolist())


def test_few_shards_are_planned_as_a_manifest():
    config = MixConfig(open_shards=4)
    sharded = Mixture(["a"], [Durations(durations(500), np.array([200, 300, 500]))], None, config)
    batch = BatchConfig(max_duration=60, seed=1)
    assert digest(plan_of(sharded, batch)) == "eac89eba6fa0a92d"
    assert sharded.plan_key()


@pytest.mark.parametrize(
    "text, words",
    [
        ("a:0 b:1", "the weight of the set a is 0; a weight is a number above 0"),
        ("a:-0.5 b:1", "the weight of the set a is -0.5"),
        ("a:nan b:1", "the weight of the set a is nan"),
        ("a:x", "'x' is no weight of the set a"),
        ("a b:1", "the set a has no weight, and others have"),
        ("a:1 ./x/../a:2", "can't be|named twice"),
        ("a:1 a:2", "the set a is named twice; add up its weights"),
        ("other/a:1 other//a:1", "the set other/a is named twice"),
        ("x/..:1", "can't be the name of a set"),
        (" ", "names no set"),
    ],
)
def test_bad_words_are_one_line(text, words):
    with pytest.raises(UserError, match=f"^--train-set: .*({words})"):
        parse_sets(text, "--train-set", weights=True)
