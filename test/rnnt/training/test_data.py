"""Training on synthetic data, from the options to the WER."""

import json

import pytest

from rnnt.train import main

LENGTHS = """
train_utterances: 60
train_percentiles: [0, 0.5, 100, 1.5]
dev_utterances: 12
dev_percentiles: [0, 0.5, 100, 1.5]
tokens_per_second: 4
"""


@pytest.fixture
def argv(tmp_path, toy_argv):
    """`argv(**options)` for a `train.py` that trains on synthetic data, without a prepared folder."""
    (tmp_path / "lengths.yaml").write_text(LENGTHS)

    def make(exp="exp", **options):
        values = {
            "synthetic": tmp_path / "lengths.yaml", "manifest_dir": "/none", "bpe_model": "/none", "num_features": 10,
            "vocab_size": 5, "blank_id": 4, "batch_size": 4, "loss": "full", **options,
        }  # fmt: skip
        return toy_argv(tmp_path / exp, **values)

    return make


@pytest.mark.slow
def test_a_model_learns_synthetic_tokens(tmp_path, argv, capsys):
    main(argv(num_epochs=12, synthetic_train=120, base_lr=0.01, enable_spec_aug=False, encoder_dim=32))
    records = [json.loads(line) for line in (tmp_path / "exp/epochs.jsonl").read_text().splitlines()]
    assert records[-1]["dev_wer"] < 50 < records[0]["dev_wer"]
    assert "0.0 h in 120 utterances" in capsys.readouterr().out
    assert not (tmp_path / "exp/bpe.model").exists()


def test_number_and_scale_are_options(tmp_path, argv, capsys):
    main(argv(num_epochs=1, synthetic_train=9, synthetic_dev=3, synthetic_scale=0.5))
    assert "epoch 1: 2 micro-batches" in capsys.readouterr().out  # the ninth utterance makes no whole micro-batch


def test_symbols_of_an_utterance_are_limited(tmp_path, argv):
    """Twelve utterances with one word each, all else is deletions, whatever the model says."""
    main(argv(num_epochs=1, max_sym_per_utt=1, blank_penalty=1000, synthetic_scale=3))
    [record] = [json.loads(line) for line in (tmp_path / "exp/epochs.jsonl").read_text().splitlines()]
    assert 60 < record["dev_wer"] <= 100


def test_sizes_are_needed(argv, capsys):
    with pytest.raises(SystemExit):
        main(argv(num_features=0))
    assert "--synthetic needs --num-features" in capsys.readouterr().err
