"""transcribe.py, export_model.py and rnnt.load_model: an untrained model, and one that hears tones as words."""

import contextlib
import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import rnnt
from rnnt import decode, export_model, transcribe
from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.decoding.settings import parse_settings
from rnnt.errors import UserError
from rnnt.model.config import ModelConfig
from rnnt.options import make
from rnnt.search import search
from rnnt.search.config import SearchConfig
from rnnt.search.result import Hypothesis
from rnnt.streaming.config import StreamConfig
from rnnt.text.tokenizer import Tokenizer
from rnnt.training.config import Options
from rnnt.transcription import serve
from rnnt.transcription.config import ChunkConfig
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

    A word's tokens are emitted from the first frame of its tone on, also where a chunk begins within it.
    """

    def __init__(self, tokenizer):
        self.subsampling_factor = 4
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
def experiment(toy, tmp_path_factory, save_untrained):
    """An experiment folder with untrained weights."""
    from rnnt.training.experiment import write_experiment

    exp_dir = tmp_path_factory.mktemp("exp")
    config = make(
        ModelConfig,
        encoder_dim=16, encoder_layers=1, subsampling_channels=4, predictor_dim=8, joiner_dim=8, num_features=8,
        vocab_size=Tokenizer.load(toy).vocab_size,
    )  # fmt: skip
    write_experiment(exp_dir, make(Options), {"model": config, "features": TOY_FEATURES}, toy / "bpe.model")
    torch.manual_seed(0)
    save_untrained(exp_dir / "epoch-1.pt", config, TOY_FEATURES, toy / "bpe.model")
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


@pytest.mark.parametrize("rate, chunk, overlap", [(8000, 5.0, 1.5), (8000, 3.1, 1.4), (11025, 7.3, 2.0), (44100, 5, 2)])
def test_long_audio_is_cut_and_joined(listener, rate, chunk, overlap):
    words = [str(word) for word in np.random.default_rng(0).choice(list(TONES), 150)]
    samples = tones(words, rate)
    found = listener.transcribe(samples, rate, chunks=ChunkConfig(chunk, overlap, batch_seconds=12))
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
    results = list(listener.transcribe_each(inputs, RATE, chunks=ChunkConfig(4, 2), on_audio=done.append))
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
    found = load_for_decoding(experiment, Selection())
    before, features, tokenizer, name = found.network, found.features, found.tokenizer, found.name
    loaded = rnnt.load_model(model_dir, device="cpu")
    assert loaded.features == features == TOY_FEATURES and loaded.selection == name == "epoch-1-avg-1"
    assert loaded.tokenizer.tokens == tokenizer.tokens
    x_BTF, x_len_B = torch.randn(2, 60, 8), torch.tensor([60, 41])
    config = SearchConfig(blank_penalty=2.0)
    with torch.inference_mode():
        h_BTD, h_len_B = before.encode(x_BTF, x_len_B)
        again_BTD, _ = loaded.model.encode(x_BTF, x_len_B)
    assert torch.equal(h_BTD, again_BTD)
    nbest = search(before, h_BTD, h_len_B, config)
    assert nbest == search(loaded.model, again_BTD, h_len_B, config) and nbest[0][0].tokens
    assert {path.name for path in model_dir.iterdir()} == {"weights.pt", "config.json", "bpe.model"}
    description = json.loads((model_dir / "config.json").read_text())
    assert description["frame_seconds"] == 0.04 and description["versions"]["torch"] == torch.__version__.split("+")[0]


def test_decode_takes_a_model_directory(experiment, model_dir, toy, tmp_path):
    common = ["--manifest-dir", str(toy), "--num-workers", "0", "--device", "cpu", "--blank-penalty", "3"]
    folders = []
    for more in (["--exp-dir", str(experiment)], ["--exp-dir", str(tmp_path), "--model-dir", str(model_dir)]):
        decode.main([*common, *more])
        folders.append(parse_settings([*common, *more]).folder("dev"))
    hyps = [(folder / "hyp.trn").read_text() for folder in folders]
    assert hyps[0] == hyps[1] and "(dev-000)" in hyps[0]
    assert [json.loads((f / "summary.json").read_text())["checkpoint"] for f in folders] == ["epoch-1-avg-1"] * 2


def test_a_model_directory_is_never_overwritten(experiment, model_dir, capsys):
    with pytest.raises(SystemExit) as caught:
        export_model.main(["--exp-dir", str(experiment), "--out", str(model_dir)])
    assert caught.value.code == 1 and "already exists" in capsys.readouterr().err


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
    description["model"]["encoder"]["encoder_dim"] = 32
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


def test_bad_files_are_reported_and_the_rest_continues(model_dir, speech, tmp_path, capsys, monkeypatch):
    good = speech("good.wav", ["one"])
    (tmp_path / "bad.wav").write_text("no audio")
    lines = f"{tmp_path}/bad.wav\n\n{good}\n{tmp_path}/gone.wav\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    with pytest.raises(SystemExit) as caught:
        run(model_dir, "-")
    output = capsys.readouterr()
    assert caught.value.code == 1 and output.out.startswith(f"{good}\t") and len(output.out.splitlines()) == 1
    assert "bad.wav: not readable" in output.err and "gone.wav: no such file" in output.err
    assert "2 of 3 files" in output.err


def test_one_bad_file_of_any_kind_leaves_the_others(model_dir, speech, tmp_path, capsys, monkeypatch):
    """A name that is no UTF-8, no header, a NaN, a truncated file and a chain, in a list with the ends of Windows."""
    good = speech("good.wav", ["one"])
    shutil.copy(good, os.fsencode(tmp_path) + b"/caf\xe9.wav")
    (tmp_path / "take.raw").write_bytes(bytes(8000))
    samples = tones(["two"])
    samples[1000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "half.w64", samples, RATE)
    (tmp_path / "half.w64").write_bytes((tmp_path / "half.w64").read_bytes()[:3000])
    speech("chain.ogg", ["one"])
    (tmp_path / "chain.ogg").write_bytes((tmp_path / "chain.ogg").read_bytes() * 2)
    (tmp_path / "empty.wav").touch()
    names = [b"good.wav", b"caf\xe9.wav", b"take.raw", b"nan.wav", b"half.w64", b"chain.ogg", b"empty.wav", b"good.wav"]
    lines = b"\xef\xbb\xbf" + b"".join(os.fsencode(tmp_path) + b"/" + name + b"\r\n" for name in names)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), "ascii"))
    with pytest.raises(SystemExit) as caught:
        run(model_dir, "-")
    output = capsys.readouterr()
    assert caught.value.code == 1 and [line.split("\t")[0] for line in output.out.splitlines()] == [good, good]
    errors = output.err.splitlines()
    assert len(errors) == 7 and "6 of 8 files" in errors[-1]
    for line, name, problem in zip(
        errors,
        ("caf\\udce9.wav", "take.raw", "nan.wav", "half.w64", "chain.ogg", "empty.wav"),
        ("not UTF-8", "not readable as audio", "a sample is nan", "truncated", "several Ogg", "the file is empty"),
    ):
        assert f"{tmp_path}/{name}: " in line and problem in line


def test_files_as_if_they_were_spoken(model_dir, speech, capsys):
    path = speech("a.wav", ["one", "two", "three", "one"], 16000)
    config = StreamConfig(tail_seconds=0.0)
    stream = rnnt.load_model(str(model_dir), device="cpu").stream(blank_penalty=3.0, config=config)
    samples, rate = soundfile.read(path, dtype="float32")
    stream.accept(samples[:777], rate)
    stream.accept(samples[777:], rate)
    run(model_dir, str(path))
    whole = capsys.readouterr().out
    assert stream.finish() + "\n" == whole and whole.strip()
    run(model_dir, str(path), "--streaming", "true", "--tail-seconds", "0", "--rule3-length", "60")
    printed = capsys.readouterr()
    assert printed.out == whole and "of real time, the slowest piece" in printed.err
    with pytest.raises(SystemExit):
        run(model_dir, str(path), "--streaming", "true", "--decoding-method", "beam_search")
    assert "needs the whole utterance" in capsys.readouterr().err


class FakeMicrophone(types.ModuleType):
    """sounddevice with a microphone that plays `samples`, and Ctrl-C behind them."""

    class PortAudioError(Exception):
        pass

    def __init__(self, samples, rate):
        super().__init__("sounddevice")
        self.samples, self.rate = samples, rate

    def query_devices(self, kind):
        return {"default_samplerate": float(self.rate)}

    def InputStream(self, samplerate, channels, dtype):  # noqa: N802
        assert (samplerate, channels, dtype) == (self.rate, 1, "float32")
        return contextlib.nullcontext(self)

    def read(self, size):
        part, self.samples = self.samples[:size], self.samples[size:]
        if not len(self.samples):
            signal.raise_signal(signal.SIGINT)
        return np.pad(part, (0, size - len(part)))[:, None], len(self.samples) < 2 * size


def test_the_microphone(model_dir, tmp_path, capsys, monkeypatch):
    path, rate = tmp_path / "a.wav", 44100
    samples = tones(["one", "two", "three", "one"], rate)
    samples = np.pad(samples, (0, -len(samples) % (rate // 10))).astype(np.float32)  # whole pieces
    soundfile.write(path, samples, rate, subtype="FLOAT")
    handler = signal.getsignal(signal.SIGINT)

    def listen(*arguments):
        monkeypatch.setitem(sys.modules, "sounddevice", FakeMicrophone(samples, rate))
        run(model_dir, "--microphone", "true", *arguments)
        return capsys.readouterr()

    for seconds in ("60", "1"):
        options = ["--rule3-length", seconds, "--max-sym-per-frame", "1"]
        run(model_dir, path, "--streaming", "true", *options)
        wanted = capsys.readouterr().out
        printed = listen(*options)
        assert printed.out.replace("\n", " ").split() == wanted.split() != []
        assert (printed.out.count("\n") > 1) == (seconds == "1")  # an utterance each
        assert printed.err.startswith("listening; Ctrl-C ends\n") and printed.err.count("warning: ") == 1
    assert signal.getsignal(signal.SIGINT) is handler
    assert json.loads(listen(*options, "--output-format", "json").out)["channels"][0]["text"] == wanted.strip()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal = listen(*options).out
    assert [line.split("\r\x1b[K")[-1] for line in terminal.split("\n")][:-1] == printed.out.splitlines()
    assert terminal.count("\r\x1b[K") > 10


@pytest.mark.parametrize(
    "options, message",
    [
        (["--stream-chunk-seconds", "0.64"], "--stream-chunk-seconds: for --streaming true"),
        (["--left-seconds", "4", "--tail-seconds", "1"], "--left-seconds, --tail-seconds: for --streaming true"),
        (["--streaming", "true", "--chunk-seconds", "30"], "--chunk-seconds: a stream is not cut"),
        (["--streaming", "true", "--decoding-method", "modified_beam_search", "--nbest", "2"], "--nbest: a stream"),
        (["--beam-size", "8"], "--beam-size: without effect on --decoding-method greedy_search"),
    ],
)
def test_options_without_effect_are_refused(options, message, capsys):
    for main, arguments in ((transcribe.main, ["a.wav"]), (serve.main, [])):
        if main is serve.main and "size" not in message:
            continue
        with pytest.raises(SystemExit) as caught:
            main(["--model", "none", *options, *arguments])
        assert caught.value.code != 0
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1


def test_no_microphone(model_dir, capsys, monkeypatch):
    fake = FakeMicrophone(np.zeros(0, np.float32), 16000)

    def query_devices(kind):
        raise fake.PortAudioError("Error querying device -1")

    fake.query_devices = query_devices
    for module, message in ((fake, "the microphone: Error querying"), (None, "pip install sounddevice")):
        monkeypatch.setitem(sys.modules, "sounddevice", module)
        with pytest.raises(SystemExit):
            run(model_dir, "--microphone", "true")
        assert message in capsys.readouterr().err
    for arguments in ([], ["--microphone", "true", "a.wav"]):
        with pytest.raises(SystemExit):
            run(model_dir, *arguments)
        assert "give FILE or --microphone true" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.flac", "a.wav", "a.ogg"])
def test_audio_on_standard_input(model_dir, speech, capsys, monkeypatch, name):
    path = speech(name, ["one", "two"])
    run(model_dir, path)
    wanted = capsys.readouterr().out
    with open(path, "rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        run(model_dir, "-")
    assert capsys.readouterr().out == wanted


def test_folders_and_patterns(model_dir, speech, tmp_path, capsys):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    names = [speech(f"in/{name}", ["one"]) for name in ("b.wav", "deep/a.flac")]
    (tmp_path / "in" / "notes.txt").write_text("not audio")
    run(model_dir, tmp_path / "in")
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == names
    run(model_dir, f"{tmp_path}/in/*.wav", f"{tmp_path}/in/**/*.flac")
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == names
    (tmp_path / "empty").mkdir()
    for argument, message in (("empty", "empty: no audio files"), ("in/*.mp3", "in/*.mp3: no file is called so")):
        with pytest.raises(SystemExit):
            run(model_dir, f"{tmp_path}/{argument}")
        assert message in capsys.readouterr().err


def test_outputs_that_are_there(model_dir, speech, tmp_path, capsys):
    a, b, out = speech("a.wav", ["one"]), speech("b.wav", ["two"]), tmp_path / "o"
    run(model_dir, a, "--output-dir", out)
    (out / "a.txt").write_text("mine")
    with pytest.raises(SystemExit):
        run(model_dir, a, b, "--output-dir", out)
    assert "a.txt: already exists; --skip-existing true" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["a.txt"] and (out / "a.txt").read_text() == "mine"
    run(model_dir, a, b, "--output-dir", out, "--skip-existing", "true")
    assert "1 file transcribed before, skipped" in capsys.readouterr().err
    assert (out / "a.txt").read_text() == "mine" and (out / "b.txt").exists()
    run(model_dir, a, "--output-dir", out, "--overwrite", "true")
    assert (out / "a.txt").read_text() != "mine"


def test_nbest_lists(model_dir, speech, capsys):
    path = speech("a.wav", ["one"])
    search = ["--decoding-method", "modified_beam_search", "--nbest", "3", "--blank-penalty", "3"]
    run(model_dir, path, *search, "--output-format", "json")
    (channel,) = json.loads(capsys.readouterr().out)["channels"]
    assert len(channel["nbest"]) == 3 and channel["nbest"][0]["text"] == channel["text"]
    recognizer = rnnt.load_model(model_dir, device="cpu")
    found = recognizer.transcribe(
        path, decoding_method="modified_beam_search", nbest=3, blank_penalty=3
    ).channels[0].nbest  # fmt: skip
    assert [(a.text, round(a.score, 4)) for a in found] == [(a["text"], a["score"]) for a in channel["nbest"]]
    # Of audio in several chunks there is none.
    chunks = ChunkConfig(chunk_seconds=0.4, overlap_seconds=0.1)
    several = recognizer.transcribe(path, chunks=chunks, decoding_method="modified_beam_search", nbest=3)
    assert several.channels[0].nbest == ()


def test_options_as_keywords(model_dir, speech, tmp_path, toy):
    recognizer = rnnt.load_model(model_dir, device="cpu")
    path = speech("a.wav", ["one", "two"])
    config = SearchConfig(decoding_method="modified_beam_search", blank_penalty=2.0)
    plain = recognizer.transcribe(path, search=config)
    keywords = {"decoding_method": "modified_beam_search", "blank_penalty": 2}
    assert recognizer.transcribe(path, **keywords) == plain
    (tmp_path / "hot").write_text("two\n")
    by_file = recognizer.transcribe(path, **keywords, context_file=str(tmp_path / "hot"), context_score=9)
    assert recognizer.transcribe(path, **keywords, hotwords=["two"], context_score=9) == by_file != plain
    for options, message in (
        ({"beam": 3}, "no option beam; there are beam_size"),
        ({"beam_size": 8}, "beam_size: without effect on greedy_search"),
        ({"decoding_method": "modified_beam_search", "beam_size": 0}, "--beam-size: must be at least 1"),
        ({"decoding_method": "ctc_greedy_search"}, "not trained with --loss ctc"),
        ({"hotwords": "five"}, "give a list of phrases"),
        ({"search": config, "nbest": 2}, "either search and scorers, or nbest"),
    ):
        with pytest.raises(UserError, match=message):
            recognizer.transcribe(path, **options)


def test_bytes_and_open_files(model_dir, speech):
    recognizer = rnnt.load_model(model_dir, device="cpu")
    path = speech("a.flac", ["one", "two"])
    wanted = recognizer.transcribe(path).text
    data = Path(path).read_bytes()
    with open(path, "rb") as file:
        found = recognizer.transcribe([data, io.BytesIO(data), file, Path(path)])
    assert [transcript.text for transcript in found] == [wanted] * 4
    assert [transcript.name for transcript in found] == ["bytes 0", "file 1", path, path]
    for item, message in (
        (b"nothing", "bytes 0: not readable as audio"),
        ([0.1, 0.2], "array 0: a single number; give all samples as one array"),
        (Path(path).parent, "a folder; give the files in it"),
        (np.zeros((2, 3, 4)), "shape"),
    ):
        with pytest.raises(UserError, match=message):
            recognizer.transcribe(item, 8000)


def test_a_recognizer_says_what_it_is(model_dir):
    text = repr(rnnt.load_model(model_dir, device="cpu"))
    assert text.startswith("<Recognizer epoch-1-avg-1: lstm + stateless, ") and "8 mel bins at 8000 Hz, on cpu>" in text


def test_names_of_the_package():
    for name in rnnt.__all__:
        assert getattr(rnnt, name) is not None and name in rnnt.__all__
    assert rnnt.UserError is UserError and rnnt.SearchConfig is SearchConfig
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        rnnt.nothing  # noqa: B018


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
