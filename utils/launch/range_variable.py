"""Where the range variable of a request (JOB of JOB=1:N) stands in a text.

As in Kaldi's scripts, that is everywhere, also inside a word: `split/JOB/wav.JOB.scp`. Only the names of folders that
are not the caller's choice stay as they are: those above the working directory, the checkout, the environment and the
home directory, where a checkout lies in /data/JOBS or /scratch/JOB_123.
"""

import functools
import os
import re

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_VARIABLES = ("PWD", "RNNT_ROOT", "RNNT_VENV", "HOME")


@functools.lru_cache(maxsize=8)
def _folders(name: str) -> "re.Pattern[str] | None":
    """A pattern for the paths of folders that are called after the variable by chance; None where there are none."""
    found = set()
    for path in [os.getcwd(), _CHECKOUT] + [os.environ.get(variable, "") for variable in _VARIABLES]:
        while os.path.isabs(path) and path != os.path.dirname(path):
            if name in os.path.basename(path):
                found.add(path)
            path = os.path.dirname(path)
    if not found:
        return None
    longest_first = sorted(found, key=len, reverse=True)
    return re.compile(r"(?<![\w./-])({})(?![\w.-])".format("|".join(re.escape(path) for path in longest_first)))


def substitute(text: str, name: str, by: str) -> str:
    """The text with another text for the variable."""
    folders = _folders(name)
    if folders is None:
        return text.replace(name, by)
    parts = folders.split(text)  # those with an odd number are folders
    return "".join(part if number % 2 else part.replace(name, by) for number, part in enumerate(parts))


def stands_in(text: str, name: str) -> bool:
    """Whether the variable stands in a text."""
    return substitute(text, name, "") != text


def is_forgotten(log: str, name: str) -> bool:
    """Whether a log without a range looks as if there should be one: a file or a folder to be made is called so."""
    folder, base = os.path.split(log)
    if name in base:
        return True
    while folder and not os.path.isdir(folder):
        folder, last = os.path.split(folder)
        if re.search(rf"(?<![A-Za-z0-9_]){name}(?![A-Za-z0-9_])", last):
            return True
    return False
