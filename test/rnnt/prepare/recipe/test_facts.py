"""What the training configuration says about the data, and contradictions of it."""

import sys

import pytest

from rnnt.errors import UserError
from rnnt.prepare.recipe.facts import TrainingFacts, apply_facts, check_num_features, read_training_facts, read_values

VALUES = {
    "subsampling_factor": 4,
    "fbank_config": "conf/fbank.yaml",
    "blank": "first",
    "vocab_size": [500, 100],
    "token_type": "bpe",
}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_configuration_lies_on_its_bases(tmp_path):
    write(tmp_path / "base.yaml", "vocab_size: 10\nsubsampling_factor: 2\nnum_features: 40\n")
    write(tmp_path / "a/middle.yaml", "base: ../base.yaml\nsubsampling_factor: 6\n")
    path = write(tmp_path / "a/top.yaml", "base: middle.yaml\nblank-id: 9  # the last\n")
    facts = TrainingFacts(str(path), 6, 10, 9, 40)
    assert read_training_facts(path) == facts and facts.blank == "last"


def test_the_front_end_lies_beside_the_file_that_names_it(tmp_path, monkeypatch):
    write(tmp_path / "conf/base.yaml", "front_end: fbank.yaml\n")
    write(tmp_path / "conf/a/top.yaml", "base: ../base.yaml\n")
    for _ in range(2):
        facts = read_training_facts("conf/a/top.yaml", tmp_path)
        assert facts == TrainingFacts("conf/a/top.yaml", fbank_config="conf/fbank.yaml")
        monkeypatch.setitem(sys.modules, "yaml", None)
    assert apply_facts(VALUES, {}, facts)["fbank_config"] == "conf/fbank.yaml"


def test_without_yaml_flat_files_are_read_alike(tmp_path, monkeypatch):
    write(tmp_path / "base.yaml", "# A comment\nvocab_size: 10\n\nname: 'a b'\n")
    path = write(tmp_path / "top.yaml", "base: base.yaml\nsubsampling-factor: 6 # six\n")
    with_yaml = read_values(path)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert read_values(path) == {name: str(value) for name, value in with_yaml.items()}
    assert read_training_facts(path) == TrainingFacts(str(path), 6, 10)


def test_bad_configurations_are_named(tmp_path):
    write(tmp_path / "a.yaml", "base: b.yaml\n")
    write(tmp_path / "b.yaml", "base: a.yaml\n")
    with pytest.raises(UserError, match="is based on this file"):
        read_training_facts(tmp_path / "a.yaml")
    with pytest.raises(UserError, match="missing.yaml"):
        read_training_facts(write(tmp_path / "c.yaml", "base: missing.yaml\n"))
    with pytest.raises(UserError, match="vocab_size: expected int, got 'many'"):
        read_training_facts(write(tmp_path / "d.yaml", "vocab_size: many\n"))


def test_facts_take_the_place_of_defaults():
    facts = TrainingFacts("train.yaml", 6, 1024, 1023)
    expected = {**VALUES, "subsampling_factor": 6, "blank": "last", "vocab_size": [1023]}
    assert apply_facts(VALUES, {}, facts) == expected
    assert apply_facts(VALUES, {}, TrainingFacts("train.yaml", vocab_size=500)) == VALUES
    assert apply_facts(VALUES, {"vocab_size": "--vocab-size"}, TrainingFacts("train.yaml")) == VALUES


@pytest.mark.parametrize(
    "values, facts, words",
    [
        ({"subsampling_factor": 6}, TrainingFacts("t.yaml", subsampling_factor=8), ["is 6", "is 8 in t.yaml"]),
        ({"vocab_size": [28]}, TrainingFacts("t.yaml", vocab_size=30), ["--vocab-size is 28", "vocab_size is 30 in t"]),
        ({"blank": "last"}, TrainingFacts("t.yaml", blank_id=0), ["--blank is last", "blank_id is 0, which is"]),
        ({"vocab_size": [30]}, TrainingFacts("t.yaml", vocab_size=30, blank_id=29), ["is 30", "is 30, blank included"]),
        ({"fbank_config": "b"}, TrainingFacts("t.yaml", fbank_config="a"), ["--fbank-config is b", "is a in t.yaml"]),
    ],
)  # fmt: skip
def test_contradictions_are_refused_with_both_values(values, facts, words):
    given = {name: "--" + name.replace("_", "-") for name in values}
    with pytest.raises(UserError) as error:
        apply_facts({**VALUES, **values}, given, facts)
    assert all(word in str(error.value) for word in words)
    assert "in my.conf" not in str(error.value)
    with pytest.raises(UserError, match=r"in my\.conf and"):
        apply_facts({**VALUES, **values}, dict.fromkeys(values, "my.conf"), facts)


def test_what_agrees_and_what_is_unknown_is_accepted():
    given = {"vocab_size": "--vocab-size", "blank": "--blank"}
    values = {**VALUES, "vocab_size": [28], "blank": "last"}
    assert apply_facts(values, given, TrainingFacts("t", vocab_size=29, blank_id=28)) == values
    # Where the configuration says neither, the data says so.
    assert apply_facts(values, given, TrainingFacts("t")) == values
    tokens = {**VALUES, "token_type": "char", "vocab_size": []}
    assert apply_facts(tokens, {}, TrainingFacts("t", vocab_size=29)) == tokens


def test_filters_must_be_as_many_as_features(tmp_path):
    path = write(tmp_path / "fbank.yaml", "num_mel_bins: 40\n")
    check_num_features(TrainingFacts("t", num_features=40), str(path), 80)
    with pytest.raises(UserError, match=r"num_features is 80 in t and num_mel_bins is 40 in .*fbank.yaml"):
        check_num_features(TrainingFacts("t", num_features=80), str(path), 80)
    with pytest.raises(UserError, match="num_mel_bins is 80"):
        check_num_features(TrainingFacts("t", num_features=40), str(write(tmp_path / "b.yaml", "")), 80)
