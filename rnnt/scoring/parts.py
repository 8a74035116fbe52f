"""Parts of a decoded set: what each job of an array leaves in `<set>/parts/`, until all of them are scored together.

A part is a file of JSON lines. The first line is its head: `key` (what the result depends on), `facts` (about the job)
and `seconds` (spent in decoding). The others are the objects of utterances.jsonl, with the texts `ref` and `hyp`.
"""

import json
import shutil
from pathlib import Path

from rnnt.errors import UserError
from rnnt.files import atomic_write


def part_path(folder, number, count):
    """The file of part `number` of `count`, counted from 1, of the set in `folder`."""
    return Path(folder) / "parts" / f"{number}-of-{count}.jsonl"


def write_part(path, head, utterances):
    """Write a part, whole or not at all."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in (head, *utterances))


def has_part(path, key):
    """Whether the part is there and was made from the same."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.loads(file.readline())["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_parts(folder, count):
    """The heads of all parts, and the objects of their utterances in the order of the ids.

    Raises `UserError` when a part is missing or broken, or comes from another decoding.
    """
    heads, utterances = [], []
    for number in range(1, count + 1):
        path = part_path(folder, number, count)
        try:
            with open(path, encoding="utf-8") as file:
                head, *more = map(json.loads, file)
        except OSError:
            raise UserError(f"{path}: no such file; run decode.py with --split {number}/{count} first") from None
        except ValueError:
            raise UserError(f"{path}: not whole; remove it and decode --split {number}/{count} again") from None
        if heads and head["key"] != heads[0]["key"]:
            raise UserError(
                f"{path}: made with other options or another model than part 1; decode all parts again with the same"
            )
        heads.append(head)
        utterances += more
    return heads, sorted(utterances, key=lambda utterance: utterance["id"])


def remove_parts(folder):
    """Remove the parts of the set in `folder`, which has been scored."""
    shutil.rmtree(Path(folder) / "parts", ignore_errors=True)
