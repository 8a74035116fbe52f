"""Names that become files and folders: which names of sets are legal, and the file name of any id.

Nothing that a corpus calls its sets or utterances leads out of the folder where it is written, or into a file of ours.
"""

import hashlib
import re
from collections.abc import Iterable

from rnnt.errors import UserError

# Beside `<set>.jsonl`, `<set>/` and `<set>_recordings.jsonl.gz` lie files and folders of these names.
RESERVED = {"log", "q", "sets", "features", "report", "cmvn", "statistics"}
RESERVED_ENDS = ("_recordings", "_supervisions", ".part", ".tmp", ".json", ".jsonl", ".gz")


def check_set_names(names: Iterable[str], location: object) -> None:
    """Raise `UserError`, which begins with `location`, unless each name can be that of a set beside the others.

    A name is of letters, digits, `_`, `-`, `.` and `+`, at most 100, and begins with a letter, a digit or `_`.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]{0,99}", name):
            raise UserError(
                f"{location}: {name!r:.120} can't be the name of a set: letters, digits, _ - . and + make a name, "
                "and a letter or digit begins it"
            )
        key = name.casefold()
        if key in RESERVED or key.endswith(RESERVED_ENDS):
            raise UserError(f"{location}: a set can't be called {name}, as files of ours are; choose another name")
        if seen.setdefault(key, name) != name:
            raise UserError(
                f"{location}: the sets {seen[key]} and {name} differ only in case, and some disks take them for one; "
                "rename one"
            )


def file_name(key: str) -> str:
    """The name of a file for any id, another one for each: `s1_u1` -> `s1_u1`, `s1/U1` -> `s1_U1=9f86d081884c7d65`.

    Short ids of small letters, digits, `_`, `-` and `.` stay as they are; also on disks that ignore case.
    """
    if re.fullmatch(r"[a-z0-9_][a-z0-9_.-]{0,99}", key):
        return key
    readable = re.sub(r"^[.-]|[^A-Za-z0-9_.-]", "_", key)[:60]
    return f"{readable}={hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
