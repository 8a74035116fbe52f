"""Files of texts: sclite's trn form, `words (id)`, and Kaldi's text form, `id words`.

In trn the id is what the last bracket of a line holds, with the brackets inside it: `(talk (0))` is the id `talk (0)`.
An id that could not be read back so (brackets that don't match, line breaks, blanks at its ends) is written as a JSON
string with its brackets as escapes: `("a\\u0029")`. So ids of any kind are read as they were written.

A file can have both forms at once: Kaldi text whose lines all end in `(laughs)`. A name that ends in `.trn` settles it.
Else a form is out in which an id comes twice; of the others that is taken in which references and hypotheses share most
ids, then one in which all ids have digits, then trn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_write

Texts = dict[str, str]


def write_trn(path: str | Path, texts: Mapping[str, str]) -> None:
    """Write {id: text} in trn form, atomically."""
    with atomic_write(path) as file:
        for key, text in texts.items():
            line = f"{' '.join(text.split())} ({_written_id(key)})\n".lstrip(" ")
            file.write(f" {line}" if line.startswith(";;") else line)  # not a comment


def read_trn(path: str | Path) -> Texts:
    """Read {id: text} from a file in trn form. `;;` starts a comment line.

    Raises:
        UserError: when the file can't be read, a line has no id, or an id comes twice.
    """
    return _read(path, _lines(path), _split_trn)


def read_pair(ref: str | Path, hyp: str | Path) -> tuple[Texts, Texts]:
    """Read {id: text} of references and hypotheses, each in trn or Kaldi's form, see above; as `read_trn`."""

    def likeness(pair: tuple[Texts, Texts]) -> tuple[float, int]:
        refs, hyps = pair
        common = len(refs.keys() & hyps.keys()) / max(len(refs.keys() | hyps.keys()), 1)
        return common, sum(all(any(c.isdigit() for c in key) for key in texts) for texts in pair)

    return max(((r, h) for r in _readings(ref) for h in _readings(hyp)), key=likeness)


def _written_id(key: str) -> str:
    """An id as it stands within the brackets of a line."""
    if key and key == key.strip() and len(key.splitlines()) == 1 and key[0] != '"' and _is_balanced(key):
        return key
    return json.dumps(key, ensure_ascii=True).replace("(", "\\u0028").replace(")", "\\u0029")


def _is_balanced(key: str) -> bool:
    depth = 0
    for character in key:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0


def _split_trn(line: str) -> tuple[str, str] | None:
    """(id, text) of a line, by the last bracket that closes where the line ends; None where there is none."""
    line = line.rstrip()
    depth = 0
    for start in range(len(line) - 1, -1, -1):
        depth += (line[start] == ")") - (line[start] == "(")
        if depth <= 0:
            break
    key = line[start + 1 : -1].strip() if depth == 0 and line.endswith(")") else ""
    if key[:1] == '"':
        try:
            written = json.loads(key)
        except ValueError:
            written = None
        key = written if isinstance(written, str) else key
    elif not key:
        return None
    return key, line[:start]


def _split_kaldi(line: str) -> tuple[str, str]:
    """(id, text) of a line."""
    key, *rest = line.split(maxsplit=1)
    return key, rest[0] if rest else ""


def _lines(path: str | Path) -> list[tuple[int, str]]:
    """Number and text of the lines that say something."""
    try:
        content = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; convert it first, for example with iconv") from None
    lines = enumerate(content.split("\n"), 1)
    return [(number, line) for number, line in lines if line.strip() and not line.startswith(";;")]


def _read(path: str | Path, lines: list[tuple[int, str]], split: Callable[[str], tuple[str, str] | None]) -> Texts:
    """{id: text} of lines that `split` takes apart; `UserError`."""
    texts: Texts = {}
    for number, line in lines:
        found = split(line)
        if found is None:
            raise UserError(f"{path}: line {number}: no (id) at its end; in trn a line is `words (id)`")
        key, text = found
        if key in texts:
            raise UserError(f"{path}: line {number}: {key} appears twice; remove one of them")
        texts[key] = " ".join(text.split())
    return texts


def _readings(path: str | Path) -> list[Texts]:
    """What a file can be read as: at least one reading, trn first."""
    lines = _lines(path)
    forms: list[Callable[[str], tuple[str, str] | None]] = [_split_trn]
    if Path(path).suffix != ".trn":
        all_trn = all(_split_trn(line) for _, line in lines)
        forms = [_split_trn, _split_kaldi] if all_trn else [_split_kaldi]
    found, errors = [], []
    for split in forms:
        try:
            found.append(_read(path, lines, split))
        except UserError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found
