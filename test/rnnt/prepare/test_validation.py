from dataclasses import replace

import numpy as np
import pytest
from lhotse import CutSet
from lhotse.testing.dummies import dummy_recording
from lhotse.utils import fastcopy

from rnnt.data.config import FeatureConfig
from rnnt.prepare.validation import (
    EXAMPLES,
    Report,
    RuleInputs,
    Utterance,
    ValidationConfig,
    find_fault,
    find_remarks,
)
from rnnt.text.token_list import build_model, read_token_list
from rnnt.text.tokenizer import Tokenizer


def utterance_of(context, cut, x_TF=None):
    return Utterance(cut, lambda cut: cut.load_features() if x_TF is None else x_TF, context.tokenizer.encode)


@pytest.fixture
def cut(toy):
    return next(iter(CutSet.from_file(toy / "dev.jsonl")))


@pytest.fixture
def context(toy):
    return RuleInputs(ValidationConfig(), FeatureConfig(sampling_rate=8000, num_mel_bins=8), Tokenizer.load(toy))


def with_supervision(cut, **changes):
    return fastcopy(cut, supervisions=[fastcopy(cut.supervisions[0], **changes)])


def test_a_good_cut_passes(cut, context):
    assert find_fault(utterance_of(context, cut), context) is None


def test_duplicate_id(cut, context):
    find_fault(utterance_of(context, cut), context)
    assert find_fault(utterance_of(context, cut), context)[0] == "duplicate id"


def test_audio_without_features_passes(cut, context):
    recording = dummy_recording(0, sampling_rate=8000, duration=cut.duration)
    x_TF = cut.load_features()
    with_audio = fastcopy(cut, features=None, recording=recording)
    assert find_fault(utterance_of(context, with_audio, x_TF), context) is None
    with_audio = fastcopy(with_audio, id="other", recording=fastcopy(recording, duration=cut.duration - 0.1))
    name, problem = find_fault(utterance_of(context, with_audio, x_TF), context)
    assert name == "times out of range" and "its recording" in problem


FAULTS = {
    "not one supervision": lambda cut: fastcopy(cut, supervisions=[]),
    "no audio": lambda cut: fastcopy(cut, features=None),
    "wrong rate": lambda cut: fastcopy(cut, features=fastcopy(cut.features, sampling_rate=16000)),
    "other features": lambda cut: fastcopy(cut, features=fastcopy(cut.features, num_features=80)),
    "times out of range": lambda cut: with_supervision(cut, duration=cut.duration + 0.5),
    "too short": lambda cut: fastcopy(cut, duration=0.05, supervisions=[fastcopy(cut.supervisions[0], duration=0.05)]),
    "too long": lambda cut: fastcopy(
        cut, duration=31, supervisions=[fastcopy(cut.supervisions[0], duration=31)],
        features=fastcopy(cut.features, duration=31),
    ),
    "empty text": lambda cut: with_supervision(cut, text="  "),
    "unknown characters": lambda cut: with_supervision(cut, text="one 9 two"),
    "more tokens than frames": lambda cut: with_supervision(cut, text=" ".join(["one two three"] * 100)),
    "unreadable features": lambda cut: fastcopy(cut, features=fastcopy(cut.features, storage_path="nowhere.lca")),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(cut, context, name):
    found, problem = find_fault(utterance_of(context, FAULTS[name](cut)), context)
    assert found == name
    assert problem and "\n" not in problem


FOR_TRAINING = {"too short", "too long", "unknown characters", "more tokens than frames"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_set_to_be_scored_keeps_what_training_would_leave_out(cut, context, name):
    context = replace(context, is_training=False)
    damaged, x_TF = FAULTS[name](cut), None
    if name in ("too short", "too long"):  # features of another length than those that are stored
        damaged = fastcopy(damaged, features=None, recording=dummy_recording(0, sampling_rate=8000, duration=31))
        x_TF = cut.load_features()
    utterance = utterance_of(context, damaged, x_TF)
    found = find_fault(utterance, context)
    assert found is None if name in FOR_TRAINING else found[0] == name
    if name in FOR_TRAINING:
        assert [remark for remark, _ in find_remarks(utterance, context)] == [name]


def test_no_frame_at_all_is_a_fault_of_any_set(cut, context):
    for is_training in (True, False):
        context = replace(context, is_training=is_training, seen_ids=set())
        utterance = utterance_of(context, cut, cut.load_features()[:0])
        assert find_fault(utterance, context)[0] == "unreadable features"


def test_a_tokenizer_that_rewrites_a_text_is_named(cut, context):
    class Rewriting:
        unk_id = 2

        def encode(self, text):
            return [3]

        def decode(self, ids):
            return "wait..."

    context = replace(context, tokenizer=Rewriting())
    name, problem = find_fault(utterance_of(context, with_supervision(cut, text="wait\u2026")), context)
    assert name == "rewritten by the tokens" and "'wait\u2026'" in problem and "'wait...'" in problem
    context = replace(context, is_training=False, seen_ids=set())
    utterance = utterance_of(context, with_supervision(cut, text="wait\u2026"))
    assert find_fault(utterance, context) is None and find_remarks(utterance, context) == [(name, problem)]


def test_odd_blanks_are_single_spaces_and_remarked(cut, context):
    utterance = utterance_of(context, with_supervision(cut, text=" one\u3000two\u00a0"))
    assert utterance.text == "one two" and find_fault(utterance, context) is None
    assert find_remarks(utterance, context) == [("blanks made single spaces", repr(" one\u3000two\u00a0"))]


def test_unknown_characters_are_listed(cut, context):
    _, problem = find_fault(utterance_of(context, with_supervision(cut, text="one 9 qq")), context)
    assert "'9' 'q'" in problem


def test_unknown_words_are_listed_where_tokens_are_words(cut, context, tmp_path):
    (tmp_path / "list").write_text("one\ntwo\n")
    (tmp_path / "bpe.model").write_bytes(build_model(read_token_list(tmp_path / "list")))
    context = replace(context, tokenizer=Tokenizer.load(tmp_path))
    name, problem = find_fault(utterance_of(context, with_supervision(cut, text="one three two")), context)
    assert name == "unknown characters" and problem == "no token for 'three' of 'one three two'"


def test_non_finite_features(cut, context):
    utterance = utterance_of(context, cut)
    utterance.x_TF = np.array(cut.load_features())
    utterance.x_TF[3, 2] = np.nan
    assert find_fault(utterance, context) == ("non-finite features", "1 values are not finite")


def test_stored_features_of_another_length(cut, context):
    utterance = utterance_of(context, cut)
    utterance.x_TF = cut.load_features()[:-3]
    assert find_fault(utterance, context)[0] == "unreadable features"


def test_subsampling_factor_counts(cut, context):
    tokens = len(context.tokenizer.encode(cut.supervisions[0].text))
    factor = cut.num_frames // tokens
    for value, fault in ((factor, None), (factor + cut.num_frames, "more tokens than frames")):
        context = replace(context, config=ValidationConfig(subsampling_factor=value), seen_ids=set())
        found = find_fault(utterance_of(context, cut), context)
        assert (found and found[0]) == fault


def test_report_keeps_counts_and_some_examples():
    report = Report(total=10, kept=2)
    for i in range(8):
        report.add_fault("too long", f"utt-{i}", "31 s, more than 30 s")
    assert report.dropped_percent == 80
    assert report.faults["too long"]["count"] == 8
    assert len(report.faults["too long"]["examples"]) == EXAMPLES
    assert report.lines("dev")[:2] == ["dev: 2 of 10 utterances kept, 80.00 % dropped", "  too long: 8"]
    assert Report().dropped_percent == 100
