"""decode.py on a tiny experiment with random weights and made features."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from rnnt.data.config import AugmentConfig, BatchConfig, FeatureConfig
from rnnt.decode import DecodeConfig, Waiting, main
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.options import to_dict
from rnnt.scoring.folder import read_utterances
from rnnt.scoring.trn import read_texts
from rnnt.search.config import METHODS
from rnnt.training.config import TrainConfig

FEATURES = FeatureConfig(sampling_rate=8000, num_mel_bins=20)
FILES = {"ref.trn", "hyp.trn", "wer", "errors.txt", "utterances.jsonl", "report.html", "summary.json"}
WORDS = ["one", "two", "three", "four", "five"]


def make_manifest(folder, name, count, generator):
    """`<name>.jsonl` of cuts with random features and some words each; utterance 0 is empty."""
    from lhotse import CutSet, MonoCut, NumpyFilesWriter, SupervisionSegment
    from lhotse.features.base import Features

    cuts = []
    with NumpyFilesWriter(folder / name) as writer:
        for i in range(count):
            frames = int(generator.integers(30, 90))
            x_TF = generator.normal(size=(frames, 20)).astype(np.float32)
            duration = frames / 100
            features = Features(
                type="fbank", num_frames=frames, num_features=20, frame_shift=0.01, sampling_rate=8000, start=0.0,
                duration=duration, storage_type=writer.name, storage_path=str(folder / name),
                storage_key=writer.write(f"{name}-{i}", x_TF), recording_id="r", channels=0,
            )  # fmt: skip
            text = " ".join(generator.choice(WORDS, size=min(i, 3)))
            supervision = SupervisionSegment(f"{name}-{i}", "r", 0.0, duration, text=text, speaker=f"s{i % 2}")
            cuts.append(MonoCut(f"{name}-{i}", 0.0, duration, 0, [supervision], features=features))
    CutSet.from_cuts(cuts).to_jsonl(folder / f"{name}.jsonl")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """(experiment folder, folder of cuts): sets `train` and `dev`, epochs 1 and 2 with different weights."""
    import sentencepiece

    from rnnt.model.transducer import Transducer
    from rnnt.training.checkpoint import save_checkpoint
    from rnnt.training.experiment import write_experiment

    root = tmp_path_factory.mktemp("decode")
    cuts, exp = root / "cuts", root / "exp"
    cuts.mkdir()
    generator = np.random.default_rng(0)
    for name, count in (("train", 12), ("dev", 7)):
        make_manifest(cuts, name, count, generator)
    (cuts / "features.json").write_text(json.dumps({**to_dict(FEATURES), "computed_by": "lhotse"}))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS)] * 20),
        model_prefix=str(root / "bpe"), vocab_size=18, model_type="unigram", unk_id=2, bos_id=-1, eos_id=-1,
        user_defined_symbols=["<blk>", "<sos/eos>"], hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    vocab = len(sentencepiece.SentencePieceProcessor(model_file=str(root / "bpe.model")))
    model_config = ModelConfig(
        encoder_dim=16, encoder_layers=1, subsampling_channels=4, predictor_dim=8, joiner_dim=8, num_features=20,
        vocab_size=vocab,
    )  # fmt: skip
    configs = {
        "train": TrainConfig(exp_dir=str(exp), manifest_dir=str(cuts)),
        "model": model_config,
        "loss": LossConfig(),
        "batch": BatchConfig(num_workers=0),
        "features": FEATURES,
        "augment": AugmentConfig(),
    }
    write_experiment(exp, configs, root / "bpe.model")
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        save_checkpoint(exp / f"epoch-{epoch}.pt", {"model": Transducer(model_config, LossConfig()).state_dict()})
    return exp, cuts


def run(experiment, *options):
    exp, cuts = experiment
    fixed = ["--num-workers", "0", "--device", "cpu", "--threads", "1"]
    main(["--exp-dir", str(exp), "--manifest-dir", str(cuts), *fixed, *options])


@pytest.mark.parametrize("method", METHODS)
def test_writes_all_files_of_every_set(experiment, capsys, method):
    run(experiment, "--decode-sets", "dev", "train", "--decoding-method", method, "--epoch", "2")
    printed = capsys.readouterr().out
    for name, count in (("dev", 7), ("train", 12)):
        folder = experiment[0] / f"decode_{method}" / name
        assert {p.name for p in folder.iterdir()} == FILES
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["sentences"] == count and summary["search"]["decoding_method"] == method
        assert summary["checkpoint"] == "epoch-2-avg-1" and summary["rtf"] > 0
        assert len((folder / "ref.trn").read_text().splitlines()) == count
        line = (folder / "wer").read_text().splitlines()[0]
        assert line.startswith("%WER ") and f"[ {summary['errors']} / {summary['words']}," in line
        assert f"{folder}: {line} %CER {summary['cer']:.2f} RTF" in printed


@pytest.mark.parametrize("method", METHODS)
def test_batch_size_changes_nothing(experiment, method):
    """Encoder included: the same texts, and scores within 1e-4 (they are stored with four digits)."""
    found = []
    for seconds in ("0.5", "100"):
        run(experiment, "--max-duration", seconds, "--decoding-method", method, "--blank-penalty", "2")
        folder = experiment[0] / f"decode_{method}" / "dev"
        found.append(((folder / "hyp.trn").read_text(), [u["score"] for u in read_utterances(folder)]))
    assert found[0][0] == found[1][0] and len(found[0][1]) == 7
    assert found[0][1] == pytest.approx(found[1][1], abs=2.1e-4)


def test_utterances_have_words_with_times_and_an_nbest_list(experiment):
    run(experiment, "--decoding-method", "modified_beam_search", "--nbest", "3", "--blank-penalty", "3")
    folder = experiment[0] / "decode_modified_beam_search" / "dev"
    utterances = read_utterances(folder)
    hyps = read_texts(folder / "hyp.trn")
    assert [u["id"] for u in utterances] == sorted(hyps) and any(u["words"] for u in utterances)
    for u in utterances:
        assert u["speaker"] in ("s0", "s1") and len(u["nbest"]) == 3 and u["nbest"][0]["text"] == hyps[u["id"]]
        assert " ".join(w["word"] for w in u["words"]) == hyps[u["id"]]
        for w in u["words"]:
            assert 0 <= w["start"] < w["end"] <= u["seconds"] + 0.04 and 0 <= w["confidence"] <= 1


def test_language_model_and_hotwords_change_the_result(experiment, tmp_path):
    from rnnt.text.ngram import estimate, write_arpa
    from rnnt.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(experiment[0] / "bpe.model")
    pieces = [tokenizer.pieces[i] for i in tokenizer.encode("three three")]
    write_arpa(estimate([pieces] * 5, 2, tokenizer.pieces[3:]), tmp_path / "2gram.arpa")
    (tmp_path / "hot").write_text("five four\ntwo :3\n")
    options = ["--decoding-method", "modified_beam_search", "--blank-penalty", "3"]
    hyps = []
    for more in (
        [],
        ["--lm", str(tmp_path / "2gram.arpa"), "--lm-scale", "2"],
        ["--context-file", str(tmp_path / "hot")],
    ):
        run(experiment, *options, *more)
        hyps.append((experiment[0] / "decode_modified_beam_search" / "dev" / "hyp.trn").read_text())
    assert "three" not in hyps[0] and "three" in hyps[1]
    assert hyps[2].count("two") > hyps[0].count("two")


def test_average_is_another_model(experiment):
    run(experiment, "--epoch", "2", "--avg", "2")
    summary = json.loads((experiment[0] / "decode_greedy_search" / "dev" / "summary.json").read_text())
    assert summary["checkpoint"] == "epoch-2-avg-2"


def test_other_features_are_refused_with_both_values(experiment, tmp_path, capsys):
    exp, cuts = experiment
    for path in cuts.glob("dev.jsonl"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "features.json").write_text(json.dumps(to_dict(FeatureConfig(sampling_rate=16000, num_mel_bins=20))))
    with pytest.raises(SystemExit) as caught:
        run((exp, tmp_path))
    error = capsys.readouterr().err
    assert caught.value.code == 1 and "sampling_rate is 16000" in error and "8000" in error


@pytest.mark.parametrize(
    "options, message",
    [
        (["--decode-sets", "tset"], "tset.jsonl: no such manifest"),
        (["--epoch", "9"], "epoch-9.pt is not there"),
        (["--exp-dir", "/nonexistent"], "/nonexistent"),
    ],
)
def test_bad_input_is_one_line(experiment, capsys, options, message):
    with pytest.raises(SystemExit) as caught:
        run(experiment, *options)
    error = capsys.readouterr().err
    assert caught.value.code == 1 and message in error and len(error.splitlines()) == 1


def test_bad_options_exit_with_status_2(experiment, capsys):
    for options in (["--beam-size", "0"], ["--avg", "0"], ["--decoding-method", "best"], ["--no-such-option"]):
        with pytest.raises(SystemExit) as caught:
            run(experiment, *options)
        assert caught.value.code == 2
    assert "unrecognized arguments: --no-such-option" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom rnnt.decode import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'lhotse', 'jiwer'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--decoding-method" in done.stdout and "--max-sym-per-frame" in done.stdout


def test_waiting_passes_batches_on():
    waiting = Waiting([1, 2, 3])
    assert list(waiting) == [1, 2, 3] and waiting.seconds >= 0
    assert DecodeConfig().decode_sets == ["dev"]


def files_of(folder):
    """The files of a set by name; the times, which differ from run to run, as zeros."""
    summary = json.loads((folder / "summary.json").read_text())
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    for name in ("decoding_seconds", "rtf"):
        texts["summary.json"] = texts["summary.json"].replace(f'"{name}": {summary[name]}', f'"{name}": 0')
    texts["report.html"] = re.sub(r"(real-time factor</th><td>)[^<]*", r"\1", texts["report.html"])
    return texts


@pytest.mark.parametrize("count", [2, 7])
def test_merged_parts_are_the_files_of_one_job(experiment, capsys, count):
    options = ["--decode-sets", "dev", "train", "--decoding-method", "modified_beam_search", "--nbest", "2"]
    options += ["--max-duration", "1.5", "--blank-penalty", "2"]
    folder = experiment[0] / "decode_modified_beam_search"
    run(experiment, *options)
    alone = {name: files_of(folder / name) for name in ("dev", "train")}
    for number in range(1, count + 1):
        run(experiment, *options, "--split", f"{number}/{count}")
    parts = [path.read_text().splitlines()[1:] for path in sorted((folder / "dev" / "parts").iterdir())]
    assert sorted(json.loads(u)["id"] for part in parts for u in part) == [f"dev-{i}" for i in range(7)]
    assert len(parts) == count and (count == 7 or min(map(len, parts)) > 1)
    capsys.readouterr()
    run(experiment, *options, "--merge", str(count))
    assert capsys.readouterr().out.count("%WER") == 2
    for name in ("dev", "train"):
        assert files_of(folder / name) == alone[name]


def test_parts_that_are_there_are_kept_and_others_are_not_mixed(experiment, capsys):
    folder = experiment[0] / "decode_greedy_search" / "dev" / "parts"
    run(experiment, "--split", "1/2")
    first = (folder / "1-of-2.jsonl").stat().st_mtime_ns
    with pytest.raises(SystemExit):
        run(experiment, "--merge", "2")
    error = capsys.readouterr().err
    assert "2-of-2.jsonl: no such file; run decode.py with --split 2/2 first" in error
    run(experiment, "--split", "1/2")
    assert "1-of-2.jsonl: done before, kept" in capsys.readouterr().out
    assert (folder / "1-of-2.jsonl").stat().st_mtime_ns == first
    run(experiment, "--split", "2/2", "--blank-penalty", "1")
    with pytest.raises(SystemExit):
        run(experiment, "--merge", "2")
    assert "2-of-2.jsonl: made with other options" in capsys.readouterr().err
    run(experiment, "--split", "1/2", "--blank-penalty", "1")
    run(experiment, "--merge", "2")
    assert not folder.exists()
    (folder.parent / "parts").mkdir()
    (folder / "1-of-1.jsonl").write_text('{"key": {')
    with pytest.raises(SystemExit):
        run(experiment, "--merge", "1")
    assert "1-of-1.jsonl: not whole" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--split", "3/2"], ["--split", "0/2"], ["--split", "2"], ["--merge", "-1"]])
def test_bad_splits_exit_with_status_2(experiment, options):
    with pytest.raises(SystemExit) as caught:
        run(experiment, *options)
    assert caught.value.code == 2


def test_batches_name_the_audio():
    from lhotse import MonoCut, Recording, SupervisionSegment
    from lhotse.audio import AudioSource

    from rnnt.data.dataset import _audio

    recording = Recording("r", [AudioSource("file", [0], "a/b.flac")], 16000, 32000, 2.0)
    cut = MonoCut("c", 0.0, 1.0, 0, [SupervisionSegment("c", "r", 0.0, 1.0)], recording=recording)
    assert _audio(cut) == ["a/b.flac"] and _audio(cut.pad(2.0)) == ["a/b.flac"]
