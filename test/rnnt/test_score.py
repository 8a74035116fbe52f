import json
import subprocess
import sys

import pytest

from rnnt.score import main


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ref.trn").write_text("one two (u1)\nthree (u2)\n")
    (tmp_path / "hyp").write_text("u1 one too\nu2 three\n")
    return str(tmp_path / "ref.trn"), str(tmp_path / "hyp")


def make_summary(folder, name, wer):
    folder.mkdir(parents=True)
    values = {"set": name, "wer": wer, "substitutions": 1, "deletions": 2, "insertions": 3, "words": 100, "rtf": 0.0123}
    (folder / "summary.json").write_text(json.dumps({**values, "checkpoint": "epoch-5-avg-1"}))


def test_wer_prints_kaldis_lines_and_writes_details(files, tmp_path, capsys):
    main(["wer", *files, "--details", str(tmp_path / "details")])
    assert capsys.readouterr().out.splitlines() == [
        "%WER 33.33 [ 1 / 3, 0 ins, 0 del, 1 sub ]",
        "%SER 50.00 [ 1 / 2 ]",
        "Scored 2 sentences, 0 not present in hyp.",
    ]
    assert "S two too 1" in (tmp_path / "details").read_text()


def test_characters(files, capsys):
    main(["wer", *files, "--unit", "char"])
    assert capsys.readouterr().out.startswith("%CER 8.33 [ 1 / 12, 0 ins, 0 del, 1 sub ]")


def test_table_has_a_row_for_every_set_and_method(tmp_path, capsys):
    make_summary(tmp_path / "a" / "decode_greedy_search" / "test", "test", 6.0)
    make_summary(tmp_path / "a" / "decode_beam_search" / "test", "test", 5.5)
    make_summary(tmp_path / "b" / "decode_greedy_search" / "dev", "dev", 61.25)
    main(["table", str(tmp_path / "a")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["method", "set", "%WER", "S", "D", "I", "words", "RTF", "model"]
    assert lines[2].split() == ["beam_search", "test", "5.50", "1", "2", "3", "100", "0.0123", "epoch-5-avg-1"]
    assert lines[3].split()[0] == "greedy_search" and len(lines) == 4
    main(["table", str(tmp_path / "a"), str(tmp_path / "b")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "experiment" and len(lines) == 5 and lines[4].startswith(str(tmp_path / "b"))


@pytest.mark.parametrize("command", [["wer", "/nowhere/ref", "/nowhere/hyp"], ["table", "/nowhere"]])
def test_bad_input_is_one_line(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main(command)
    error = capsys.readouterr().err
    assert caught.value.code == 1 and "/nowhere" in error and len(error.splitlines()) == 1


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom rnnt.score import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'lhotse', 'jiwer'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "score.py wer REF HYP" in done.stdout
