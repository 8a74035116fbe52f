"""train_lm.py: what it learns, measures, continues and refuses."""

import json
import math

import pytest
import torch

from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.epochs import read_epochs
from rnnt.checkpoints.files import load_checkpoint
from rnnt.checkpoints.language_model import load_language_model
from rnnt.decode import main as decode
from rnnt.export_model import main as export
from rnnt.model.language.base import make_language_model
from rnnt.model.language.config import LanguageModelConfig
from rnnt.options import from_dict
from rnnt.text.tokenizer import Tokenizer
from rnnt.train import main as train
from rnnt.training.language.program import main


def weights(path):
    return load_checkpoint(path)["model"]


def assert_same(a, b):
    a, b = weights(a), weights(b)
    assert set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_learns_and_measures(lm_argv, tmp_path, toy, capsys, kind):
    more = {"heads": 2, "feedforward_dim": 16, "context": 5} if kind == "transformer" else {}
    main(lm_argv(tmp_path / "exp", model=kind, num_epochs=4, **more))
    records = read_epochs(tmp_path / "exp")
    assert records[4]["dev_perplexity"] < records[1]["dev_perplexity"]
    # From the checkpoint alone, line by line.
    state = load_checkpoint(tmp_path / "exp" / "epoch-4.pt")
    model = make_language_model(
        from_dict(LanguageModelConfig, state["fingerprint"]["config"]["language_model"], "")
    ).eval()
    model.load_state_dict(state["model"])
    tokenizer = Tokenizer.load(toy / "bpe.model")
    nll, tokens, words = 0.0, 0, 0
    for line in (tmp_path / "dev.txt").read_text().splitlines():
        ids = tokenizer.encode(line)
        logp_UV = model(torch.tensor([ids])).log_softmax(dim=2)[0].detach()
        nll -= sum(float(logp_UV[u, token]) for u, token in enumerate([*ids, tokenizer.tokens.index("<sos/eos>")]))
        tokens, words = tokens + len(ids) + 1, words + len(line.split()) + 1
    assert records[4]["dev_perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-5)
    assert records[4]["dev_word_perplexity"] == pytest.approx(math.exp(nll / words), rel=1e-5)
    output = capsys.readouterr().out
    assert f"dev perplexity {math.exp(nll / tokens):.2f} per token" in output and "tokens per second" in output
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "exp" / "training.jsonl").read_text().splitlines()]
    assert {"start", "progress", "dev", "end"} <= set(kinds)


def test_is_continued_bit_for_bit(lm_argv, tmp_path):
    options = {"ema_decay": 0.9, "average_period": 1, "dropout": 0.3, "save_every_n": 2}
    main(lm_argv(tmp_path / "whole", **options))
    main(lm_argv(tmp_path / "parts", max_updates=3, **options))  # in the middle of the first epoch
    assert not (tmp_path / "parts" / "epoch-1.pt").exists()
    main(lm_argv(tmp_path / "parts", **options))
    assert_same(tmp_path / "whole" / "epoch-2.pt", tmp_path / "parts" / "epoch-2.pt")
    a, b = (load_checkpoint(tmp_path / name / "epoch-2.pt") for name in ("whole", "parts"))
    assert a["average"]["count"] == b["average"]["count"] > 3
    assert all(torch.equal(x, b["ema"]["model"][name]) for name, x in a["ema"]["model"].items())


def test_loaders_change_nothing(lm_argv, tmp_path):
    for name, workers in (("a", 0), ("b", 1)):
        main(lm_argv(tmp_path / name, num_workers=workers, num_epochs=1))
    assert_same(tmp_path / "a" / "epoch-1.pt", tmp_path / "b" / "epoch-1.pt")


@pytest.mark.slow
def test_ranks_give_what_accumulation_gives(lm_argv, tmp_path):
    main(lm_argv(tmp_path / "one", accum_grad=2))
    main(lm_argv(tmp_path / "two", world_size=2))
    a, b = (weights(tmp_path / name / "epoch-2.pt") for name in ("one", "two"))
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-4, atol=1e-6)
    records = [read_epochs(tmp_path / name)[2]["dev_perplexity"] for name in ("one", "two")]
    assert records[0] == pytest.approx(records[1], rel=1e-5)


def refused(capsys, function, argv):
    with pytest.raises(SystemExit) as stop:
        function(argv)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_refusals(lm_argv, tmp_path, toy_argv, capsys):
    exp = tmp_path / "exp"
    main(lm_argv(exp, max_updates=2))
    before = {path: path.read_bytes() for path in exp.rglob("*") if path.is_file() and path.name != ".lock"}
    assert "dim is 8 in the checkpoint and 9 now" in refused(capsys, main, lm_argv(exp, dim=9))
    assert "--max-tokens-line, --block-lines or the texts" in refused(capsys, main, lm_argv(exp, seed=1))
    assert "it is of a language model; choose another --exp-dir" in refused(capsys, train, toy_argv(exp))
    assert {path: path.read_bytes() for path in before} == before
    argv = lm_argv(exp)
    without = argv[: argv.index("--dev-text")] + argv[argv.index("--bpe-model") :]
    assert "--dev-text is missing" in refused(capsys, main, without)
    assert "the model is too large" in refused(capsys, main, lm_argv(exp, dim=1_000_000))


def test_decoding_wants_a_recogniser(lm_argv, tmp_path, toy, capsys):
    main(lm_argv(tmp_path / "exp", num_epochs=1))
    argv = ["--exp-dir", str(tmp_path / "exp"), "--manifest-dir", str(toy), "--decode-sets", "dev"]
    assert "it is of a language model, and a recogniser is asked for" in refused(capsys, decode, argv)


def test_the_best_epoch_is_searched_with_and_exported(lm_argv, tmp_path, toy, capsys):
    exp = tmp_path / "exp"
    main(lm_argv(exp, num_epochs=3))
    records = [json.loads(line) for line in (exp / "epochs.jsonl").read_text().splitlines()]
    records[1]["dev_perplexity"] = 1.0
    (exp / "epochs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    best = weights(exp / "epoch-2.pt")
    found = load_language_model(exp)
    assert found.name == "best-1" and all(torch.equal(best[n], x) for n, x in found.network.state_dict().items())
    export(["--exp-dir", str(exp), "--out", str(tmp_path / "lm"), "--avg", "2"])
    assert "epoch-3-avg-2 of" in capsys.readouterr().out
    mean = load_language_model(tmp_path / "lm").network.state_dict()
    last = weights(exp / "epoch-3.pt")
    for name, value in mean.items():
        torch.testing.assert_close(value, (best[name] + last[name]) / 2)
    averaged = load_language_model(exp, Selection(use_averaged_model=True, avg=2)).name
    assert averaged == "epoch-3-avg-2-averaged"
    assert "no --format icefall" in refused(
        capsys, export, ["--exp-dir", str(exp), "--out", str(tmp_path / "x"), "--format", "icefall"]
    )
