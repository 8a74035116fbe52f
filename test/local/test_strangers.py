"""A corpus, a model or an archive of a stranger runs nothing, fetches nothing and writes nothing outside its folder."""

import gzip
import json
import os
import socket
from pathlib import Path

import pytest
from lhotse import CutSet, Recording, SupervisionSegment, SupervisionSet

from rnnt.data.audio import write_audio


def write_lines(path, items):
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(item) + "\n" for item in items)


def read_lines(path):
    with gzip.open(path) as file:
        return list(map(json.loads, file))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """`corpus(name, **source)`: lhotse manifests of one utterance, whose source is changed; they lie in the folder."""
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "a.wav", [0.1, -0.1] * 4000, 8000)

    def make(name="x", folder=".", **source):
        recording = Recording.from_file("a.wav").to_dict()
        recording["sources"][0].update(source)
        Path(folder).mkdir(exist_ok=True)
        write_lines(f"{folder}/{name}_recordings.jsonl.gz", [recording])
        segment = SupervisionSegment("u/1", recording["id"], 0.0, 1.0, text="one", speaker="s")
        write_lines(f"{folder}/{name}_supervisions.jsonl.gz", [segment.to_dict()])
        return f"{name}_recordings.jsonl.gz"

    return make


def refuse(run, argv, capsys, *words):
    """Run a program that refuses: one line with `words`, and status 1 or 2."""
    with pytest.raises(SystemExit) as stop:
        run(argv)
    error = capsys.readouterr().err
    assert stop.value.code in (1, 2) and error.count("\n") == 1 and "Traceback" not in error, error
    for word in words:
        assert word in error
    return error


COMMAND = {"type": "command", "source": "touch ran; cat a.wav"}


def test_a_command_of_a_lhotse_manifest_runs_with_allow_pipes_alone_and_once(corpus, program, capsys):
    main, path = program("import_corpus").main, corpus(**COMMAND)
    refuse(main, ["--sets", f"train={path}"], capsys, f"{path}:1: ", "--allow-pipes true")
    assert not os.path.exists("ran") and not os.path.exists("data/manifests/sets")
    main(["--sets", f"train={path}", "--allow-pipes", "true"])
    assert os.path.exists("ran")
    (recording,) = read_lines("data/manifests/train_recordings.jsonl.gz")
    assert recording["sources"] == [
        {"type": "file", "channels": [0], "source": os.path.abspath("data/audio/train/a.flac")}
    ]


@pytest.mark.parametrize("source", [COMMAND, {"type": "url", "source": "http://127.0.0.1:9/a.wav"}])
@pytest.mark.parametrize("features", ["stored", "onthefly"])
def test_stage_3_reads_files_alone(corpus, program, capsys, source, features):
    corpus("train", folder="data", **source)
    argv = ["--sets", "train", "--manifest-dir", "data", "--out", "fbank", "--sampling-rate", "8000"]
    refuse(
        program("compute_fbank").main, [*argv, "--features", features, "--device", "cpu"], capsys,
        "train_recordings.jsonl.gz: line 1: ",
    )  # fmt: skip
    assert not os.path.exists("ran")


def test_a_cut_with_a_command_is_not_imported(corpus, program, capsys):
    corpus()
    cut = CutSet.from_cuts([Recording.from_file("a.wav").to_cut()]).to_file("cuts.jsonl") or json.loads(
        Path("cuts.jsonl").read_text()
    )
    cut["supervisions"] = [SupervisionSegment("u", cut["recording"]["id"], 0.0, 1.0, text="one").to_dict()]
    cut["recording"]["sources"][0].update(COMMAND)
    Path("cuts.jsonl").write_text(json.dumps(cut) + "\n")
    for more in ([], ["--allow-pipes", "true"]):
        refuse(program("import_corpus").main, ["--sets", "train=cuts.jsonl", *more], capsys, "cuts.jsonl:1: ")
    assert not os.path.exists("ran")


@pytest.mark.parametrize("name", ["..", ".", "/tmp", ".hidden", "log", "features", "x_recordings"])
def test_a_set_never_leaves_its_folder(corpus, program, capsys, name):
    path = corpus()
    main = program("import_corpus").main
    refuse(main, ["--sets", f"train={path}", f"{name}={path}"], capsys, "--sets: ", name)
    refuse(main, ["--sets", f"train={path}", f"--hold-out={name}=train:1"], capsys, "--hold-out")
    assert not os.path.exists("data/manifests/train_recordings.jsonl.gz")


@pytest.mark.parametrize("stage", ["compute_fbank", "validate", "export_kaldi", "decode_sets", "choose_sets"])
def test_a_list_of_sets_leads_nowhere(corpus, program, capsys, stage):
    """The list itself may be a stranger's."""
    os.makedirs("data/manifests")
    Path("data/manifests/sets").write_text("train\n..\n")
    Path("keep").write_text("")
    argv = ["--bpe-model", "x"] if stage == "validate" else []
    refuse(program(stage).main, argv, capsys, "data/manifests/sets: '..' can't be the name of a set")
    assert os.path.exists("keep")


def test_recordings_of_pipes_have_files_of_their_own(corpus, program):
    corpus()
    write_audio("b.wav", [0.3, -0.3] * 2000, 8000)
    os.mkdir("k")
    Path("k/wav.scp").write_text("s1/u1 cat a.wav |\ns1_u1 cat b.wav |\nS1_u1 cat b.wav |\n")
    Path("k/text").write_text("s1/u1 one\ns1_u1 two\nS1_u1 three\n")
    program("import_corpus").main(["--sets", "train=k", "--allow-pipes", "true"])
    recordings = read_lines("data/manifests/train_recordings.jsonl.gz")
    paths = {item["id"]: item["sources"][0]["source"] for item in recordings}
    assert len({path.casefold() for path in paths.values()}) == 3
    assert {key: Recording.from_file(path).duration for key, path in paths.items()} == {
        "s1/u1": 1.0, "s1_u1": 0.5, "S1_u1": 0.5,
    }  # fmt: skip


def test_exported_data_has_no_line_that_kaldi_would_run(corpus, program, capsys):
    corpus()
    os.rename("a.wav", "a.wav\nb touch ran |")
    item = Recording.from_file("a.wav\nb touch ran |", recording_id="r").to_dict()
    os.makedirs("data/manifests")
    write_lines("data/manifests/train_recordings.jsonl.gz", [item])
    segments = [SupervisionSegment("u", "r", 0.0, 1.0, text="one\nu2 two")]
    SupervisionSet.from_segments(segments).to_file("data/manifests/train_supervisions.jsonl.gz")
    for pipes in ("true", "false"):
        refuse(program("export_kaldi").main, ["--sets", "train", "--pipes", pipes], capsys, "recording r: ")
    os.rename("a.wav\nb touch ran |", "a.wav")
    write_lines("data/manifests/train_recordings.jsonl.gz", [Recording.from_file("a.wav", recording_id="r").to_dict()])
    program("export_kaldi").main(["--sets", "train"])
    assert Path("data/kaldi/train/text").read_text() == "u one u2 two\n"


SHARDS = {
    "command": ("pipe:touch ran; cat x", "is a command; give --allow-pipes true to run the commands of this list"),
    "address": ("http://ADDRESS/x", "is on the web; give --allow-urls true to fetch what this list names"),
    "capitals": ("HTTP://ADDRESS/x", "is neither a file nor pipe:, http:// or https://"),
    "file": ("file:///etc/passwd", "is neither a file nor pipe:, http:// or https://"),
    "other protocol": ("ftp://ADDRESS/x", "is neither a file nor pipe:, http:// or https://"),
    "bucket": ("s3://bucket/x", "write the command that reads them, such as pipe:aws s3 cp s3://... -"),
}
OTHER_PERMISSION = {"command": ["--allow-urls", "true"], "address": ["--allow-pipes", "true"]}


@pytest.fixture
def listener(monkeypatch):
    """`listener.address`, and `listener.asked()`: whether anyone has connected to it."""
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)

        class Listener:
            address = f"127.0.0.1:{server.getsockname()[1]}"

            def asked(self):
                try:
                    server.accept()[0].close()
                except BlockingIOError:
                    return False
                return True

        yield Listener()


@pytest.fixture
def shard_list(toy, listener, tmp_path, monkeypatch):
    """`shard_list(text, *parts)`: a folder whose train set is a list of shards that `text` is a part of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def make(text, part="cuts", **entry):
        os.mkdir("cuts")
        for name in ("features.json", "cmvn.json", "dev.jsonl"):
            Path("cuts", name).write_bytes((toy / name).read_bytes())
        entry = {"cuts": "a.jsonl.gz", "features": "a.tar", **entry, part: text.replace("ADDRESS", listener.address)}
        Path("cuts/train.shards").write_text(json.dumps(entry) + "\n")

    return make


@pytest.mark.parametrize("durations", [{"durations": [1.0]}, {}], ids=["with durations", "without"])
@pytest.mark.parametrize("part", ["cuts", "features"])
@pytest.mark.parametrize("kind", SHARDS)
def test_a_list_of_shards_runs_and_fetches_nothing(shard_list, toy, listener, capsys, kind, part, durations):
    from rnnt.alignment.program import main as align
    from rnnt.decode import main as decode
    from rnnt.train import main as train

    text, message = SHARDS[kind]
    shard_list(text, part, **durations)
    sets = ["--manifest-dir", "cuts"]
    for run, argv in (
        (train, [*sets, "--bpe-model", str(toy / "bpe.model")]),
        (decode, [*sets, "--decode-sets", "train"]),
        (align, [*sets, "--sets", "train"]),
    ):
        for more in ([], OTHER_PERMISSION.get(kind, [])):
            refuse(run, [*argv, *more], capsys, "cuts/train.shards: line 1: ", message)
    assert not os.path.exists("ran") and not listener.asked() and not os.path.exists("exp")
    assert not list(Path().glob("rnnt-shards-*"))


def test_what_an_experiment_was_allowed_does_not_count(shard_list, toy, toy_argv, program, listener, capsys):
    """Averages take their statistics from the training set that an experiment names: it may be a stranger's, too."""
    from rnnt.decode import main as decode
    from rnnt.export_model import main as export
    from rnnt.train import main as train

    train(toy_argv("e"))
    record = json.loads(Path("e/config.json").read_text())
    shard_list("pipe:touch ran; cat x", durations=[1.0])
    record["train"]["manifest_dir"] = "cuts"
    record["fetch"] = {"allow_pipes": True, "allow_urls": True}
    Path("e/config.json").write_text(json.dumps(record))
    argv = ["--exp-dir", "e", "--avg", "2"]
    capsys.readouterr()
    refuse(export, [*argv, "--out", "m"], capsys, "cuts/train.shards: line 1: ", "give --allow-pipes true")
    refuse(decode, [*argv, "--manifest-dir", "cuts"], capsys, "cuts/train.shards: line 1: ", "give --allow-pipes true")
    assert not os.path.exists("ran") and not os.path.exists("m")


CONFIGURATIONS = {
    "object": "num_epochs: !!python/object/apply:os.system ['touch ran']\n",
    "name": "num_epochs: !!python/name:os.system\n",
    "base is no configuration": "base: /etc/passwd\n",
    "base is a folder": "base: /\n",
    "base is a device": "base: /dev/null/x\n",
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_configuration_makes_no_objects(tmp_path, monkeypatch, capsys, kind):
    from rnnt.train import main

    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(CONFIGURATIONS[kind])
    refuse(main, ["--config", "c.yaml"], capsys, "/etc/passwd" if kind.startswith("base is no") else "")
    assert not os.path.exists("ran") and not os.path.exists("exp")
