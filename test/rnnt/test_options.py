"""Options: one declaration serves the command line, the file and the default, in that order."""

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from rnnt.config_files import read_config
from rnnt.errors import UserError
from rnnt.options import (
    component,
    components,
    from_dict,
    make,
    make_parser,
    option,
    parse,
    to_dict,
)
from rnnt.registry import Registry


@dataclass(frozen=True)
class Tiny:
    """Tiny group."""

    size: int = option(3, "a size")
    rate: float = option(0.5, "a rate")
    fast: bool = option(False, "a switch")
    kind: str = option("a", "a kind", choices=["a", "b"])
    names: list[str] = option(["x"], "names")
    limit: int | None = option(None, "a limit", above=0, below=100)

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
        ("size: 2020-13-45", "not valid YAML"),
        ("size: " + "9" * 5000, "not valid YAML"),
        ("size: " + "[" * 5000, "not valid YAML"),
        ("size: 9223372036854775808", "size: must fit into 64 bits"),
        ("rate: .nan", "rate: must be a finite number, not nan"),
        ("rate: -.inf", "rate: must be a finite number, not -inf"),
        ("rate: 1e999", "rate: must be a finite number, not inf"),
        ("rate: true", "rate: expected float, got True"),
        ("limit: 0", "limit: must be above 0 and below 100, not 0"),
        ("limit: 100", "limit: must be above 0 and below 100, not 100"),
        ('kind: "\\ud800"', "is not one of"),
        ('names: "a\\0b"', "names: 'a.x00b' holds a NUL character"),
        ('names: "\\udc80"', "holds a NUL character, or bytes that are not UTF-8"),
        ("1: 2", "unknown option 1"),
        ("base: [a]", "base: expected the name of a file"),
        ("a: &a [1, 1]\nb: &b [*a, *a]\nsize: [*b, *b]", "unknown option 'a'"),
    ],
)
def test_bad_file_is_named(tmp_path, line, words):
    file = tmp_path / "c.yaml"
    file.write_text(line + "\n")
    with pytest.raises(UserError, match="c.yaml.*" + words.replace("[", r"\[")):
        read(["--config", str(file)])


def test_a_further_file_overrides_the_one_before(tmp_path):
    for name, text in (("a", "size: 3\nrate: 0.25\n"), ("b", "size: 4\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    words = ["--config", str(tmp_path / "a.yaml"), "--config", str(tmp_path / "b.yaml")]
    assert (read(words).size, read(words).rate) == (4, 0.25)
    assert read([*words, "--size", "9"]).size == 9


@pytest.mark.parametrize(
    "argv",
    [
        ["--siz", "3"],
        ["--size", "x"],
        ["--size", "-1"],
        ["--kind", "c"],
        ["--fast", "maybe"],
        ["--rate", "nan"],
        ["--rate", "inf"],
        ["--limit", "0"],
        ["--limit", "100"],
        ["--size", "²"],
        ["--size", "9" * 5000],
        ["--names", "a\udcff"],
    ],
)
def test_bad_command_line_is_status_2(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        read(argv)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "error" in error and error.count("\n") == 1 and len(error) < 300


def test_required_option_is_named(capsys):
    @dataclass(frozen=True)
    class Needy:
        """Needy."""

        exp_dir: str = option(help="a folder")

    with pytest.raises(SystemExit):
        parse(make_parser("", Needy), [Needy], [])
    assert "--exp-dir" in capsys.readouterr().err


def test_dictionary_round_trip_and_unknown_names():
    assert from_dict(Tiny, to_dict(Tiny(size=4)), "f") == Tiny(size=4)
    with pytest.raises(UserError, match="f: Tiny has no colour"):
        from_dict(Tiny, {"colour": 1}, "f")
    for values in ({"size": "4"}, {"limit": 0}, {"rate": float("nan")}, {"kind": "c"}, {"size": None}, {"size": [4]}):
        with pytest.raises(UserError, match=f"f: {next(iter(values))}: "):
            from_dict(Tiny, values, "f")


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        read(["--help"])
    text = capsys.readouterr().out
    assert "Tiny group" in text and "a size (default: 3)" in text and "--names" in text
    assert "a limit (above 0 and below 100)" in text


@dataclass(frozen=True)
class Round:
    """Round one."""

    name: ClassVar[str] = "round"
    radius: float = option(1.0, "a radius")
    colour: str = option("red", "a colour")


@dataclass(frozen=True)
class Square:
    """Square one."""

    name: ClassVar[str] = "square"
    side: int = option(2, "a side")
    colour: str = option("red", "a colour")

    def __post_init__(self):
        if self.side < 1:
            raise ValueError("--side must be at least 1")


SHAPES = Registry("shape")
SHAPES.add(Round, "nowhere:Round")
SHAPES.add(Square, Square)


@dataclass(frozen=True)
class Drawing:
    """Drawing."""

    shape: Any = component(SHAPES, "round", "kind of shape")
    extras: Any = components(SHAPES, ["square"], "more shapes")
    tiny: Tiny = Tiny()


def draw(*argv):
    return parse(make_parser("A program.", Drawing), [Drawing], argv)[0][0]


def test_a_component_is_chosen_by_its_name_and_gets_its_options():
    assert draw() == Drawing(Round(), (Square(),), Tiny())
    drawing = draw("--shape", "square", "--side", "5", "--size", "4", "--extras", "round", "square")
    assert drawing == Drawing(Square(side=5), (Round(), Square(side=5)), Tiny(size=4))
    # An option that several components have goes to all that were chosen.
    assert type(draw("--colour", "blue").shape.colour) is str  # which a checkpoint may hold
    assert draw("--colour", "blue") == Drawing(Round(colour="blue"), (Square(colour="blue"),), Tiny())
    assert draw("--extras", "round,square") == draw("--extras", "round square")
    assert make(Drawing, shape="square", side=5, colour="blue").shape == Square(5, "blue")


def test_an_option_of_a_component_that_was_not_chosen_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        draw("--extras", "round", "--side", "3")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "argument --side: this is an option of --shape square or --extras square" in error and error.count("\n") == 1
    file = tmp_path / "c.yaml"
    file.write_text("extras: [round]\nside: 3\n")
    with pytest.raises(UserError, match="c.yaml: side: this is an option of"):
        draw("--config", str(file))
    with pytest.raises(ValueError, match="has no option --radius"):
        make(Drawing, shape="square", radius=2.0)


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--shape", "oval"], "argument --shape: 'oval' is not one of round, square"),
        (["--shape", "round,square"], "expected one name"),
        (["--extras", "round", "round"], "expected names, each once"),
        (["--shape", "square", "--side", "0"], "--side must be at least 1"),
        (["--piece-seconds", "3"], "--piece-seconds is now --chunk-seconds"),
    ],
)
def test_a_bad_choice_is_one_line(argv, words, capsys):
    with pytest.raises(SystemExit) as stop:
        draw(*argv)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and words in error and error.count("\n") == 1


def test_help_has_a_group_for_each_component(capsys):
    with pytest.raises(SystemExit):
        draw("--help")
    text = capsys.readouterr().out
    assert "--shape round: Round one:" in text and "--extras square: Square one:" in text
    assert text.count("--colour TEXT") == 4 and "kind of shape (default: round)" in text


def test_components_survive_a_dictionary():
    drawing = draw("--shape", "square", "--side", "5", "--extras", "round")
    values = to_dict(drawing)
    assert values["shape"] == {"name": "square", "side": 5, "colour": "red"}
    assert from_dict(Drawing, values, "f") == drawing
    with pytest.raises(UserError, match="f: there is no shape called 'oval'; there are round, square"):
        from_dict(Drawing, {**values, "shape": {"name": "oval"}}, "f")


def test_lists_are_split_at_blanks_and_numbers_at_commas_too(tmp_path):
    @dataclass(frozen=True)
    class Lists:
        """Lists."""

        names: list[str] = option([], "names")
        sizes: list[int] = option([1], "sizes")

    def read(*argv):
        return parse(make_parser("", Lists), [Lists], argv)[0][0]

    assert read("--names", "a b", "c,d", "--sizes", "2,3", "4 5") == Lists(["a", "b", "c,d"], [2, 3, 4, 5])
    file = tmp_path / "c.yaml"
    file.write_text("names: a b\nsizes: [6, 7]\n")
    assert read("--config", str(file)) == Lists(["a", "b"], [6, 7])


@pytest.mark.parametrize("line", ["size: 7", "si-ze: 7", "size: 5"])
def test_an_option_that_stands_twice_in_a_file_is_refused(tmp_path, line):
    (tmp_path / "own.yaml").write_text(
        f"# sizes\nsi_ze: 5\nrate: 2\n{line}\n".replace("si_ze", line[: line.index(":")])
    )
    with pytest.raises(UserError, match=r"own.yaml:4: \S+ is there already, in line 2; remove one"):
        read_config(tmp_path / "own.yaml")
    (tmp_path / "own.yaml").write_text("base: {}\nbase: {}\n")
    with pytest.raises(UserError, match="own.yaml:2: base is there already"):
        read_config(tmp_path / "own.yaml")


def test_a_file_may_have_a_base(tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    (tmp_path / "base.yaml").write_text("size: 5\nrate: 2\n")
    (tmp_path / "middle.yaml").write_text("base: base.yaml\nkind: b\n")
    (folder / "own.yaml").write_text("base: ../middle.yaml\nsize: 7\n")
    tiny = read(["--config", str(folder / "own.yaml")])
    assert (tiny.size, tiny.rate, tiny.kind) == (7, 2.0, "b")
    assert read_config(folder / "own.yaml") == {"size": 7, "rate": 2, "kind": "b"}
    (tmp_path / "base.yaml").write_text("size: 5\nsise: 2\n")
    with pytest.raises(UserError, match="base.yaml: unknown option 'sise'"):
        read(["--config", str(folder / "own.yaml")])
    (tmp_path / "base.yaml").write_text("base: middle.yaml\n")
    with pytest.raises(UserError, match="base.yaml: base: .*middle.yaml is based on this file"):
        read(["--config", str(folder / "own.yaml")])
