"""What is wrong with a Kaldi data directory."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from rnnt.errors import UserError, counted
from rnnt.prepare.kaldi_dir.tables import RECORDING, DataDir, spk2utt
from rnnt.prepare.records import LONGEST, check_times, parse_seconds

# The words after the key; of files that are not here, at least one.
WORDS = {
    "utt2spk": 1, "utt2lang": 1, "utt2uniq": 1, "utt2dur": 1, "utt2num_frames": 1, "segments": 3, "spk2gender": 1,
    "reco2dur": 1, "reco2file_and_channel": 2,
}  # fmt: skip
NUMBERS = ("utt2dur", "utt2num_frames", "reco2dur")
NOT_IN_TEXT = {"<s>", "</s>", "#0"}  # symbols of Kaldi's language models and graphs


@dataclass(frozen=True)
class Demands:
    """What a directory must have.

    Attributes:
        files: that must be there beside utt2spk and spk2utt.
        speaker_order: whether utterances are sorted by their speakers too.
        printable: whether texts have no control characters, and no blanks but space and tab.
    """

    files: Collection[str] = ("wav.scp", "text", "feats.scp")
    speaker_order: bool = True
    printable: bool = True


def problems(data: DataDir, demands: Demands) -> Iterator[str]:
    """Yield one line for each kind of problem of each file: path, item, problem, remedy."""
    for name in demands.files:
        if name not in data.tables:
            yield f"{data.folder / name}: no such file; if that is meant, give --no-{name.partition('.')[0]}"
    if "spk2utt" not in data.tables:
        yield f"{data.folder / 'spk2utt'}: no such file; fix_data_dir.sh makes it"
    if "segments" in data.tables and "wav.scp" not in data.tables:
        yield f"{data.folder / 'segments'}: there is no wav.scp with its recordings"
    for name, table in data.tables.items():
        for problem in (_order(table), _keys(data, name), _values(name, table)):
            if problem:
                yield f"{data.folder / name}: {problem}"
    if "segments" in data.tables:
        yield from _times(data)
    if data.tables.get("spk2utt", spk2utt(data.speakers)) != spk2utt(data.speakers):
        yield f"{data.folder / 'spk2utt'}: contradicts utt2spk; fix_data_dir.sh makes it anew"
    if demands.speaker_order:
        by_speaker = sorted(data.speakers, key=lambda key: (data.speakers[key], key))
        for key, other in zip(sorted(data.speakers), by_speaker):
            if key != other:
                yield (
                    f"{data.folder / 'utt2spk'}: {key}: sorted by speakers, {other} stands there; begin the ids of "
                    "utterances with those of their speakers, or give --no-spk-sort"
                )
                break
    if "text" in data.tables:
        yield from _texts(data, demands.printable)


def _order(table: dict[str, str]) -> str:
    if not table:
        return "the file is empty"
    for key, expected in zip(table, sorted(table)):
        if key != expected:
            return f"not sorted: {key} stands where {expected} belongs; run fix_data_dir.sh, or LC_ALL=C sort"
    return ""


def _keys(data: DataDir, name: str) -> str:
    kind, table = data.kinds[name], data.tables[name]
    other = "segments" if kind == RECORDING and "segments" in data.tables else "utt2spk"
    expected = data.keys(kind)
    for found, wanted, what in (
        (table.keys(), expected, f"is not in {other}"),
        (expected, table.keys(), f"of {other} has no line"),
    ):
        if surplus := sorted(found - wanted):
            more = f" (and {counted(len(surplus) - 1, 'other')})" if len(surplus) > 1 else ""
            return f"{kind} {surplus[0]}{more} {what}; run fix_data_dir.sh"
    return ""


def _values(name: str, table: dict[str, str]) -> str:
    for key, value in table.items():
        words = value.split()
        if name in WORDS and len(words) != WORDS[name]:
            return f"{key}: expected {counted(WORDS[name], 'word')} after it, found {len(words)}"
        if name not in WORDS and not words and name != "text":
            return f"{key}: nothing stands after it"
        if name == "spk2gender" and value not in ("m", "f"):
            return f"{key}: {value!r:.80} is neither m nor f"
        if name == "wav.scp" and words[0].startswith("~"):
            return f"{key}: programs don't know what ~ is; write the whole path"
        if name in NUMBERS:
            try:
                parse_seconds(value, key, "the length")
            except UserError as error:
                return str(error)
    return ""


def _times(data: DataDir) -> Iterator[str]:
    lengths = data.tables.get("reco2dur", {})
    for key in data.tables["segments"]:
        try:
            recording, start, end = data.span(key)
            length = parse_seconds(lengths.get(recording, LONGEST / 2), "reco2dur", "the length")
            check_times(f"{data.folder / 'segments'}: {key}", start, length if end is None else end, length)
        except UserError as error:
            yield str(error)
            return


def _texts(data: DataDir, printable: bool) -> Iterator[str]:
    path = data.folder / "text"
    for key, text in data.tables["text"].items():
        if bad := NOT_IN_TEXT.intersection(text.split()):
            yield f"{path}: {key}: {bad.pop()} stands for something else in Kaldi; remove it"
            return
        if printable and (odd := next((c for c in text if _is_odd(c)), "")):
            yield f"{path}: {key}: the character U+{ord(odd):04X} can't be seen; replace it, or give --non-print"
            return


def _is_odd(character: str) -> bool:
    """Whether it is a control character, a character without meaning, or a blank that is neither space nor tab."""
    if character in " \t":
        return False
    return character.isspace() or unicodedata.category(character) in ("Cc", "Cn", "Cs")
