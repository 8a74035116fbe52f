"""decode.py on a tiny experiment with random weights and made features."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from rnnt.data.config import FeatureConfig
from rnnt.decode import main
from rnnt.decoding.config import DecodeConfig
from rnnt.decoding.run import TimedBatches
from rnnt.decoding.settings import parse_settings
from rnnt.model.config import ModelConfig
from rnnt.options import make, to_dict
from rnnt.scoring.results_dir import read_utterances
from rnnt.scoring.table import result_table
from rnnt.scoring.transcripts import read_trn
from rnnt.search.config import SEARCHES
from rnnt.text.ngram import estimate, write_arpa
from rnnt.text.tokenizer import Tokenizer
from rnnt.training.config import Options

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
def experiment(tmp_path_factory, save_untrained):
    """(experiment folder, folder of cuts): sets `train` and `dev`, epochs 1 and 2 with different weights."""
    import sentencepiece

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
    model_config = make(
        ModelConfig,
        encoder_dim=16, encoder_layers=1, subsampling_channels=4, predictor_dim=8, joiner_dim=8, num_features=20,
        vocab_size=vocab,
    )  # fmt: skip
    options = make(Options, exp_dir=str(exp), manifest_dir=str(cuts), num_workers=0)
    write_experiment(exp, options, {"model": model_config, "features": FEATURES}, root / "bpe.model")
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        save_untrained(exp / f"epoch-{epoch}.pt", model_config, FEATURES, root / "bpe.model")
    return exp, cuts


def folder_of(experiment, *options):
    return parse_settings(["--exp-dir", str(experiment[0]), *options]).folder()


def run(experiment, *options):
    exp, cuts = experiment
    fixed = ["--num-workers", "0", "--device", "cpu", "--threads", "1"]
    main(["--exp-dir", str(exp), "--manifest-dir", str(cuts), *fixed, *options])


@pytest.mark.parametrize("method", SEARCHES)
def test_writes_all_files_of_every_set(experiment, capsys, method):
    options = ["--decoding-method", method, "--epoch", "2"]
    run(experiment, "--decode-sets", "dev", "train", *options)
    printed = capsys.readouterr().out
    for name, count in (("dev", 7), ("train", 12)):
        folder = folder_of(experiment, *options) / name
        assert {p.name for p in folder.iterdir()} == FILES
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["sentences"] == count and summary["search"]["decoding_method"] == method
        assert summary["checkpoint"] == "epoch-2-avg-1" and summary["rtf"] > 0
        assert len((folder / "ref.trn").read_text().splitlines()) == count
        line = (folder / "wer").read_text().splitlines()[0]
        assert line.startswith("%WER ") and f"[ {summary['errors']} / {summary['words']}," in line
        assert f"{folder}: {line} %CER {summary['cer']:.2f} RTF" in printed


@pytest.mark.parametrize("method", SEARCHES)
def test_batch_size_changes_nothing(experiment, method):
    """Encoder included: the same texts, and scores within 1e-4 (they are stored with four digits)."""
    found = []
    for seconds in ("0.5", "100"):
        options = ["--max-duration", seconds, "--decoding-method", method, "--blank-penalty", "2"]
        run(experiment, *options)
        folder = folder_of(experiment, *options) / "dev"
        found.append(((folder / "hyp.trn").read_text(), [u["score"] for u in read_utterances(folder)]))
    assert found[0][0] == found[1][0] and len(found[0][1]) == 7
    assert found[0][1] == pytest.approx(found[1][1], abs=2.1e-4)


@pytest.mark.parametrize("method", ["greedy_search", "modified_beam_search"])
def test_streaming_finds_the_same(experiment, method):
    found = []
    for streaming in ("false", "true"):
        options = ["--decoding-method", method, "--epoch", "1", "--streaming", streaming]
        run(experiment, "--decode-sets", "train", *options)
        folder = folder_of(experiment, *options)
        assert folder.name.endswith("_streaming") == (streaming == "true")
        found.append((folder / "train" / "hyp.trn").read_text())
    assert found[0] == found[1] and any(len(line.split()) > 2 for line in found[0].splitlines())


@pytest.mark.parametrize(
    "options, message",
    [
        (["--streaming", "true", "--decoding-method", "beam_search"], "beam_search needs the whole utterance"),
        (["--chunk-size", "16", "--left-context-frames", "64"], "--chunk-size is for a causal zipformer"),
        (["--streaming", "true", "--right-seconds", "1"], "the lstm encoder keeps what it heard"),
        (["--left-seconds", "1"], "go with --streaming true"),
    ],
)
def test_what_can_not_stream_is_refused(experiment, capsys, options, message):
    with pytest.raises(SystemExit) as caught:
        run(experiment, *options)
    assert caught.value.code == 1 and message in capsys.readouterr().err


def test_utterances_have_words_with_times_and_an_nbest_list(experiment):
    options = ["--decoding-method", "modified_beam_search", "--nbest", "3", "--blank-penalty", "3"]
    run(experiment, *options)
    folder = folder_of(experiment, *options) / "dev"
    utterances = read_utterances(folder)
    hyps = read_trn(folder / "hyp.trn")
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
    tokens = [tokenizer.tokens[i] for i in tokenizer.encode("three three")]
    write_arpa(estimate([tokens] * 5, 2, tokenizer.tokens[3:]), tmp_path / "2gram.arpa")
    (tmp_path / "hot").write_text("five four\ntwo :3\n")
    options = ["--decoding-method", "modified_beam_search", "--blank-penalty", "3"]
    hyps = []
    for more in (
        [],
        ["--lm", str(tmp_path / "2gram.arpa"), "--lm-scale", "2"],
        ["--context-file", str(tmp_path / "hot")],
    ):
        run(experiment, *options, *more)
        folder = folder_of(experiment, *options, *more)
        hyps.append((folder / "dev" / "hyp.trn").read_text())
    assert "three" not in hyps[0] and "three" in hyps[1]
    assert hyps[2].count("two") > hyps[0].count("two")


def test_average_is_another_model(experiment):
    run(experiment, "--epoch", "2", "--avg", "2")
    summary = json.loads((folder_of(experiment, "--epoch", "2", "--avg", "2") / "dev" / "summary.json").read_text())
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
        (["--decode-sets", "tset"], "tset.jsonl: no such manifest; the sets there are dev train"),
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
    waiting = TimedBatches([1, 2, 3])
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
    folder = folder_of(experiment, *options)
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


def test_shards_that_are_there_are_kept_and_others_are_not_mixed(experiment, capsys):
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
    run(experiment, "--split", "2/2", "--max-duration", "1")
    with pytest.raises(SystemExit):
        run(experiment, "--merge", "2")
    assert "2-of-2.jsonl: made with other options" in capsys.readouterr().err
    run(experiment, "--split", "1/2", "--max-duration", "1")
    run(experiment, "--merge", "2")
    assert not folder.exists()
    (folder.parent / "parts").mkdir()
    (folder / "1-of-1.jsonl").write_text('{"key": {')
    with pytest.raises(SystemExit):
        run(experiment, "--merge", "1")
    assert "1-of-1.jsonl: not complete" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--split", "1/1"]])
def test_what_stage_6_left_out_is_in_the_summary_and_the_table(experiment, capsys, options):
    exp, cuts = experiment
    folder = exp / "decode_greedy_search" / "dev"
    (cuts / "left_out.json").write_text('{"dev": {"unreadable audio": 2}, "train": {}}')
    try:
        run(experiment, *options)
        if options:
            run(experiment, "--merge", "1")
    finally:
        (cuts / "left_out.json").unlink()
    said = "2 utterances are left out and not scored: unreadable audio 2"
    assert f"{folder}: {said}" in capsys.readouterr().out
    assert json.loads((folder / "summary.json").read_text())["left_out"] == {"unreadable audio": 2}
    assert "not scored</th><td>unreadable audio 2" in (folder / "report.html").read_text()
    assert f"* dev: {said}" in " ".join(map(str.strip, result_table([exp])))
    run(experiment)
    assert "left_out" not in json.loads((folder / "summary.json").read_text())


def test_references_that_the_tokens_rewrite_are_said(experiment, capsys, tmp_path):
    from lhotse import CutSet

    cuts = list(CutSet.from_file(experiment[1] / "dev.jsonl"))
    cuts[2].supervisions[0].text = "\uff4fne two"  # full width
    for name in ("features.json", "cmvn.json"):
        if (experiment[1] / name).exists():
            shutil.copy(experiment[1] / name, tmp_path / name)
    CutSet.from_cuts(cuts).to_jsonl(tmp_path / "dev.jsonl")
    run((experiment[0], tmp_path))
    printed = capsys.readouterr().out
    assert "warning: dev: 1 reference with characters that the tokens of the model rewrite" in printed
    assert "'\uff4fne two' of dev-2, written 'one two'" in printed


@pytest.mark.parametrize("options", [["--split", "3/2"], ["--split", "0/2"], ["--split", "2"], ["--merge", "-1"]])
def test_bad_splits_exit_with_status_2(experiment, options):
    with pytest.raises(SystemExit) as caught:
        run(experiment, *options)
    assert caught.value.code == 2


def test_batches_name_the_audio():
    from lhotse import MonoCut, Recording, SupervisionSegment
    from lhotse.audio import AudioSource

    from rnnt.data.audio import files_of

    recording = Recording("r", [AudioSource("file", [0], "a/b.flac")], 16000, 32000, 2.0)
    cut = MonoCut("c", 0.0, 1.0, 0, [SupervisionSegment("c", "r", 0.0, 1.0)], recording=recording)
    assert files_of(cut) == ["a/b.flac"] and files_of(cut.pad(2.0)) == ["a/b.flac"]


def test_a_neural_language_model(experiment, tmp_path):
    from rnnt.checkpoints.language_model import TrainedLanguageModel, write_language_model
    from rnnt.model.language.base import make_language_model
    from rnnt.model.language.config import LanguageModelConfig

    tokenizer = Tokenizer.load(experiment[0] / "bpe.model")
    config = make(LanguageModelConfig, dim=8, layers=1, vocab_size=tokenizer.vocab_size, boundary_id=1)
    torch.manual_seed(0)
    trained = TrainedLanguageModel(make_language_model(config).eval(), config, tokenizer, "epoch-1-avg-1")
    write_language_model(tmp_path / "mine", trained, {})
    options = ["--epoch", "2", "--decoding-method", "modified_beam_search", "--blank-penalty", "2"]
    fused = [*options, "--nn-lm", str(tmp_path / "mine"), "--lm-scale", "0.4"]
    run(experiment, *options)
    run(experiment, *fused)
    folder = folder_of(experiment, *fused)
    assert re.search(r"_nn-lm-mine\.[0-9a-f]{4}-0\.4$", folder.name)
    assert json.loads((folder / "dev" / "summary.json").read_text())["fusion"]["nn_lm"] == str(tmp_path / "mine")
    texts = [(path / "dev" / "hyp.trn").read_text() for path in (folder, folder_of(experiment, *options))]
    assert texts[0] != texts[1]


def test_n_best_lists_have_all_that_rescoring_needs(experiment, capsys):
    from rnnt.decoding.rescoring.program import main as rescore

    options = ["--epoch", "2", "--decoding-method", "modified_beam_search", "--blank-penalty", "2", "--nbest", "4"]
    run(experiment, *options)
    folder = folder_of(experiment, *options)
    tokenizer = Tokenizer.load(experiment[0] / "bpe.model")
    utterances = read_utterances(folder / "dev")
    for utterance in utterances:
        assert len(utterance["nbest"]) == 4 and utterance["words"] == utterance["nbest"][0]["words"]
        for h in utterance["nbest"]:
            assert tokenizer.decode(tokenizer.tokens.index(token) for token in h["tokens"]) == h["text"]
            assert [word["word"] for word in h["words"]] == h["text"].split()
    arpa = experiment[0] / "2gram.arpa"
    write_arpa(estimate([tokenizer.tokens[3:9]], 2, [t for t in tokenizer.tokens if t[0] != "<"]), arpa)
    rescore(["--decode-dir", str(folder), "--lm", str(arpa), "--tune-set", "dev", "--grid", "lm-scale=0,1"])
    assert "_rescored_lm-2gram." in capsys.readouterr().out
