"""CTC alone and beside a transducer: trained, decoded, exported, transcribed, begun from; refused where it is not."""

import json

import numpy as np
import pytest
import torch

from rnnt import load_model
from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint
from rnnt.decode import main as decode
from rnnt.decoding.settings import parse_settings
from rnnt.export_model import main as export
from rnnt.search.config import CTC_SEARCHES, SearchConfig
from rnnt.train import main as train
from rnnt.transcribe import main as transcribe


@pytest.fixture(scope="module")
def models(tmp_path_factory, toy):
    """Experiments `ctc` (CTC alone), `hybrid` and `plain` (no CTC) on the toy data, each with a model directory."""
    folder = tmp_path_factory.mktemp("models")
    sizes = ["--encoder-dim", "24", "--encoder-layers", "1", "--subsampling-channels", "4", "--max-duration", "6"]
    common = [*sizes, "--manifest-dir", str(toy), "--bpe-model", str(toy / "bpe.model"), "--num-workers", "0",
              "--tensorboard", "false", "--threads", "1", "--device", "cpu", "--base-lr", "0.02",
              "--average-period", "2", "--features-mask-size", "2", "--frames-mask-size", "3",
              "--warmup-steps", "5"]  # fmt: skip
    joiner = ["--predictor-dim", "16", "--joiner-dim", "16"]
    for name, loss in (("ctc", ["--loss", "ctc"]), ("hybrid", ["--loss", "pruned ctc", *joiner]), ("plain", joiner)):
        epochs = "12" if name == "ctc" else "1"
        train(["--exp-dir", str(folder / name), "--num-epochs", epochs, *common, *loss])
        export(["--exp-dir", str(folder / name), "--out", str(folder / f"{name}-model")])
    return folder


def decode_dev(exp, toy, method, *more):
    argv = ["--exp-dir", str(exp), "--manifest-dir", str(toy), "--decode-sets", "dev", "--threads", "1",
            "--num-workers", "0", "--decoding-method", method, *more]  # fmt: skip
    decode(argv)
    folder = parse_settings(argv).folder("dev")
    summary = json.loads((folder / "summary.json").read_text())
    utterances = [json.loads(line) for line in (folder / "utterances.jsonl").read_text().splitlines()]
    return summary, utterances


def test_ctc_alone_learns_without_predictor_and_joiner(models, toy, capsys):
    state = load_checkpoint(models / "ctc" / "epoch-12.pt")
    assert not [name for name in state["model"] if not name.startswith(("encoder", "feature_"))]
    assert set(state["objectives"]) == {"ctc.output.weight", "ctc.output.bias"}
    for method in CTC_SEARCHES:
        _, utterances = decode_dev(models / "ctc", toy, method)
        words = [word for utterance in utterances for word in utterance["words"]]
        assert words and all(word["end"] > word["start"] >= 0 and 0 < word["confidence"] <= 1 for word in words)
    wers = [json.loads(line)["dev_wer"] for line in (models / "ctc" / "epochs.jsonl").read_text().splitlines()]
    assert wers[-1] < 30, wers


@pytest.mark.parametrize("name", ["ctc", "hybrid"])
def test_streaming_finds_the_same(models, toy, name):
    """Words, times and confidences; the encoder reads left to right."""
    (_, whole), (_, streamed) = (
        decode_dev(models / name, toy, "ctc_greedy_search", "--streaming", streaming) for streaming in ("false", "true")
    )
    assert any(one["words"] for one in whole) or name == "hybrid"
    for one, other in zip(streamed, whole, strict=True):
        for word, wanted in zip(one["words"], other["words"], strict=True):
            assert (word["word"], word["start"], word["end"]) == (wanted["word"], wanted["start"], wanted["end"])
            assert word["confidence"] == pytest.approx(wanted["confidence"], abs=1e-3)


def test_what_does_not_fit_is_refused_in_one_line(models, toy, tmp_path, toy_argv, capsys):
    wave = tmp_path / "a.wav"
    wave.write_bytes(b"")
    calls = [
        (decode, ["--exp-dir", str(models / "ctc"), "--manifest-dir", str(toy)], "has no predictor and joiner"),
        (decode, ["--exp-dir", str(models / "plain"), "--manifest-dir", str(toy), "--decoding-method",
                  "ctc_greedy_search"], "not trained with --loss ctc"),
        (transcribe, ["--model", str(models / "ctc-model"), str(wave)], "choose ctc_greedy_search"),
        (train, toy_argv(tmp_path / "a", loss="ctc", decoding_method="beam_search"), "no predictor and joiner"),
        (train, toy_argv(tmp_path / "b", loss="full", decoding_method="ctc_greedy_search"), "with --loss ctc"),
        (train, toy_argv(tmp_path / "c", loss="full", transducer="false"), "--transducer false"),
    ]  # fmt: skip
    for program, argv, expected in calls:
        with pytest.raises(SystemExit) as stop:
            program(argv)
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 1 and expected in line
    assert not list(tmp_path.glob("?/*.pt")) and not list((models / "plain").glob("decode_ctc*"))


def test_a_hybrid_model_is_searched_both_ways_and_averaged_with_its_head(models, toy, tmp_path):
    exp = models / "hybrid"
    for method in ("greedy_search", *CTC_SEARCHES):
        decode_dev(exp, toy, method)
    network = load_for_decoding(exp, Selection(use_averaged_model=True)).network
    state = load_checkpoint(exp / "epoch-1.pt")
    assert torch.equal(
        network.state_dict()["heads.ctc.output.weight"], state["average"]["mean"]["heads.ctc.output.weight"].float()
    )
    # Fusion, n-best lists and batches come with the prefix beam.
    (tmp_path / "hotwords").write_text("one two :2\n")
    _, utterances = decode_dev(
        exp, toy, "ctc_prefix_beam_search", "--context-file", str(tmp_path / "hotwords"), "--nbest", "3"
    )
    assert max(len(utterance["nbest"]) for utterance in utterances) == 3


def test_a_model_directory_holds_the_head_and_transcribes(models, toy, tmp_path, capsys):
    ctc = {"ctc.output.weight", "ctc.output.bias"}
    pruned = {f"pruned.simple_{kind}_proj.{part}" for kind in ("am", "lm") for part in ("weight", "bias")}
    for name, expected in (("ctc", ctc), ("hybrid", ctc | pruned), ("plain", pruned)):
        folder = models / f"{name}-model"
        assert set(load_checkpoint(folder / "heads.pt")) == expected
        assert (
            load_checkpoint(folder / "weights.pt").keys()
            == load_checkpoint(sorted((models / name).glob("epoch-*.pt"))[-1])["model"].keys()
        )
    assert not load_model(models / "plain-model", device="cpu").model.heads  # none that a search can use
    samples = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    from rnnt.data.audio import write_audio

    write_audio(tmp_path / "a.wav", samples, 8000)
    for method in CTC_SEARCHES:
        transcribe(["--model", str(models / "hybrid-model"), "--decoding-method", method, str(tmp_path / "a.wav")])
    found = load_model(models / "ctc-model").transcribe(samples, 8000)
    asked = load_model(models / "ctc-model").transcribe(samples, 8000, SearchConfig("ctc_greedy_search"))
    assert found.text == asked.text
    _, from_dir = decode_dev(models / "ctc", toy, "ctc_greedy_search", "--model-dir", str(models / "ctc-model"))
    _, from_exp = decode_dev(models / "ctc", toy, "ctc_greedy_search")
    assert [u["words"] for u in from_dir] == [u["words"] for u in from_exp]


def test_fine_tuning_adds_and_drops_parts(models, tmp_path, toy_argv, capsys):
    """A transducer begins with a CTC model's encoder, and the reverse; the head is taken from a model directory."""
    train(toy_argv(tmp_path / "a", loss="pruned ctc", init_from=models / "ctc-model", max_updates=1))
    output = capsys.readouterr().out
    assert "with first weights: network.joiner.output.weight" in output and "objectives.ctc" not in output
    train(toy_argv(tmp_path / "b", loss="ctc", init_from=models / "hybrid", max_updates=1))
    assert "with first weights" not in capsys.readouterr().out


def test_resume_of_ctc_alone_is_bit_for_bit(tmp_path, toy_argv):
    options = {"loss": "ctc", "num_epochs": 1, "ctc_dropout": 0.2}
    train(toy_argv(tmp_path / "whole", **options))
    train(toy_argv(tmp_path / "parts", max_updates=3, **options))
    train(toy_argv(tmp_path / "parts", **options))
    whole, parts = (load_checkpoint(tmp_path / name / "epoch-1.pt") for name in ("whole", "parts"))
    for part in ("model", "objectives"):
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items())
