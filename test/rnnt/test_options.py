"""Options: one declaration serves the command line, the file and the default, in that order."""

from dataclasses import dataclass

import pytest

from rnnt.errors import UserError
from rnnt.options import from_dict, make_parser, option, parse, to_dict


@dataclass(frozen=True)
class Tiny:
    """Tiny group."""

    size: int = option(3, "a size")
    rate: float = option(0.5, "a rate")
    fast: bool = option(False, "a switch")
    kind: str = option("a", "a kind", choices=["a", "b"])
    names: list[str] = option(["x"], "names")
    limit: int | None = option(None, "a limit")

    def __post_init__(self):
        if self.size < 0:
            raise ValueError("--size can't be negative")


def read(argv):
    return parse(make_parser("A program.", Tiny), [Tiny], argv)[0][0]


def test_defaults_and_command_line():
    assert read([]) == Tiny()
    tiny = read(["--size", "7", "--fast", "--names", "p", "q", "--limit", "4"])
    assert tiny == Tiny(size=7, fast=True, names=["p", "q"], limit=4)
    assert read(["--fast", "false"]).fast is False


def test_command_line_beats_file_beats_default(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("size: 5\nrate: 1e-3\nkind: b\nlimit: null\n")
    tiny = read(["--config", str(file), "--size", "9"])
    assert (tiny.size, tiny.rate, tiny.kind, tiny.limit, tiny.names) == (9, 1e-3, "b", None, ["x"])


@pytest.mark.parametrize(
    "line, words",
    [
        ("sise: 5", "unknown option 'sise'"),
        ("size: many", "size: expected int, got 'many'"),
        ("size: 2.5", "size: expected int, got 2.5"),
        ("fast: 1", "fast: expected bool"),
        ("kind: c", "'c' is not one of a, b"),
        ("- size", "expected lines"),
        ("size: [", "not valid YAML"),
    ],
)
def test_bad_file_is_named(tmp_path, line, words):
    file = tmp_path / "c.yaml"
    file.write_text(line + "\n")
    with pytest.raises(UserError, match="c.yaml.*" + words.replace("[", r"\[")):
        read(["--config", str(file)])


@pytest.mark.parametrize(
    "argv", [["--siz", "3"], ["--size", "x"], ["--size", "-1"], ["--kind", "c"], ["--fast", "maybe"]]
)
def test_bad_command_line_is_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        read(argv)
    assert stop.value.code == 2
    assert "error" in capsys.readouterr().err


def test_required_option_is_named(capsys):
    @dataclass(frozen=True)
    class Needy:
        """Needy."""

        exp_dir: str = option(help="a folder")

    with pytest.raises(SystemExit):
        parse(make_parser("", Needy), [Needy], [])
    assert "--exp-dir" in capsys.readouterr().err


def test_dictionary_round_trip_and_strangers():
    assert from_dict(Tiny, to_dict(Tiny(size=4)), "f") == Tiny(size=4)
    with pytest.raises(UserError, match="f: Tiny has no colour"):
        from_dict(Tiny, {"colour": 1}, "f")


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        read(["--help"])
    text = capsys.readouterr().out
    assert "Tiny group" in text and "a size (default: 3)" in text and "--names" in text
