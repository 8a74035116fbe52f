"""Spelling variants, several references, and rates by a field: each through score.py too."""

import gzip
import json

import pytest

from rnnt.errors import UserError
from rnnt.score import main
from rnnt.scoring import score
from rnnt.scoring.by_field import rates_by, read_field
from rnnt.scoring.glm import read_glm
from rnnt.scoring.report import score_best

GLM = """;; variants
* name "variants"
colour => color
[GONNA] => [going to] / [ ] __ [ ]
going to go => leave ;; longer than what begins it
uh =>
"""


@pytest.mark.parametrize(
    "text, expected",
    [
        ("the colour", "the color"),
        ("gonna", "gonna"),
        ("GONNA go", "going to go"),  # what a rule gives is not looked at again
        ("uh going to go home uh", "leave home"),
        ("discolour", "discolour"),
        ("", ""),
    ],
)
def test_rules(tmp_path, text, expected):
    (tmp_path / "glm").write_text(GLM)
    assert read_glm(tmp_path / "glm").apply(text) == expected


def test_case_as_the_file_says(tmp_path):
    (tmp_path / "glm").write_text("* case_sensitive = 'F'\n" + GLM)
    assert read_glm(tmp_path / "glm").apply("Colour gonna Stay") == "color going to Stay"


@pytest.mark.parametrize(
    "line, message",
    [
        ("a b", "line 2: expected `words => words`"),
        ("=> a", "line 2: expected `words => words`"),
        ("a => b / [c] __ [ ]", "line 2: rules with a context are not supported"),
        ("a => {b / c} / [ ] __ [ ]", "line 2: alternatives in {} are not supported"),
    ],
)
def test_a_line_that_is_no_rule_is_named(tmp_path, line, message):
    (tmp_path / "glm").write_text(f"x => y\n{line}\n")
    with pytest.raises(UserError, match="glm: ") as caught:
        read_glm(tmp_path / "glm")
    assert message in str(caught.value)


def test_the_best_of_several_references():
    refs = {"u1": "one two", "u2": "a", "u3": "x"}
    hyps = {"u1": "one too", "u2": "b c", "u3": "x"}
    report = score_best([refs, {"u1": "one too", "u2": "q r s"}, {"u2": "d b e c"}], hyps)
    assert report.refs == {"u1": "one too", "u2": "d b e c", "u3": "x"}  # two errors each: the longest
    assert (report.counts.errors, report.counts.length) == (2, 7)
    assert score_best([refs], hyps) == score(refs, hyps)
    with pytest.raises(UserError, match="such as u9"):
        score_best([refs, {"u9": "one"}], hyps)


CUTS = [
    {"id": "u1", "duration": 1.5, "supervisions": [{"id": "s", "speaker": "x", "custom": {"accent": "north"}}]},
    {"id": "u2", "duration": 2.5, "supervisions": [{"id": "s", "speaker": "y"}], "custom": {"snr": {"db": 5}}},
    {"id": "other", "duration": 9.0},
]


@pytest.fixture
def manifest(tmp_path):
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(cut) + "\n" for cut in CUTS)
    return tmp_path / "cuts.jsonl.gz"


@pytest.mark.parametrize(
    "field, expected",
    [
        ("speaker", {"u1": "x", "u2": "y"}),
        ("accent", {"u1": "north"}),
        ("snr.db", {"u2": 5}),
        ("duration", {"u1": 1.5, "u2": 2.5}),
    ],
)
def test_a_field_is_found_where_it_stands(manifest, field, expected):
    assert read_field(manifest, field, {"u1": "", "u2": ""}) == expected


def test_fields_that_are_not_there(manifest):
    with pytest.raises(UserError, match="no utterance has a field mood; there are: accent, duration, snr, speaker"):
        read_field(manifest, "mood", {"u1": "", "u2": ""})
    with pytest.raises(UserError, match="none of the utterances"):
        read_field(manifest, "speaker", {"v": ""})
    (manifest.parent / "broken").write_text('{"id": "u1"}\n[1]\n')
    with pytest.raises(UserError, match="broken: line 2: not a JSON object"):
        read_field(manifest.parent / "broken", "speaker", {"u1": ""})


def test_groups_hold_every_utterance_once():
    refs = {f"u{i:02}": "one two" for i in range(24)}
    report = score(refs, {key: "one two" if i % 2 else "one" for i, key in enumerate(refs)})
    rows = rates_by(report, {key: i / 2 for i, key in enumerate(refs) if i < 18})
    assert [name for name, *_ in rows] == ["0 - 1", "1.5 - 2.5", "3 - 4", "4.5 - 5.5", "6 - 7", "7.5 - 8.5", "-"]
    assert [n for _, n, *_ in rows] == [3] * 6 + [6]
    assert sum((c for _, _, c, _ in rows[1:]), rows[0][2]) == report.counts
    assert all(interval.low <= c.rate <= interval.high for _, _, c, interval in rows)
    few = rates_by(report, {key: i % 2 for i, key in enumerate(refs)})
    assert [(name, c.rate) for name, _, c, _ in few] == [("0", 50.0), ("1", 0.0)]


def test_all_of_it_by_score_py(tmp_path, manifest, capsys):
    files = {"ref": "u1 the colour\nu2 one\n", "hyp": "u1 the color\nu2 two\n", "more": "u2 two\n", "glm": GLM}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    ref, hyp, more, glm = (str(tmp_path / name) for name in files)
    main(["wer", ref, hyp, "--glm", glm, "--by", "speaker", "--manifest", str(manifest)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("%WER 33.33 ")
    assert [line.split()[:4] for line in lines[-2:]] == [["x", "1", "2", "0.00"], ["y", "1", "1", "100.00"]]
    main(["wer", ref, hyp, "--glm", glm, "--other-refs", more])
    assert capsys.readouterr().out.startswith("%WER 0.00 ")
    with pytest.raises(SystemExit):
        main(["wer", ref, hyp, "--by", "speaker"])
    assert "--by and --manifest belong together" in capsys.readouterr().err
