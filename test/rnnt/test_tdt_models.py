"""A token-and-duration transducer: trained, decoded, exported, transcribed, begun from; refused where it is not."""

import json

import numpy as np
import pytest
import torch

from rnnt import load_model
from rnnt.checkpoints.files import load_checkpoint
from rnnt.decode import main as decode
from rnnt.decoding.settings import parse_settings
from rnnt.export_model import main as export
from rnnt.search.config import TDT_SEARCHES, SearchConfig
from rnnt.train import main as train
from rnnt.transcribe import main as transcribe

HEAD = {"tdt.duration_output.weight", "tdt.duration_output.bias"}


@pytest.fixture(scope="module")
def models(tmp_path_factory, toy):
    """Experiments `tdt` (with CTC beside it) and `plain` on the toy data, each with a model directory."""
    folder = tmp_path_factory.mktemp("models")
    common = ["--encoder-dim", "24", "--encoder-layers", "1", "--subsampling-channels", "4", "--max-duration", "6",
              "--predictor-dim", "16", "--joiner-dim", "16", "--manifest-dir", str(toy), "--num-workers", "0",
              "--bpe-model", str(toy / "bpe.model"), "--tensorboard", "false", "--threads", "1", "--device", "cpu",
              "--base-lr", "0.02", "--average-period", "2", "--features-mask-size", "2", "--frames-mask-size", "3",
              "--warmup-steps", "5"]  # fmt: skip
    for name, more in (("tdt", ["--loss", "tdt ctc", "--durations", "0", "1", "2", "--num-epochs", "12"]),
                       ("plain", ["--num-epochs", "1"])):  # fmt: skip
        train(["--exp-dir", str(folder / name), *common, *more])
        export(["--exp-dir", str(folder / name), "--out", str(folder / f"{name}-model")])
    return folder


def decode_dev(exp, toy, method, *more):
    argv = ["--exp-dir", str(exp), "--manifest-dir", str(toy), "--decode-sets", "dev", "--threads", "1",
            "--num-workers", "0", "--decoding-method", method, *more]  # fmt: skip
    decode(argv)
    folder = parse_settings(argv).folder("dev")
    return [json.loads(line) for line in (folder / "utterances.jsonl").read_text().splitlines()]


def test_it_learns_and_its_words_last_as_long_as_it_says(models, toy):
    """The dev set of each epoch is searched by jumps, which nobody asked for."""
    state = load_checkpoint(models / "tdt" / "epoch-12.pt")
    assert set(state["objectives"]) == {*HEAD, "ctc.output.weight", "ctc.output.bias"}
    wers = [json.loads(line)["dev_wer"] for line in (models / "tdt" / "epochs.jsonl").read_text().splitlines()]
    assert wers[-1] < 30, wers
    for method in TDT_SEARCHES:
        utterances = decode_dev(models / "tdt", toy, method)
        found = [word for utterance in utterances for word in utterance["words"]]
        assert found and all(word["end"] > word["start"] >= 0 and 0 < word["confidence"] <= 1 for word in found)
    decode_dev(models / "tdt", toy, "ctc_greedy_search")


def test_a_model_directory_holds_the_durations_and_transcribes(models, toy, tmp_path):
    weights = load_checkpoint(models / "tdt-model" / "heads.pt")
    assert set(weights) >= HEAD
    assert weights["tdt.duration_output.bias"].shape == (3,)
    (described, _) = json.loads((models / "tdt-model" / "config.json").read_text())["heads"]
    assert described["name"] == "tdt" and described["durations"] == [0, 1, 2]
    for method in TDT_SEARCHES:
        from_dir = decode_dev(models / "tdt", toy, method, "--model-dir", str(models / "tdt-model"))
        assert [u["words"] for u in from_dir] == [u["words"] for u in decode_dev(models / "tdt", toy, method)]
    samples = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    model = load_model(models / "tdt-model")
    assert (
        model.transcribe(samples, 8000).text == model.transcribe(samples, 8000, SearchConfig("tdt_greedy_search")).text
    )


def test_what_does_not_fit_is_refused_in_one_line(models, toy, tmp_path, toy_argv, capsys):
    wave = tmp_path / "a.wav"
    wave.write_bytes(b"")
    decoding = ["--manifest-dir", str(toy), "--exp-dir"]
    calls = [
        (decode, [*decoding, str(models / "tdt")], "how long each token lasts, which this search does not heed"),
        (decode, [*decoding, str(models / "plain"), "--decoding-method", "tdt_greedy_search"], "--loss tdt"),
        (transcribe, ["--model", str(models / "tdt-model"), "--decoding-method", "beam_search", str(wave)],
         "choose ctc_greedy_search"),
        (train, toy_argv(tmp_path / "a", loss="tdt", durations="0"), "at least one of them above 0"),
        (train, toy_argv(tmp_path / "b", loss="tdt", loss_backend="k2"), "k2 has no loss with durations"),
        (train, toy_argv(tmp_path / "c", loss="pruned", sigma="0.1"), "--sigma"),
    ]  # fmt: skip
    for program, argv, expected in calls:
        with pytest.raises(SystemExit) as stop:
            program(argv)
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert stop.value.code and expected in line
    assert not list(tmp_path.glob("?/*.pt")) and not list((models / "tdt").glob("decode_greedy*"))


def test_fine_tuning_adds_durations_to_a_transducer_and_keeps_them(models, tmp_path, toy_argv, capsys):
    more = {"max_updates": 1, "durations": "0,1,2"}
    train(toy_argv(tmp_path / "a", loss="tdt", init_from=models / "plain", **more))
    assert "with first weights: objectives.tdt.duration_output" in capsys.readouterr().out
    train(toy_argv(tmp_path / "b", loss="tdt", init_from=models / "tdt-model", **more))
    assert "with first weights" not in capsys.readouterr().out


def test_resume_is_bit_for_bit(tmp_path, toy_argv):
    """Also which micro-batches are trained without durations."""
    options = {"loss": "tdt", "num_epochs": 1, "omega": 0.5}
    train(toy_argv(tmp_path / "whole", **options))
    train(toy_argv(tmp_path / "parts", max_updates=3, **options))
    train(toy_argv(tmp_path / "parts", **options))
    whole, parts = (load_checkpoint(tmp_path / name / "epoch-1.pt") for name in ("whole", "parts"))
    for part in ("model", "objectives"):
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items())
