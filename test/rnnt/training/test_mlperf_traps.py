"""Faults of the MLPerf reference and its ports that this project must not have; others are tested where they belong.

Seeds that repeat over nodes: draws depend on the position in the plan, test_run.py. Resumption with another order:
test_run.py. Masks that miss the last row: test_augment.py. A run without --seed: test_mllog.py and test_mlperf_jobs.py
of test/egs.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rnnt.checkpoints.epochs import read_epochs
from rnnt.checkpoints.files import load_checkpoint
from rnnt.data.dataset import open_batches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.model.config import ModelConfig
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.search.batches import decode_batches
from rnnt.search.config import SearchConfig
from rnnt.text.tokenizer import Tokenizer
from rnnt.train import main

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_the_average_of_two_ranks_is_that_of_one(tmp_path, toy_argv):
    """There each rank began its average with weights of its own, and scored its part of the dev set with them."""
    common = {"ema_decay": 0.9, "batch_size": 4, "num_epochs": 1, "joiner_dropout": 0.1}
    main(toy_argv(tmp_path / "one", accum_grad=2, **common))
    two = [sys.executable, "-m", "rnnt.train", *toy_argv(tmp_path / "two", world_size=2, **common)]
    assert subprocess.run(two, cwd=ROOT, capture_output=True).returncode == 0
    one, two = (load_checkpoint(tmp_path / name / "epoch-1.pt")["ema"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    records = [read_epochs(tmp_path / name)[1]["dev_wer"] for name in ("one", "two")]
    assert records[0] == records[1]


def test_a_run_with_default_options_keeps_its_model(tmp_path, toy_argv):
    main(toy_argv(tmp_path, num_epochs=2))
    assert {path.name for path in tmp_path.glob("*.pt")} == {"epoch-1.pt", "epoch-2.pt"}


@pytest.mark.parametrize(
    "encoder, own", [("lstm", {"subsampling_channels": 4}), ("stacked_lstm", {"layers_before_stacking": 1})]
)
def test_padding_changes_no_hypothesis(toy, encoder, own):
    """Greedy search with 30 tokens per frame: one utterance alone, and together with longer ones."""
    torch.manual_seed(1)
    tokenizer = Tokenizer.load(toy)
    config = make(
        ModelConfig,
        encoder=encoder, encoder_dim=16, encoder_layers=2, predictor="lstm", predictor_dim=8, joiner_dim=16,
        num_features=8, vocab_size=tokenizer.vocab_size, **own,
    )  # fmt: skip
    model = Transducer(config).eval()
    with torch.no_grad():
        model.joiner.output.weight *= 5
    search = SearchConfig(max_sym_per_frame=30, max_sym_per_utt=300)
    found = []
    for max_duration in (0.1, 1000):
        manifest = CutManifest(toy / "dev.jsonl")
        batches = open_batches(manifest, open_feature_loader(manifest), max_duration)
        sizes, tokens = [], {}
        for batch, nbest, _ in decode_batches(model, batches, search, torch.device("cpu")):
            sizes.append(len(batch))
            tokens.update(zip(batch.ids, [best.tokens for [best] in nbest]))
        found.append((max(sizes), tokens))
    assert found[0][0] == 1 and found[1][0] == 9
    assert found[0][1] == found[1][1] and any(found[0][1].values())
