"""local/choose_sets.py: the sets of a training, as given or as stage 1 listed them."""

import pytest


@pytest.fixture
def choose(tmp_path, monkeypatch, program, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/manifests").mkdir(parents=True)
    (tmp_path / "data/manifests/sets").write_text("test\ntrain-a\ntrain-b\ndev c\n".replace("dev c", "dev-c"))

    def call(*words):
        capsys.readouterr()
        program("choose_sets").main(list(words))
        return capsys.readouterr().out.splitlines()

    return call


def test_first_sets_of_their_names(choose):
    assert choose() == ["train_set=train-a", "dev_set=dev-c"]
    assert choose("--sets", "dev-x", "train-x") == ["train_set=train-x", "dev_set=dev-x"]
    assert choose("--train-set", "any", "--dev-set", "a b") == ["train_set=any", "dev_set='a b'"]


def test_missing_sets_are_named(choose, tmp_path, capsys):
    with pytest.raises(SystemExit):
        choose("--sets", "train-x test")
    assert 'none of the sets "train-x test" begins with dev; give --dev-set' in capsys.readouterr().err
    (tmp_path / "data/manifests/sets").unlink()
    with pytest.raises(SystemExit):
        choose()
    assert "data/manifests/sets: no such file; run ./prepare.sh --stage 1, or give --sets" in capsys.readouterr().err
