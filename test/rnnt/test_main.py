"""`rnnt` lists the programs, what is installed and where the documentation is."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from rnnt.__main__ import PROGRAMS, main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [[], ["--help"]], ids=str)
def test_the_overview(arguments, capsys):
    main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert "    transcribe.py     Transcribe audio files of any format, rate and length" in lines
    assert any(re.fullmatch(rf" {{4}}torch +{re.escape(version('torch'))}\b.*", line) for line in lines)
    assert any(line.startswith("    kaldifeat ") for line in lines)
    assert Path(lines[-1].removeprefix("Documentation:").strip()).is_file()


def test_every_program_is_listed(capsys):
    console = dict(re.findall(r'"(\S+) = ([\w.]+):main"', (ROOT / "setup.py").read_text(encoding="utf-8")))
    assert console.pop("rnnt") == "rnnt.__main__"
    assert console == PROGRAMS
    main([])
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if re.match(r" {4}\w+\.py ", line)}
    assert found.keys() == PROGRAMS.keys()
    assert all(text[0].isupper() and 10 < len(text) < 62 for text in found.values())  # in 80 columns


def test_version_and_bad_words(capsys):
    for arguments, status in ((["--version"], 0), (["train"], 2)):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == status
    captured = capsys.readouterr()
    assert captured.out == "rnnt 0.1.0\n" and "unrecognized arguments: train" in captured.err
