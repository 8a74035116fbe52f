"""align.py on a model that was trained for a moment: every word of the toy data has a known place."""

import json

import pytest
import torch

from rnnt.alignment.model import Frames, align_batch, lattice_scores
from rnnt.alignment.program import main
from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.loss import full_joiner_loss
from rnnt.loss.reference import solve
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.train import main as train

SILENCE, WORD = 0.04, 0.12  # seconds, see conftest.toy_features


@pytest.fixture(scope="module")
def experiment(tmp_path_factory, toy):
    """A CTC model with a transducer beside it, and one without a CTC layer."""
    folder = tmp_path_factory.mktemp("align")
    argv = ["--manifest-dir", str(toy), "--bpe-model", str(toy / "bpe.model"), "--num-workers", "0", "--max-duration",
            "6", "--tensorboard", "false", "--threads", "1", "--device", "cpu", "--base-lr", "0.02", "--warmup-steps",
            "5", "--features-mask-size", "2", "--frames-mask-size", "3", "--encoder-dim", "24", "--encoder-layers", "1",
            "--subsampling-channels", "4", "--predictor-dim", "16", "--joiner-dim", "16"]  # fmt: skip
    losses = ["--loss", "full ctc", "--ctc-loss-scale", "1"]
    train(["--exp-dir", str(folder / "both"), "--num-epochs", "12", *losses, *argv])
    train(["--exp-dir", str(folder / "plain"), "--num-epochs", "1", *argv])
    return folder


def align(experiment, toy, *more, name="both"):
    main(["--exp-dir", str(experiment / name), "--manifest-dir", str(toy), "--sets", "dev", "--num-workers", "0",
          "--threads", "1", "--device", "cpu", *more])  # fmt: skip


@pytest.mark.parametrize("method", ["ctc", "transducer"])
def test_words_lie_where_they_were_said(experiment, toy, method, capsys):
    align(experiment, toy, "--align-with", method, "--textgrids", "true")
    folder = experiment / "both" / f"align_{method}" / "dev"
    found = [json.loads(line) for line in (folder / "alignments.jsonl").read_text().splitlines()]
    assert len(found) == 9 and f"{folder}: 9 utterances" in capsys.readouterr().out
    late = []
    for utterance in found:
        assert " ".join(w["word"] for w in utterance["words"]) == utterance["text"]
        for i, word in enumerate(utterance["words"]):
            late.append(word["start"] - (SILENCE + i * (SILENCE + WORD)))
            assert 0 < word["confidence"] <= 1 and word["end"] >= word["start"]
    # The median of the delays; a frame of the encoder is 40 ms.
    assert abs(sorted(late)[len(late) // 2]) <= 0.1, late
    lines = (folder / "words.ctm").read_text().splitlines()
    assert len(lines) == len(late)
    assert len(list((folder / "textgrids").iterdir())) == 9
    assert len((folder / "doubtful.tsv").read_text().splitlines()) == 10


def test_a_wrong_word_is_found(experiment, toy, tmp_path):
    """One transcript of a copy of the set is changed: it becomes the first row, and the word the least confident."""
    for path in toy.glob("features.json"):
        (tmp_path / path.name).write_text(path.read_text())
    lines = (toy / "dev.jsonl").read_text().splitlines()
    cut = json.loads(lines[4])
    text = cut["supervisions"][0]["text"].split()
    text[0] = "two" if text[0] != "two" else "three"
    cut["supervisions"][0]["text"] = " ".join(text)
    (tmp_path / "dev.jsonl").write_text("\n".join([*lines[:4], json.dumps(cut), *lines[5:]]) + "\n")
    align(experiment, tmp_path)
    folder = experiment / "both" / "align_ctc" / "dev"
    rows = [line.split("\t") for line in (folder / "doubtful.tsv").read_text().splitlines()]
    assert rows[1][1] == cut["id"] and rows[1][2] == text[0]


def test_what_the_model_has_not_is_refused(experiment, toy, capsys):
    with pytest.raises(SystemExit):
        align(experiment, toy, "--align-with", "ctc", name="plain")
    assert "no CTC layer to align with; take --align-with transducer" in capsys.readouterr().err
    align(experiment, toy, name="plain")
    assert (experiment / "plain" / "align_transducer" / "dev" / "words.ctm").is_file()


def test_the_lattice_is_that_of_the_loss(experiment, monkeypatch):
    """The sum over all paths of its arcs is the loss, whatever the number of frames at a time."""
    network = load_for_decoding(experiment / "plain", Selection()).network
    generator = torch.Generator().manual_seed(0)
    h_BTD = torch.randn(3, 7, network.encoder.dim, generator=generator)
    frames = Frames(h_BTD, torch.tensor([7, 4, 5]), torch.tensor([[3, 4], [5, 0], [0, 0]]), torch.tensor([2, 1, 0]))
    with torch.no_grad():
        px, py = lattice_scores(network, frames)
        monkeypatch.setattr("rnnt.alignment.model.LARGEST_LATTICE", 1)
        for whole, parts in zip((px, py), lattice_scores(network, frames)):
            torch.testing.assert_close(whole, parts)
        joiner = network.joiner
        loss_B = full_joiner_loss(
            joiner.project_encoder(h_BTD), joiner.project_predictor(network.predictor(frames.y_BS)),
            joiner.output.weight, joiner.output.bias, frames.y_BS, frames.h_len_B, frames.y_len_B,
            blank_id=network.blank_id, activation=joiner.activation,
        )[0]  # fmt: skip
    over_end = torch.cat((px, torch.full((3, 2, 1), -torch.inf)), dim=2)  # no token after the last frame
    for b, T in enumerate(frames.h_len_B):
        over_end[b, :, T] = -torch.inf
    torch.testing.assert_close(-solve(over_end, py, frames.y_len_B, frames.h_len_B)[0], loss_B, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method, searched", [("ctc", "ctc_greedy_search"), ("transducer", "greedy_search")])
def test_the_path_of_what_is_heard_is_the_one_that_was_found(experiment, method, searched):
    """Greedy search takes the best path of CTC; that of a transducer may be better, and is never worse."""
    network = load_for_decoding(experiment / "both", Selection()).network
    h_BTD = torch.randn(4, 9, network.encoder.dim, generator=torch.Generator().manual_seed(3))
    h_len_B = torch.tensor([9, 7, 3, 0])
    heard = [nbest[0] for nbest in search(network, h_BTD, h_len_B, SearchConfig(decoding_method=searched))]
    y_len_B = torch.tensor([len(h.tokens) for h in heard])
    y_BS = torch.zeros(4, int(y_len_B.max()), dtype=torch.int64)
    for row_S, hypothesis in zip(y_BS, heard):
        row_S[: len(hypothesis.tokens)] = torch.tensor(hypothesis.tokens, dtype=torch.int64)
    for path, hypothesis in zip(align_batch(network, Frames(h_BTD, h_len_B, y_BS, y_len_B), method), heard):
        assert path.tokens == hypothesis.tokens
        if method == "ctc":
            assert path.frames == hypothesis.frames
            assert path.score == pytest.approx(hypothesis.score, abs=1e-4)
        else:
            assert path.score >= hypothesis.score - 1e-4


def test_parts_for_training(experiment, toy, capsys):
    """--cut-seconds writes a set that a training can take; these utterances are too short to be cut."""
    align(experiment, toy, "--cut-seconds", "5")
    out = experiment / "both" / "align_ctc" / "dev" / "cuts" / "dev.jsonl"
    assert f"{out}: 9 utterances cut into 9" in capsys.readouterr().out
    assert out.read_text() and out.with_name("features.json").is_file()
