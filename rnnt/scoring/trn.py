"""Files of texts: sclite's trn form, `words (id)`, and Kaldi's text form, `id words`."""

import re
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_write

TRN_LINE = re.compile(r"^(.*?)\s*\(([^()\s]+)\)\s*$")


def write_trn(path, texts):
    """Write {id: text} in trn form, atomically."""
    with atomic_write(path) as file:
        for key, text in texts.items():
            words = " ".join(text.split())
            file.write(f"{words} ({key})\n" if words else f"({key})\n")


def read_texts(path):
    """Read {id: text} from a trn or a Kaldi text file: trn when every line ends with an id in parentheses.

    `;;` starts a comment line. Raises `UserError` on a file that can't be read or has an id twice.
    """
    try:
        content = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; convert it first, for example with iconv") from None
    lines = [
        (number, line)
        for number, line in enumerate(content.split("\n"), 1)
        if line.strip() and not line.startswith(";;")
    ]
    is_trn = all(TRN_LINE.match(line) for _, line in lines)
    texts = {}
    for number, line in lines:
        if is_trn:
            text, key = TRN_LINE.match(line).groups()
        else:
            key, *words = line.split()
            text = " ".join(words)
        if key in texts:
            raise UserError(f"{path}: line {number}: {key} is there twice; remove one of them")
        texts[key] = " ".join(text.split())
    return texts
