"""Kaldi data directories: the programs validate, fix, subset, combine and copy on small ones."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Two speakers, three recordings, five utterances.
FILES = {
    "wav.scp": "a-r1 a1.wav\na-r2 sox a2.sph -t wav - |\nb-r1 b1.wav\n",
    "segments": "a-r1-0 a-r1 0 1.5\na-r1-1 a-r1 1.5 3\na-r2-0 a-r2 0.5 2\nb-r1-0 b-r1 0 1\nb-r1-1 b-r1 2 6.5\n",
    "text": "a-r1-0 one two\na-r1-1 three\na-r2-0 vier fünf\nb-r1-0 six\nb-r1-1\n",
    "utt2spk": "a-r1-0 a\na-r1-1 a\na-r2-0 a\nb-r1-0 b\nb-r1-1 b\n",
    "spk2utt": "a a-r1-0 a-r1-1 a-r2-0\nb b-r1-0 b-r1-1\n",
    "spk2gender": "a f\nb m\n",
    "feats.scp": "a-r1-0 x.ark:0\na-r1-1 x.ark:1\na-r2-0 x.ark:2\nb-r1-0 x.ark:3\nb-r1-1 x.ark:4\n",
    "cmvn.scp": "a c.ark:1\nb c.ark:2\n",
    "reco2dur": "a-r1 3\na-r2 2.5\nb-r1 7\n",
    "reco2file_and_channel": "a-r1 a1 A\na-r2 a2 A\nb-r1 b1 A\n",
    "frame_shift": "0.01\n",
}
UTTERANCES = FILES["utt2spk"].split()[::2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name="data", without=(), **changes):
    """A directory with FILES; `changes` by names with _ for the dot."""
    folder = Path(name)
    folder.mkdir(parents=True)
    changed = {key.replace("_scp", ".scp"): value for key, value in changes.items()}
    for file, text in {**FILES, **changed}.items():
        if file not in without:
            (folder / file).write_text(text, encoding="utf-8")
    return folder


def read(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir() if path.is_file()}


def keys(folder, file="utt2spk"):
    return [line.split()[0] for line in (Path(folder) / file).read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def call(program, capsys):
    """`call("fix_data_dir.sh", ...)` is (status, output, errors)."""
    main = program("data_dir").main

    def call(*words):
        try:
            main([str(word) for word in words])
            status = 0
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_a_good_directory(call):
    write()
    status, out, errors = call("validate_data_dir.sh", "data")
    assert (status, errors) == (0, "") and "Successfully validated data-directory data" in out
    assert call("fix_data_dir.sh", "data")[1] == "fix_data_dir.sh: kept all 5 utterances.\n"
    assert read("data") == FILES and not Path("data/.backup").exists()


def test_what_may_be_absent_is_told_by_options(call):
    write(without=("text", "feats.scp", "cmvn.scp", "reco2dur", "reco2file_and_channel", "spk2gender"))
    status, _, errors = call("validate_data_dir.sh", "data")
    assert status == 1 and "give --no-text" in errors and "give --no-feats" in errors and "2 problems" in errors
    assert call("validate_data_dir.sh", "--no-text", "--no-feats", "data")[0] == 0
    assert call("validate_data_dir.sh", "none")[2].endswith("error: none: no such directory\n")
    (Path("data") / "wav.scp").unlink()
    status, _, errors = call("validate_data_dir.sh", "--no-text", "--no-feats", "--no-wav", "data")
    assert status == 1 and "no wav.scp with its recordings" in errors


SORTED_BY_UTTERANCE = {  # not by speakers
    "utt2spk": "1 b\n2 a\n", "spk2utt": "a 2\nb 1\n", "text": "1 x\n2 y\n", "wav_scp": "1 1.wav\n2 2.wav\n",
}  # fmt: skip


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"text": FILES["text"].replace("a-r1-1 three\n", "")}, "text: utterance a-r1-1 of utt2spk has no line"),
        ({"text": FILES["text"] + "c-1 x\n"}, "text: utterance c-1 is not in utt2spk"),
        ({"text": "b-r1-1\n" + FILES["text"].replace("b-r1-1\n", "")}, "text: not sorted: b-r1-1 stands where a-r1-0"),
        ({"text": FILES["text"] + "b-r1-1 again\n"}, "text:6: b-r1-1 is there already"),
        ({"text": FILES["text"].replace("six", "<s> six")}, "text: b-r1-0: <s> stands for something else"),
        ({"text": FILES["text"].replace("one two", "one\u3000two")}, "text: a-r1-0: the character U+3000"),
        ({"segments": FILES["segments"].replace("1.5 3", "1.5")}, "segments: a-r1-1: expected `utterance recording"),
        ({"segments": FILES["segments"].replace("1.5 3", "3 1.5")}, "a-r1-1 is from 3 to 1.5 s"),
        ({"segments": FILES["segments"].replace("6.5", "7.5")}, "b-r1-1 is from 2 to 7.5 s; the recording has 7 s"),
        ({"segments": FILES["segments"].replace("1.5 3", "1.5 x")}, "the end is 'x'; write seconds"),
        ({"wav_scp": FILES["wav.scp"].replace("b-r1 b1.wav\n", "")}, "wav.scp: recording b-r1 of segments has no line"),
        ({"wav_scp": FILES["wav.scp"].replace("a1.wav", "~me/a1.wav")}, "wav.scp: a-r1: programs don't know what ~ is"),
        ({"reco2dur": "a-r1 3\na-r2 long\nb-r1 7\n"}, "reco2dur: a-r2: the length is 'long'"),
        ({"spk2gender": "a f\nb x\n"}, "spk2gender: b: 'x' is neither m nor f"),
        ({"spk2gender": "a f\n"}, "spk2gender: speaker b of utt2spk has no line"),
        ({"spk2utt": "a a-r1-0 a-r1-1\nb a-r2-0 b-r1-0 b-r1-1\n"}, "spk2utt: contradicts utt2spk"),
        ({"utt2spk": FILES["utt2spk"].replace("a-r2-0 a", "a-r2-0 a b")}, "utt2spk: a-r2-0: expected one speaker"),
        ({"feats_scp": ""}, "feats.scp: the file is empty"),
    ],
)  # fmt: skip
def test_problems_are_named(call, changes, words):
    write(**changes)
    status, out, errors = call("validate_data_dir.sh", "data")
    assert status == 1 and words in errors and "Success" not in out
    assert all(line.startswith("validate_data_dir.sh: ") for line in errors.splitlines()[:-1])


def test_order_of_speakers_and_characters_can_be_let_pass(call):
    only = [name for name in FILES if name.replace(".", "_") not in SORTED_BY_UTTERANCE]
    write(without=only, **SORTED_BY_UTTERANCE)
    status, _, errors = call("validate_data_dir.sh", "--no-feats", "data")
    assert status == 1 and "sorted by speakers, 2 stands there" in errors
    assert call("validate_data_dir.sh", "--no-feats", "--no-spk-sort", "data")[0] == 0
    (Path("data") / "text").write_text("1 x\u00a0y\n2 نمی\u200cدانم\n", encoding="utf-8")  # U+200C is part of a word
    status, _, errors = call("validate_data_dir.sh", "--no-feats", "--no-spk-sort", "data")
    assert status == 1 and "1: the character U+00A0" in errors and "200C" not in errors
    assert call("validate_data_dir.sh", "--no-feats", "--no-spk-sort", "--non-print", "data")[0] == 0


def test_fix_keeps_what_goes_together(call):
    lines = FILES["text"].splitlines(keepends=True)
    before = {
        "text": "".join([*lines[::-1][:4], lines[1], "zz no such\n"]),  # a-r1-0 is missing, a-r1-1 is there twice
        "wav_scp": "c-r1 c.wav\n" + FILES["wav.scp"].replace("b-r1 b1.wav\n", ""),
        "spk2utt": "nonsense\n",
    }
    write(**before)
    Path("data/extra").write_text("b-r1-0 1\na-r1-1 2\n")
    status, out, errors = call("fix_data_dir.sh", "--utt-extra-files", "extra none", "data")
    assert (status, errors) == (0, "")
    assert "text: left out 1 line whose" in out
    assert "kept 2 utterances out of 5" in out and "old files are kept in data/.backup" in out
    after = read("data")
    assert after["utt2spk"] == "a-r1-1 a\na-r2-0 a\n" and after["spk2utt"] == "a a-r1-1 a-r2-0\n"
    assert after["text"] == "a-r1-1 three\na-r2-0 vier fünf\n"
    assert after["wav.scp"] == "a-r1 a1.wav\na-r2 sox a2.sph -t wav - |\n" and after["reco2dur"] == "a-r1 3\na-r2 2.5\n"
    assert after["feats.scp"] == "a-r1-1 x.ark:1\na-r2-0 x.ark:2\n" and after["cmvn.scp"] == "a c.ark:1\n"
    assert after["spk2gender"] == "a f\n" and after["extra"] == "a-r1-1 2\n"
    assert Path("data/.backup/text").read_text(encoding="utf-8") == before["text"]
    assert call("validate_data_dir.sh", "data")[0] == 0


def test_fix_that_would_leave_nothing(call):
    write(text="other words\n")
    before = read("data")
    status, _, errors = call("fix_data_dir.sh", "data")
    assert status == 1 and "data: no utterance of the other files is in text" in errors and read("data") == before


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--first", 2], [0, 1]),
        (["--last", 2], [3, 4]),
        ([2], [0, 2]),
        ([5], [0, 1, 2, 3, 4]),
        (["--per-spk", 1], [0, 3]),
        (["--per-spk", 2], [0, 1, 3, 4]),
        (["--per-spk", 9], [0, 1, 2, 3, 4]),
        (["--shortest", 2], [0, 3]),
    ],
)
def test_subsets(call, words, expected):
    write()
    *options, number = words
    status, out, _ = call("subset_data_dir.sh", *options, "data", number, "part")
    assert status == 0 and out == f"subset_data_dir.sh: reducing #utt from 5 to {len(expected)}\n"
    assert keys("part") == [UTTERANCES[i] for i in expected]
    assert set(read("part")) == set(FILES) and call("validate_data_dir.sh", "part")[0] == 0


def test_subsets_of_speakers_and_lists(call):
    write()
    assert call("subset_data_dir.sh", "--speakers", "data", 1, "part")[0] == 0
    assert keys("part") in (UTTERANCES[:3], UTTERANCES[3:])
    assert call("subset_data_dir.sh", "--speakers", "data", 4, "part")[0] == 0
    assert keys("part") == UTTERANCES
    Path("speakers").write_text("b\nnobody\n")
    assert call("subset_data_dir.sh", "--spk-list", "speakers", "data", "part")[0] == 0
    assert keys("part") == UTTERANCES[3:] and keys("part", "wav.scp") == ["b-r1"] and keys("part", "cmvn.scp") == ["b"]
    Path("utterances").write_text("a-r2-0 and more words\n")
    assert call("subset_data_dir.sh", "--utt-list", "utterances", "data", "part")[0] == 0
    assert keys("part") == ["a-r2-0"] and keys("part", "reco2file_and_channel") == ["a-r2"]
    Path("utterances").write_text("nothing\n")
    status, _, errors = call("subset_data_dir.sh", "--utt-list", "utterances", "data", "part")
    assert status == 1 and "utterances: no utterance of it is in data" in errors and keys("part") == ["a-r2-0"]


@pytest.mark.parametrize(
    "words, status, message",
    [
        (["--first", "data", 6, "part"], 1, "data: 6 utterances are asked for, and there are 5"),
        (["--first", "data", "x", "part"], 2, "the number of utterances is 'x'"),
        (["data", "part"], 2, "expected SRC DEST after a list, SRC N DEST without one"),
        (["--first", "--last", "data", 1, "part"], 2, "not allowed with argument"),
        (["data", 1, "./data"], 1, "./data: is both read and written"),
        (["none", 1, "part"], 1, "none: no such directory"),
    ],
)
def test_bad_subsets(call, words, status, message):
    write()
    got, out, errors = call("subset_data_dir.sh", *words)
    assert got == status and message in errors and errors.count("\n") == 1 and out == "" and not Path("part").exists()


def test_shortest_asks_the_audio(call):
    import numpy as np

    from rnnt.data.audio import write_audio

    without = [name for name in FILES if name not in ("wav.scp", "utt2spk", "text")]
    ids = {"utt2spk": "s1 s\ns2 s\ns3 s\n", "text": "s1 a\ns2 b\ns3 c\n", "wav_scp": "s1 1.wav\ns2 2.wav\ns3 3.wav\n"}
    folder = write(without=without, **ids)
    for name, number in (("1", 900), ("2", 300), ("3", 600)):
        write_audio(folder / f"{name}.wav", np.zeros(number, np.float32), 8000)
    assert call("subset_data_dir.sh", "--shortest", "data", 2, "part")[0] == 0
    assert keys("part") == ["s2", "s3"]
    # They are found from the other directory too.
    assert (Path("part") / "wav.scp").read_text() == "".join(f"s{i} {Path('data').resolve()}/{i}.wav\n" for i in (2, 3))
    (folder / "utt2num_frames").write_text("s1 1\ns2 3\ns3 2\n")
    assert call("subset_data_dir.sh", "--shortest", "data", 2, "part")[0] == 0
    assert keys("part") == ["s1", "s3"]
    (folder / "utt2num_frames").unlink()
    (folder / "wav.scp").write_text("s1 1.wav\ns2 cat 2.wav |\ns3 3.wav\n")
    status, _, errors = call("subset_data_dir.sh", "--shortest", "data", 2, "other")
    assert status == 1 and "wav.scp: s2: a command" in errors


def test_audio_is_found_from_the_copy(call):
    """What the folder or the one above finds becomes absolute; what the working directory alone finds stays."""
    without = [name for name in FILES if name not in ("wav.scp", "utt2spk", "text")]
    ids = {"utt2spk": "s1 s\ns2 s\ns3 s\n", "text": "s1 a\ns2 b\ns3 c\n"}
    write("sets/data", without=without, wav_scp="s1 1.wav\ns2 data/2.wav\ns3 here/3.wav\n", **ids)
    Path("here").mkdir()
    for path in ("sets/data/1.wav", "sets/data/2.wav", "here/3.wav"):
        Path(path).touch()
    for words in (["copy_data_dir.sh", "sets/data", "out"], ["combine_data.sh", "out", "sets/data"]):
        assert call(*words)[0] == 0
        lines = Path("out/wav.scp").read_text().splitlines()
        sets = Path("sets").resolve()
        assert lines == [f"s1 {sets}/data/1.wav", f"s2 {sets}/data/2.wav", "s3 here/3.wav"]


OTHER = {
    "wav_scp": "c-1 c1.wav\nc-2 c2.wav\n", "text": "c-1 x\nc-2 y\n", "utt2spk": "c-1 c\nc-2 c\n",
    "spk2utt": "c c-1 c-2\n", "reco2dur": "c-1 2.25\nc-2 4\n", "utt2dur": "c-1 2.25\nc-2 4\n",
}  # fmt: skip


def write_other(**changes):
    without = [name for name in FILES if name.replace(".", "_") not in OTHER]
    return write("other", without=without, **{**OTHER, **changes})


def test_combine(call):
    write()
    write_other()
    status, out, errors = call("combine_data.sh", "all", "data", "other")
    assert (status, errors) == (0, "")
    assert "all: 7 utterances of 3 speakers" in out and "feats.scp is left out" in out
    after = read("all")
    assert after["segments"] == FILES["segments"] + "c-1 c-1 0.000 2.25\nc-2 c-2 0.000 4\n"
    assert after["wav.scp"] == FILES["wav.scp"] + "c-1 c1.wav\nc-2 c2.wav\n" and after["text"].endswith("c-2 y\n")
    assert after["spk2utt"] == FILES["spk2utt"] + "c c-1 c-2\n" and "feats.scp" not in after and "utt2dur" not in after
    assert call("validate_data_dir.sh", "--no-feats", "all")[0] == 0
    # The same again, and with a file of one's own; what stood there before is kept aside.
    for name in ("data", "other"):
        (Path(name) / "utt2snr").write_text("".join(f"{key} 9\n" for key in keys(name)))
    assert call("combine_data.sh", "--extra-files", "utt2snr", "all", "other", "data", "other")[0] == 0
    assert read("all") == {**after, "utt2snr": "".join(f"{key} 9\n" for key in keys("all"))}


def test_combine_refuses_two_values_of_a_key(call):
    write()
    write_other()
    write("third", text=FILES["text"].replace("six", "seven"))
    status, _, errors = call("combine_data.sh", "all", "data", "other", "third")
    assert status == 1 and "third/text: b-r1-0 has another value in data/text" in errors
    assert not Path("all").exists()
    status, _, errors = call("combine_data.sh", "data", "data", "other")
    assert status == 1 and "data: is both read and written" in errors and read("data") == FILES


def test_copy_with_other_ids(call):
    write()
    options = ["--utt-prefix", "sp-", "--utt-suffix", "-x", "--spk-prefix", "sp-"]
    status, out, errors = call("copy_data_dir.sh", *options, "data", "copy")
    assert (status, errors) == (0, "") and out == "copy_data_dir.sh: copied data from data to copy\n"
    after = read("copy")
    assert after["utt2spk"].startswith("sp-a-r1-0-x sp-a\n") and after["spk2utt"].startswith("sp-a sp-a-r1-0-x ")
    assert after["utt2uniq"].startswith("sp-a-r1-0-x a-r1-0\n") and after["wav.scp"] == FILES["wav.scp"]
    assert after["segments"].startswith("sp-a-r1-0-x a-r1 0 1.5\n") and after["cmvn.scp"].startswith("sp-a c.ark:1\n")
    # Ids whose order is no longer that of the speakers need an option.
    status, _, errors = call("copy_data_dir.sh", "--spk-suffix", "-z", "--utt-prefix", "-", "data", "again")
    assert status == 0
    status, _, errors = call("copy_data_dir.sh", "--spk-prefix", "x", "data", "unsorted")
    assert status == 0  # both speakers move alike
    write_other(utt2spk="c-1 d\nc-2 c\n", spk2utt="c c-2\nd c-1\n")
    status, _, errors = call("copy_data_dir.sh", "other", "unsorted2")
    assert status == 1 and "--no-spk-sort" in errors and not Path("unsorted2").exists()
    assert call("copy_data_dir.sh", "--validate-opts", "--no-spk-sort", "other", "unsorted2")[0] == 0
    # Without segments recordings are utterances.
    assert call("copy_data_dir.sh", "--utt-prefix", "p", "--validate-opts", "--no-spk-sort", "other", "copy")[0] == 0
    assert (Path("copy") / "wav.scp").read_text() == "pc-1 c1.wav\npc-2 c2.wav\n"
    assert not (Path("copy") / "segments").exists() and (Path("copy/.backup") / "segments").is_file()


def test_nothing_of_the_folder_that_is_written_is_lost(call):
    write()
    write("part", wav_scp=FILES["wav.scp"])
    (Path("part") / "notes").write_text("mine\n")
    assert call("subset_data_dir.sh", "--first", "data", 1, "part")[0] == 0
    assert (Path("part") / "notes").read_text() == "mine\n"
    assert (Path("part/.backup") / "text").read_text(encoding="utf-8") == FILES["text"]


def test_the_shell_programs():
    """They find the library from anywhere, and messages have their names."""
    write()

    def run(name, *words, **more):
        return subprocess.run([ROOT / "utils" / name, *words], capture_output=True, text=True, **more)

    result = run("subset_data_dir.sh", "--first", "data", "2", "part")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "subset_data_dir.sh: reducing #utt from 5 to 2\n"
    result = run("fix_data_dir.sh", "none")
    assert result.returncode == 1 and result.stderr == "fix_data_dir.sh: error: none: no such directory\n"
    result = run("utt2spk_to_spk2utt.pl", "data/utt2spk")
    assert result.stdout == FILES["spk2utt"], result.stderr
    result = run("spk2utt_to_utt2spk.pl", input=FILES["spk2utt"])
    assert result.stdout == FILES["utt2spk"], result.stderr


def test_every_program_has_its_script(program):
    names = [
        name for name in ROOT.joinpath("local/data_dir.py").read_text().split('"') if name.endswith((".sh", ".pl"))
    ]
    names = {name for name in names if " " not in name}
    assert len(names) == 7
    for name in names:
        text = (ROOT / "utils" / name).read_text()
        assert "data_dir.sh" in text and (ROOT / "utils" / name).stat().st_mode & 0o111
