import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnt.score import main
from rnnt.scoring import score
from rnnt.scoring.results_dir import write_results_dir


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ref.trn").write_text("one two (u1)\nthree (u2)\n")
    (tmp_path / "hyp").write_text("u1 one too\nu2 three\n")
    return str(tmp_path / "ref.trn"), str(tmp_path / "hyp")


def make_summary(folder, name, wer, unit="word"):
    folder.mkdir(parents=True)
    values = {
        "set": name,
        "unit": unit,
        "wer": wer,
        "cer": wer / 2,
        "substitutions": 1,
        "deletions": 2,
        "insertions": 3,
        "words": 100,
        "rtf": 0.0123,
    }
    more = {"wer_low": wer - 1, "wer_high": wer + 1, "checkpoint": "epoch-5-avg-1"}
    (folder / "summary.json").write_text(json.dumps({**values, **more}))


def test_wer_prints_kaldis_lines_and_writes_details(files, tmp_path, capsys):
    main(["wer", *files, "--details", str(tmp_path / "details")])
    assert capsys.readouterr().out.splitlines() == [
        "%WER 33.33 [ 1 / 3, 0 ins, 0 del, 1 sub ]",
        "%CER 8.33 [ 1 / 12, 0 ins, 0 del, 1 sub ]",
        "%SER 50.00 [ 1 / 2 ]",
        "Scored 2 sentences, 0 not present in hyp.",
    ]
    assert "S two too 1" in (tmp_path / "details").read_text()


def test_characters(files, capsys):
    main(["wer", *files, "--unit", "char"])
    assert capsys.readouterr().out.startswith("%CER 8.33 [ 1 / 12, 0 ins, 0 del, 1 sub ]")


def test_another_script_in_the_c_locale(tmp_path):
    """Words, characters and details, where the locale knows only ASCII."""
    for name, text in (("ref", "\u4eca\u5929\u5929\u6c14"), ("hyp", "\u4eca\u65e5\u5929\u6c14")):
        (tmp_path / name).write_text(f"u1 {text}\nu2 \u597d\n", encoding="utf-8")
    code = "from rnnt.score import main; main()"
    command = [sys.executable, "-c", code, "wer", "ref", "hyp", "--unit", "char", "--details", "details"]
    environment = {**os.environ, "LC_ALL": "C", "LANG": "C"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"%CER 20.00 [ 1 / 5, 0 ins, 0 del, 1 sub ]\n%WER 50.00 ")
    assert "S \u5929 \u65e5 1" in (tmp_path / "details").read_text(encoding="utf-8")


def test_normalisation_is_asked_for(tmp_path, capsys):
    (tmp_path / "ref").write_text("u1 One two.\n")
    (tmp_path / "hyp").write_text("u1 one two\n")
    main(["wer", str(tmp_path / "ref"), str(tmp_path / "hyp")])
    assert capsys.readouterr().out.startswith("%WER 100.00 ")
    main(["wer", str(tmp_path / "ref"), str(tmp_path / "hyp"), "--normalize", "lower", "no-punctuation"])
    assert capsys.readouterr().out.startswith("%WER 0.00 ")


def test_table_has_a_row_for_every_set_below_its_decode(tmp_path, capsys, monkeypatch):
    make_summary(tmp_path / "a" / "decode_greedy_search" / "test", "test", 6.0)
    make_summary(tmp_path / "a" / "decode_greedy_search" / "dev", "dev", 7.0)
    make_summary(tmp_path / "a" / "decode_beam_search" / "test", "test", 5.5)
    make_summary(tmp_path / "b" / "decode_greedy_search" / "dev", "dev", 61.25, "char")
    main(["table", str(tmp_path / "a")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["set", "%WER", "%CER", "95%", "S", "D", "I", "words", "RTF"]
    assert lines[2] == "beam_search, epoch-5-avg-1"
    assert lines[3].split() == ["test", "5.50", "2.75", "4.50-6.50", "1", "2", "3", "100", "0.0123"]
    assert lines[4] == "greedy_search, epoch-5-avg-1" and len(lines) == 7
    assert [line.split()[0] for line in lines[5:]] == ["dev", "test"]
    monkeypatch.chdir(tmp_path)
    main(["table", "a", "b"])
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if line.endswith("epoch-5-avg-1")]
    methods = ("a: beam_search", "a: greedy_search", "b: greedy_search")
    assert len(lines) == 9 and titles == [f"{method}, epoch-5-avg-1" for method in methods]
    assert "100 chars" in lines[-1]


def test_table_says_what_was_left_out(tmp_path, capsys):
    for method, left_out in (("greedy_search", {"unreadable features": 2, "empty text": 1}), ("beam_search", None)):
        folder = tmp_path / "a" / f"decode_{method}" / "test"
        make_summary(folder, "test", 6.0)
        if left_out:
            summary = json.loads((folder / "summary.json").read_text())
            (folder / "summary.json").write_text(json.dumps({**summary, "left_out": left_out}))
    main(["table", str(tmp_path / "a")])
    lines = capsys.readouterr().out.splitlines()
    assert [lines[i].split()[0] for i in (3, 5)] == ["test", "test*"]
    note = " ".join(line.strip() for line in lines[6:])
    assert note == "* test: 3 utterances are left out and not scored: unreadable features 2, empty text 1"


def test_tables_fit_a_terminal(tmp_path, capsys, monkeypatch):
    """Even with every setting, and the numbers of a large set."""
    monkeypatch.chdir(tmp_path)
    label = "modified_beam_search_epoch-30_avg-12_beam-8_lm-5gram-0.3_lodr-2gram-0.16_context-names_blank-penalty-1.5"
    exp = Path("exp/zipformer-cr-ctc")
    for name in ("test-newspeaker", "test-other"):
        make_summary(exp / f"decode_{label}" / name, name, 12.34)
        path = exp / f"decode_{label}" / name / "summary.json"
        large = {"substitutions": 5000, "deletions": 4000, "insertions": 300, "words": 52576, "cer": 10.11}
        large |= {"wer_low": 11.22, "wer_high": 13.44, "search": {"decoding_method": "modified_beam_search"}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **large, "left_out": {"unreadable features": 2}}))
    main(["table", str(exp), str(exp)])
    lines = capsys.readouterr().out.splitlines()
    assert sum("52576" in line for line in lines) == 4 and max(map(len, lines)) <= 80
    refs = {f"s{i}": "one two" for i in range(8)}
    for system in ("a", "b"):
        decode_folder(Path(system) / f"decode_{label}" / "test-newspeaker", refs, {**refs, "s1": "one"})
    main(["compare", "a", "b"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def decode_folder(folder, refs, hyps):
    report = score(refs, hyps, speakers={key: key[:2] for key in refs})
    utterances = [{"id": key, "speaker": key[:2]} for key in refs]
    write_results_dir(folder, report, utterances, {"set": "test", "rtf": 0.1, "checkpoint": "epoch-1"})


def test_compare_two_experiments(tmp_path, capsys, checked_page):
    refs = {f"s{i % 5}-{i:02}": "one two three four" for i in range(40)}
    worse = {key: "one too three four" if i % 2 else "one two three four" for i, key in enumerate(refs)}
    decode_folder(tmp_path / "a" / "decode_greedy_search" / "test", refs, worse)
    decode_folder(tmp_path / "b" / "decode_greedy_search" / "test", refs, refs)
    decode_folder(tmp_path / "b" / "decode_beam_search" / "test", refs, refs)
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[2] == "greedy_search"
    name, a, b, difference, _, better, p, segments = lines[3].split()
    assert (name, a, b, difference, segments) == ("test", "12.50", "0.00", "-12.50", "20")
    assert float(better) == 1.0 and float(p) < 0.001
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--html", str(tmp_path / "page.html")])
    assert capsys.readouterr().out.splitlines() == [*lines, str(tmp_path / "page.html")]
    checker = checked_page((tmp_path / "page.html").read_text())
    assert "-12.5" in checker.text and checker.text.count("A 1, B 0 of 4") == 20 and checker.fetched == []


def test_compare_two_decodes_of_one_experiment(tmp_path, capsys):
    refs = {f"s{i % 5}-{i:02}": "one two" for i in range(10)}
    for decode, wrong in (("greedy_search", 2), ("modified_beam_search_beam-8", 0)):
        hyps = {key: "one too" if i < wrong else "one two" for i, key in enumerate(refs)}
        for name in ("dev", "test"):
            decode_folder(tmp_path / f"decode_{decode}" / name, refs, hyps)
    a, b = str(tmp_path / "decode_greedy_search"), str(tmp_path / "decode_modified_beam_search_beam-8")
    main(["compare", a, b])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "greedy_search / modified_beam_search_beam-8"
    assert [line.split()[:3] for line in lines[3:]] == [[name, "10.00", "0.00"] for name in ("dev", "test")]
    main(["compare", f"{b}/test", f"{a}/test"])
    assert capsys.readouterr().out.splitlines()[3].split()[:3] == ["test", "0.00", "10.00"]
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path), b])
    assert f"{tmp_path} is an experiment and {b} a decode; compare two of one kind" in capsys.readouterr().err


def test_table_names_the_settings(tmp_path, capsys):
    """But not those that the name of the weights says."""
    for label in ("greedy_search", "greedy_search_avg-1_sym-1"):
        make_summary(tmp_path / f"decode_{label}" / "test", "test", 6.0)
        path = tmp_path / f"decode_{label}" / "test" / "summary.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "search": {"decoding_method": "greedy_search"}}))
    main(["table", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2::2] == ["greedy_search, epoch-5-avg-1", "greedy_search, epoch-5-avg-1, sym-1"]


def test_compare_refuses_what_cannot_be_compared(tmp_path, capsys):
    decode_folder(tmp_path / "a" / "decode_greedy_search" / "test", {"u": "one"}, {"u": "one"})
    decode_folder(tmp_path / "b" / "decode_greedy_search" / "test", {"u": "two"}, {"u": "one"})
    decode_folder(tmp_path / "c" / "decode_greedy_search" / "dev", {"u": "one"}, {"u": "one"})
    for other, message in (("b", "different references"), ("c", "no set in common")):
        with pytest.raises(SystemExit):
            main(["compare", str(tmp_path / "a"), str(tmp_path / other)])
        assert message in capsys.readouterr().err


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
