"""What README and docs name is there: programs with their options, files, links, messages.

Commands are read by the parsers of the programs themselves, which then go no further.
"""

import argparse
import ast
import contextlib
import importlib.util
import inspect
import re
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

import rnnt.train
from rnnt import options
from rnnt.__main__ import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = [ROOT / "egs" / name / "ASR" for name in ("librispeech", "template", "digits", "speechocean762")]
MLPERF = RECIPES[0] / "mlperf"
# Where a file may be that is named without its folder.
FOLDERS = [ROOT, ROOT / "utils", ROOT / "local", ROOT / "rnnt", ROOT / "docs", *RECIPES, MLPERF, RECIPES[0] / "local"]
# Programs of the system, and words of the shell.
OTHERS = {
    "git", "cd", ".", "export", "pip", "srun", "torchrun", "tensorboard", "sbatch", "sox", "iconv", "$decode_cmd",
}  # fmt: skip
# Options of other programs, on any page.
FOREIGN = {
    "--nodes", "--ntasks-per-node", "--kill-on-bad-exit", "--nnodes", "--nproc-per-node", "--nv", "--image", "--export",
    "--mode", "--egs", "--enable-musan", "--logdir", "--option",
}  # fmt: skip
# Programs whose help is that of a parser.
HELPFUL = [ROOT / (module.replace(".", "/") + ".py") for module in PROGRAMS.values()] + sorted(ROOT.glob("local/*.py"))


class Parsed(BaseException):
    """Raised instead of what a program would do with its options."""


def page_name(path):
    return path.name


def spans(text):
    """Inline code, without blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def ours(page):
    """The text of a page without what it says of other toolkits: the first column of a table of from_*.md."""
    text = page.read_text(encoding="utf-8")
    if page.name.startswith("from_"):
        text = re.sub(r"^\|[^\n]*?(?<!\\)\|", "|", text.partition("## What is not here")[0], flags=re.M)
    return text


def words_of(line):
    """The commands of a line, each a list of words; placeholders have values."""
    line = re.sub(r"(^|\s)#\s.*", "", line)
    commands = [[]]
    for word in shlex.split(re.sub(r" > \S+", "", line)):
        if word in ("&&", "|", ";"):
            commands.append([])
        elif word != "...":
            word = word.replace("$RNNT_ROOT", str(ROOT)).replace("JOB/", "1/")
            commands[-1].append("1" if word == "N" else word)
    return [command for command in commands if command]


def commands_of(page, fenced):
    """`(command, complete)`: of blocks, and of inline code that begins with a program."""
    text = ours(page)
    found = []
    for block in fenced(text):
        for line in block.replace("\\\n", " ").splitlines():
            found += [(words, "..." not in line) for words in words_of(line)]
    for span in spans(text):
        if re.match(r"(\./)?[\w./$]+\.(py|sh|pl|sub) |python3? |make ", span):
            found += [(words, False) for words in words_of(span)]
    return found


@cache
def load(path):
    """A program as a module of its own, whose `parse` ends it."""
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(f"documented_{path.parent.name}_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@contextlib.contextmanager
def ending_after_the_parser(module):
    """Within it, a program ends with `Parsed` when all its options are good."""
    with pytest.MonkeyPatch.context() as patch:

        def end(real):
            def parse(*arguments, **keywords):
                real(*arguments, **keywords)
                raise Parsed

            return parse

        for holder in (module, rnnt.train):
            if hasattr(holder, "parse"):
                patch.setattr(holder, "parse", end(options.parse))
        if not hasattr(module, "parse"):
            for parser in (argparse.ArgumentParser, options.Parser):
                patch.setattr(parser, "parse_args", end(parser.parse_args))
        yield


def parses(path, words, folder, capsys):
    """Nothing when the program takes these words, else what it says."""
    module = load(path)
    with pytest.MonkeyPatch.context() as patch, ending_after_the_parser(module):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(path), *words])
        try:
            module.main(*([words] if inspect.signature(module.main).parameters else []))
            said = "it went beyond its parser"
        except Parsed:
            return ""
        except SystemExit as stopped:
            said = "" if stopped.code in (0, None) else capsys.readouterr().err
    return said


def recipe_takes(script, words, capsys):
    """The same for run.sh or prepare.sh of a recipe."""
    module = load(ROOT / "local" / "recipe_options.py")
    try:
        module.main(["--script", str(script), "--caller", str(script.parent), "--", *words])
        return ""
    except SystemExit as stopped:
        return "" if stopped.code == 0 else capsys.readouterr().err


def find(name):
    """The file of a program."""
    if name in PROGRAMS:
        return ROOT / (PROGRAMS[name].replace(".", "/") + ".py")
    paths = [Path(name)] if name.startswith("/") else [folder / name for folder in FOLDERS]
    return next((path for path in paths if path.is_file()), None)


# An option is the field of a dataclass.
FIELD = re.compile(r"^    (\w+): [^=\n]+ = (?:\w*option|components?)\(", re.M)


def options_of(path):
    """What a program of any language has in its text: fields of dataclasses, and names with two dashes."""
    text = path.read_text(encoding="utf-8")
    fields = {"--" + name.replace("_", "-") for name in FIELD.findall(text)}
    return fields | set(re.findall(r"(?<![\w-])--[a-z][\w-]*[a-z0-9]", text))


def options_in(words):
    return [word.partition("=")[0] for word in words if re.match(r"--[a-z][\w-]*(=|$)", word)]


def inner_problem(words, capsys):
    """The same for a program of ours that another one starts, as a launcher does."""
    at = next((i for i, word in enumerate(words) if word in PROGRAMS), len(words))
    return problem(words[at:], False, capsys) if words[at:] else ""


def problem(words, complete, capsys):
    """Nothing when a command can be called, else why not."""
    while words and (re.match(r"\w+=", words[0]) or words[0] in ("python3", "python")):
        words = words[1:]
    if not words or words[0] in OTHERS:
        return inner_problem(words, capsys)
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        return "" if rest[0] in targets else f"make has no {rest[0]}"
    if program == "rnnt":
        return ""
    base = Path(program).name
    if base in ("run.sh", "prepare.sh") and "mlperf" not in program:
        own = [ROOT / program] if program.startswith("egs/") else [recipe / base for recipe in RECIPES]
        own = [path for path in own if path.is_file()]
        said = [recipe_takes(path, rest, capsys) for path in own]
        said = ["" if not complete and "needs a value" in text else text for text in said]
        return "" if "" in said else f"{program}: {said[:1]}"
    path = find(program.removeprefix("./"))
    if path is None:
        return f"{program}: no such program"
    if path.parent == ROOT / "utils":
        if "data_dir.sh" in path.read_text():
            return parses(ROOT / "local" / "data_dir.py", [base, *rest], ROOT, capsys)
        return inner_problem(rest, capsys)
    if path.suffix != ".py" or path.parent.name == "benchmarks":  # some of which import what is not here
        known = options_of(path)
        return next((f"{program} has no {option}" for option in options_in(rest) if option not in known), "")
    if path.parent.name == "test":
        return ""
    said = [parses(path, rest, folder, capsys) for folder in (MLPERF if path.parent == MLPERF else RECIPES[0],
                                                             RECIPES[2], MLPERF)]  # fmt: skip
    if not complete:  # what is left out there need not be here
        said = [
            "" if re.search(r"required|expected one argument|(expected|needs) at least", text) else text
            for text in said
        ]
    return "" if "" in said else f"{program}: {said[0].strip()}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_can_be_called(page, fenced, capsys):
    found = [(words, problem(words, complete, capsys)) for words, complete in commands_of(page, fenced)]
    assert [f"{shlex.join(words)}: {text}" for words, text in found if text] == []


@pytest.mark.parametrize("path", HELPFUL, ids=page_name)
def test_help_reads_well_in_80_columns(path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    module = load(path)
    with pytest.raises(SystemExit):
        module.main(*([["--help"]] if inspect.signature(module.main).parameters else []))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5 and [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if re.fullmatch(r" {20,}\S", line)] == []  # no column of single letters


@pytest.mark.parametrize("script", ["run.sh", "prepare.sh"])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.parent.name)
def test_help_of_recipes_reads_well_in_80_columns(script, recipe, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert recipe_takes(recipe / script, ["--help"], capsys) == ""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 50 and [line for line in lines if len(line) > 80] == []


def test_bad_commands_are_found(capsys):
    for line, words in (
        ("train.py --no-such-option 1", "--no-such-option"),
        ("decode.py --decoding-method fast_beam_search --exp-dir x", "fast_beam_search"),
        ("nothing.py --help", "no such program"),
        ("make nothing", "make has no nothing"),
        ("./run.sh --no-such-option 1", "invalid option --no-such-option"),
        ("subset_data_dir.sh --middle a 1 b", "--middle"),
        ("score.py comparison a b", "comparison"),
        ("tools/setup.sh --no-such-option", "has no --no-such-option"),
        ("python3 $RNNT_ROOT/local/validate.py --no-such-option 1", "--no-such-option"),
        ("slurm.pl --mem 4G a.log decode.py --no-such-option", "--no-such-option"),
    ):
        assert words in problem(words_of(line)[0], False, capsys)


SOURCES = (
    "rnnt/**/*.py", "local/*.py", "utils/*", "utils/launch/*.py", "tools/*", "tools/docker/*.sh", "benchmarks/*",
    "test/*.py", "egs/*/*/*.sh", "egs/*/*/local/*", "egs/*/*/mlperf/*",
)  # fmt: skip


@cache
def all_options():
    """The options of all programs."""
    paths = [path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()]
    return FOREIGN.union(*map(options_of, paths))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_options_exist(page):
    named = {name for span in spans(ours(page)) for name in re.findall(r"(?<![\w-])--[a-z][\w-]*[a-z0-9]", span)}
    assert sorted(named - all_options()) == []


FILE = re.compile(
    r"(?:rnnt|local|utils|tools|test|docs|egs|benchmarks|conf|mlperf)/[\w./-]+\.(?:py|sh|pl|md|yaml|txt|npz|sub)"
)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_exist(page):
    named = {match[0] for span in spans(ours(page)) if (match := FILE.fullmatch(span))}
    missing = [name for name in named if not any((folder / name).exists() for folder in FOLDERS)]
    assert [
        name for name in missing if name not in ("local/options.py", "local/make_manifests.py", "local/path.sh")
    ] == []


def anchors(page):
    """The anchors of the headings of a page, as forges make them."""
    titles = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "RESULTS.md"], ids=page_name)
def test_links_lead_somewhere(page):
    bad = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            path = (page.parent / name) if name else page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                bad.append(target)
    assert bad == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_lines_of_pages_are_at_most_120_characters(page):
    prose = re.sub(r"^```.*?^```|^\|[^\n]*", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert [line for line in prose.splitlines() if len(line) > 120] == []


def test_every_page_is_in_the_index():
    linked = set(re.findall(r"\]\((\w+\.md)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}


def test_messages_of_the_troubleshooting_page_are_those_of_programs():
    known = []
    for path in [*(ROOT / "rnnt").rglob("*.py"), *(ROOT / "local").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                known.append(node.value)
    known += [path.read_text(encoding="utf-8") for path in ROOT.glob("[tu]*/*.sh")]
    rows = re.findall(r"^\| `([^|]+)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) > 20
    assert [message for message in rows if not any(message in text for text in known)] == []
