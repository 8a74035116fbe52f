"""transcribe.py, export_model.py and rnnt.load_model: an untrained model, and one that hears tones as words."""

import io
import json
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import rnnt
from rnnt import decode, export_model, transcribe
from rnnt.data.config import FeatureConfig
from rnnt.data.features import make_extractor
from rnnt.errors import UserError
from rnnt.model.config import LossConfig, ModelConfig
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.result import Hypothesis
from rnnt.text.tokenizer import Tokenizer
from rnnt.training.averaging import load_for_decoding
from rnnt.training.config import Selection
from rnnt.transcription.config import PieceConfig
from rnnt.transcription.recognizer import Recognizer

RATE = 8000
FEATURES = FeatureConfig(sampling_rate=RATE, num_mel_bins=20)
TOY_FEATURES = FeatureConfig(sampling_rate=RATE, num_mel_bins=8)  # of the toy data
TONES = {"one": 500, "two": 1100, "three": 2300}


def tones(words, rate=RATE, gap=0.16):
    """Samples in which each word is 0.24 s of its own frequency, between stretches of silence."""
    time = np.arange(int(0.24 * rate)) / rate
    silence = np.zeros(int(gap * rate))
    parts = [silence]
    for word in words:
        parts += [0.5 * np.sin(2 * np.pi * TONES[word] * time), silence]
    return np.concatenate(parts).astype(np.float32)


class HearsTones:
    """Stands for model and search: the loudest filter of an encoder frame (4 frames) says which word it is.

    A word's tokens are emitted from the first frame of its tone on, also where a piece begins within it.
    """

    def __init__(self, tokenizer):
        self.config = SimpleNamespace(subsampling_factor=4)
        extractor = make_extractor(FEATURES)
        heard = {word: extractor.extract(tones([word]))[16:40].mean(0).argmax() for word in TONES}
        self.tokens = {int(bin): tokenizer.encode(word) for word, bin in heard.items()}
        self.batches = []

    def to(self, device):
        return self

    def eval(self):
        return self

    def encode(self, x_BTF, x_len_B):
        self.batches.append(tuple(x_BTF.shape[:2]))
        return x_BTF[:, 2::4], (x_len_B + 1) // 4

    def search(self, model, h_BTD, h_len_B, config, scorers):
        return [[self.hear(h_TD[:length].numpy())] for h_TD, length in zip(h_BTD, h_len_B.tolist())]

    def hear(self, h_TD):
        tokens, frames, before = [], [], None
        for frame, h_D in enumerate(h_TD):
            now = int(h_D.argmax()) if h_D.max() > 0 else None
            if now in self.tokens and now != before:
                tokens += self.tokens[now]
                frames += [frame + i for i in range(len(self.tokens[now]))]
            before = now
        return Hypothesis(tuple(tokens), tuple(frames), (-0.1,) * len(tokens), (0.9,) * len(tokens), -0.1 * len(tokens))


@pytest.fixture
def listener(toy, monkeypatch):
    """A `Recognizer` that writes down the tones of `TONES`."""
    tokenizer = Tokenizer.load(toy)
    model = HearsTones(tokenizer)
    monkeypatch.setattr("rnnt.transcription.recognizer.search_batch", model.search)
    return Recognizer(model, FEATURES, tokenizer)


@pytest.fixture(scope="module")
def experiment(toy, tmp_path_factory):
    """An experiment folder with untrained weights."""
    from rnnt.model.transducer import Transducer
    from rnnt.training.checkpoint import save_checkpoint
    from rnnt.training.experiment import write_experiment

    exp_dir = tmp_path_factory.mktemp("exp")
    config = ModelConfig(
        encoder_dim=16, encoder_layers=1, subsampling_channels=4, predictor_dim=8, joiner_dim=8, num_features=8,
        vocab_size=Tokenizer.load(toy).vocab_size,
    )  # fmt: skip
    loss = LossConfig(ctc_loss_scale=0.3)
    write_experiment(exp_dir, {"model": config, "loss": loss, "features": TOY_FEATURES}, toy / "bpe.model")
    torch.manual_seed(0)
    save_checkpoint(exp_dir / "epoch-1.pt", {"model": Transducer(config, loss).state_dict()})
    return exp_dir


@pytest.fixture(scope="module")
def model_dir(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    export_model.main(["--exp-dir", str(experiment), "--out", str(folder)])
    return folder


@pytest.fixture
def speech(tmp_path):
    """`speech(name, words, rate=8000)` writes a file of tones and returns its path as text."""

    def write(name, words, rate=RATE, channels=1):
        samples = tones(words, rate)
        soundfile.write(tmp_path / name, np.stack([samples] * channels, 1) if channels > 1 else samples, rate)
        return str(tmp_path / name)

    return write


# The recognizer


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_formats_and_rates(listener, speech, suffix, rate):
    found = listener.transcribe(speech(f"a.{suffix}", ["two", "one", "three", "three"], rate))
    assert found.text == "two one three three"
    starts = [word.start for word in found.channels[0].words]
    # Some decoders put their delay before the audio.
    np.testing.assert_allclose(starts, [0.16, 0.56, 0.96, 1.36], atol=0.14 if suffix == "mp3" else 0.05)


def test_channels_are_apart(listener, tmp_path):
    left, right = tones(["one", "two"]), tones(["three", "one"])
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), RATE)
    found = listener.transcribe(tmp_path / "a.wav")
    assert [channel.text for channel in found.channels] == ["one two", "three one"]
    assert listener.transcribe(np.stack([left, right]), sampling_rate=RATE).channels == found.channels


@pytest.mark.parametrize("rate, piece, overlap", [(8000, 5.0, 1.5), (8000, 3.1, 1.4), (11025, 7.3, 2.0), (44100, 5, 2)])
def test_long_audio_is_cut_and_joined(listener, rate, piece, overlap):
    words = [str(word) for word in np.random.default_rng(0).choice(list(TONES), 150)]
    samples = tones(words, rate)
    found = listener.transcribe(samples, rate, pieces=PieceConfig(piece, overlap, batch_seconds=12))
    assert found.text.split() == words
    starts = [word.start for word in found.channels[0].words]
    np.testing.assert_allclose(starts, 0.16 + 0.4 * np.arange(150), atol=0.08)
    assert len(listener.model.batches) > 3
    assert all(count * frames <= 1200 for count, frames in listener.model.batches)


def test_short_inputs_share_batches_and_keep_their_order(listener):
    words = [["one"], ["two", "two"], ["three"] * 5, ["one", "three"]] * 3
    found = listener.transcribe([tones(w) for w in words], RATE)
    assert [t.text.split() for t in found] == words and len(listener.model.batches) == 1


def test_a_bad_input_does_not_stop_the_stream(listener, speech, tmp_path):
    long = speech("long.flac", ["one"] * 60)
    content = (tmp_path / "long.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    inputs = [long, str(tmp_path / "cut.flac"), str(tmp_path / "missing.wav"), np.zeros(3, np.float32), tones(["two"])]
    done = []
    results = list(listener.stream(inputs, RATE, pieces=PieceConfig(4, 2), on_audio=done.append))
    assert results[0].text.split() == ["one"] * 60 and results[4].text == "two"
    for result, problem in zip(results[1:4], ("cut.flac: truncated", "missing.wav: no such file", "less than a frame")):
        assert isinstance(result, UserError) and problem in str(result)
    assert sum(done) >= results[0].seconds + results[4].seconds - 0.01
    with pytest.raises(UserError, match="missing.wav"):
        listener.transcribe([inputs[4], inputs[2]], RATE)


def test_one_array_gives_one_transcript(listener):
    assert listener.transcribe(torch.from_numpy(tones(["two"])), 8000).text == "two"
    assert listener.transcribe([], 8000) == []


# The model directory


def test_round_trip_gives_equal_outputs(experiment, model_dir):
    before, features, tokenizer, name = load_for_decoding(experiment, Selection())
    loaded = rnnt.load_model(model_dir, device="cpu")
    assert loaded.features == features == TOY_FEATURES and loaded.selection == name == "epoch-1-avg-1"
    assert loaded.tokenizer.pieces == tokenizer.pieces
    x_BTF, x_len_B = torch.randn(2, 60, 8), torch.tensor([60, 41])
    config = SearchConfig(blank_penalty=2.0)
    with torch.inference_mode():
        h_BTD, h_len_B = before.encode(x_BTF, x_len_B)
        again_BTD, _ = loaded.model.encode(x_BTF, x_len_B)
    assert torch.equal(h_BTD, again_BTD)
    found = search(before, h_BTD, h_len_B, config)
    assert found == search(loaded.model, again_BTD, h_len_B, config) and found[0][0].tokens
    assert {path.name for path in model_dir.iterdir()} == {"weights.pt", "config.json", "bpe.model"}
    description = json.loads((model_dir / "config.json").read_text())
    assert description["frame_seconds"] == 0.04 and description["versions"]["torch"] == torch.__version__.split("+")[0]


def test_decode_takes_a_model_directory(experiment, model_dir, toy, tmp_path):
    common = ["--manifest-dir", str(toy), "--num-workers", "0", "--device", "cpu", "--blank-penalty", "3"]
    decode.main([*common, "--exp-dir", str(experiment)])
    decode.main([*common, "--exp-dir", str(tmp_path), "--model-dir", str(model_dir)])
    folders = [place / "decode_greedy_search" / "dev" for place in (experiment, tmp_path)]
    hyps = [(folder / "hyp.trn").read_text() for folder in folders]
    assert hyps[0] == hyps[1] and "(dev-000)" in hyps[0]
    assert [json.loads((f / "summary.json").read_text())["checkpoint"] for f in folders] == ["epoch-1-avg-1"] * 2


def test_a_model_directory_is_never_overwritten(experiment, model_dir, capsys):
    with pytest.raises(SystemExit) as caught:
        export_model.main(["--exp-dir", str(experiment), "--out", str(model_dir)])
    assert caught.value.code == 1 and "is there already" in capsys.readouterr().err


def copy(model_dir, folder, **changed):
    folder.mkdir()
    for path in model_dir.iterdir():
        if changed.get(path.stem, path) is not None:
            (folder / path.name).write_bytes(changed.get(path.stem) or path.read_bytes())
    return folder


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"weights": None}, "weights.pt: no such"),
        ({"bpe": None}, "bpe.model: no such"),
        ({"config": None}, "config.json: no such file"),
        ({"config": b'{"exp_dir": 1}'}, "not a model directory"),
        ({"config": b'{"format": 99}'}, "format 99"),
        ({"weights": b"PK garbage"}, "weights.pt"),
    ],
)
def test_incomplete_directories_are_refused(model_dir, tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        rnnt.load_model(copy(model_dir, tmp_path / "m", **changed))


def test_other_weights_are_refused(model_dir, tmp_path):
    description = json.loads((model_dir / "config.json").read_text())
    description["model"]["encoder_dim"] = 32
    with pytest.raises(UserError, match="does not fit"):
        rnnt.load_model(copy(model_dir, tmp_path / "m", config=json.dumps(description).encode()))


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("dump", [pickle.dumps, lambda value: saved(value)])
def test_pickled_code_is_not_executed(model_dir, tmp_path, dump):
    content = dump({"weights": Harmful(str(tmp_path / "harm"))})
    with pytest.raises(UserError, match="weights.pt"):
        rnnt.load_model(copy(model_dir, tmp_path / "m", weights=content))
    assert not (tmp_path / "harm").exists()


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


# The program


def run(model_dir, *arguments):
    transcribe.main(
        ["--model", str(model_dir), "--device", "cpu", "--threads", "1", "--blank-penalty", "3", *map(str, arguments)]
    )


def test_program_agrees_with_python(model_dir, speech, capsys):
    paths = [speech("a.wav", ["one", "two"]), speech("b.flac", ["three"], 16000, channels=2)]
    found = rnnt.load_model(model_dir, "cpu").transcribe(paths, search=SearchConfig(blank_penalty=3.0))
    assert found[0].text
    run(model_dir, *paths)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{paths[0]}\t{found[0].text}" and lines[2] == f"{paths[1]}:2\t{found[1].channels[1].text}"
    run(model_dir, paths[0])
    assert capsys.readouterr().out == found[0].text + "\n"
    run(model_dir, *paths, "--output-format", "json")
    values = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [value["audio"] for value in values] == paths and len(values[1]["channels"]) == 2
    assert [w["word"] for w in values[0]["channels"][0]["words"]] == [w.word for w in found[0].channels[0].words]


@pytest.mark.parametrize(
    "form, suffix", [("text", "txt"), ("json", "json"), ("srt", "srt"), ("vtt", "vtt"), ("ctm", "ctm")]
)
def test_files_in_a_folder(model_dir, speech, tmp_path, form, suffix):
    run(
        model_dir,
        speech("a.wav", ["one"]),
        speech("b.wav", ["two"]),
        "--output-format",
        form,
        "--output-dir",
        tmp_path / "o",
    )
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == [f"a.{suffix}", f"b.{suffix}"]
    assert (tmp_path / "o" / f"a.{suffix}").read_text()


def test_bad_files_are_reported_and_the_rest_goes_on(model_dir, speech, tmp_path, capsys, monkeypatch):
    good = speech("good.wav", ["one"])
    (tmp_path / "bad.wav").write_text("no audio")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{tmp_path}/bad.wav\n\n{good}\n{tmp_path}/gone.wav\n"))
    with pytest.raises(SystemExit) as caught:
        run(model_dir, "-")
    output = capsys.readouterr()
    assert caught.value.code == 1 and output.out.startswith(f"{good}\t") and len(output.out.splitlines()) == 1
    assert "bad.wav: not readable" in output.err and "gone.wav: no such file" in output.err
    assert "2 of 3 files" in output.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a/x.wav", "b/x.flac", "--output-dir", "o"], "both be written"),
        (["x.wav", "y.wav", "--output-format", "srt"], "needs --output-dir"),
        (["x.wav", "--lm", "/nonexistent"], "/nonexistent"),
    ],
)
def test_what_cannot_work_is_refused_at_once(model_dir, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        run(model_dir, *arguments)
    error = capsys.readouterr().err
    assert caught.value.code == 1 and message in error and len(error.splitlines()) == 1


def test_importing_rnnt_loads_nothing_heavy():
    code = (
        "import sys, rnnt; assert callable(rnnt.load_model); assert not {'torch', 'numpy', 'lhotse'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
