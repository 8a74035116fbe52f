"""A Kaldi data directory from others: repaired, a part of one, several together, with other ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rnnt.errors import UserError
from rnnt.prepare.kaldi_dir.tables import (
    FRAME_SHIFT,
    RECORDING,
    SPEAKER,
    UTTERANCE,
    DataDir,
    Table,
    read_table,
    spk2utt,
)
from rnnt.prepare.records import open_audio, parse_seconds, resolve, shuffled

# An utterance that is not in one of these, where it is there, is of no use.
NEEDED = ("feats.scp", "text", "segments", "wav.scp", "cmvn.scp", "spk2gender")


def fix(data: DataDir) -> DataDir:
    """What of a directory goes together: sorted, utterances that are in all files, their speakers and recordings.

    Raises `UserError` when no utterance is left.
    """
    kept = set(data.speakers)
    for name in NEEDED:
        if name in data.tables:
            table = data.tables[name]
            kept = {key for key in kept if data.keys(data.kinds[name], [key]) & table.keys()}
            if not kept:
                raise UserError(f"{data.folder}: no utterance of the other files is in {name}; nothing was changed")
    return data.keep(kept)


def for_elsewhere(data: DataDir) -> DataDir:
    """The directory with absolute paths in wav.scp for audio that is found from it, or from the folder above it.

    Those that only the working directory finds stay as they are, as in Kaldi.
    """
    audio = dict(data.tables.get("wav.scp", {}))
    for key, path in audio.items():
        if not path.endswith("|") and not os.path.isabs(path):
            places = (start / path for start in (data.folder, data.folder.parent))
            found = next((place for place in places if os.path.isfile(place)), None)
            audio[key] = str(found.resolve()) if found else path
    return replace(data, tables={**data.tables, "wav.scp": audio}) if audio else data


def choose(data: DataDir, number: int, how: str) -> list[str]:
    """`number` utterances of a directory; `how` is an option of subset_data_dir.sh, or "" for evenly spread ones.

    `speakers`: those of whole speakers, drawn by a hash of their names, until there are so many. `per_spk`: so many of
    each speaker, evenly spread, or all of them. Raises `UserError` when there are not so many.
    """
    keys = sorted(data.speakers)
    if how == "per_spk":
        chosen = []
        for utterances in spk2utt(data.speakers).values():
            of_speaker = utterances.split()
            chosen += of_speaker[:: max(len(of_speaker) // number, 1)][:number]
        return chosen
    if number > len(keys):
        raise UserError(f"{data.folder}: {number} utterances are asked for, and there are {len(keys)}")
    if how == "speakers":
        by_speaker, chosen = spk2utt(data.speakers), []
        for speaker in shuffled(by_speaker):
            if len(chosen) < number:
                chosen += by_speaker[speaker].split()
        return chosen
    if how == "shortest":
        seconds = durations(data)
        return sorted(keys, key=lambda key: (seconds[key], key))[:number]
    if how in ("first", "last"):
        return keys[:number] if how == "first" else keys[len(keys) - number :]
    return [keys[i * len(keys) // number] for i in range(number)]


def listed(data: DataDir, path: str | Path, kind: str) -> list[str]:
    """The utterances, or those of the speakers, that are the first words of the lines of a file."""
    wanted = read_table(path, [])
    chosen = [key for key in data.speakers if (key if kind == UTTERANCE else data.speakers[key]) in wanted]
    if not chosen:
        raise UserError(f"{path}: no {kind} of it is in {data.folder}")
    return chosen


def durations(data: DataDir) -> dict[str, float]:
    """How long each utterance is: from utt2num_frames (in frames), utt2dur, segments, or the audio (in seconds)."""
    for name in ("utt2num_frames", "utt2dur"):
        if name in data.tables:
            path, table = data.folder / name, data.tables[name]
            missing = next((key for key in data.speakers if key not in table), None)
            if missing is not None:
                raise UserError(f"{path}: no line for {missing}; run fix_data_dir.sh, or remove the file")
            return {key: parse_seconds(table[key], f"{path}: {key}", "the length") for key in data.speakers}
    return {key: _duration(data, key) for key in data.speakers}


def _duration(data: DataDir, key: str) -> float:
    recording, start, end = data.span(key) if "segments" in data.tables else (key, 0.0, None)
    if end is None:
        end = recording_seconds(data, recording)
    return end - start


def recording_seconds(data: DataDir, recording: str) -> float:
    """The length of a recording: of reco2dur, or of its audio. Raises `UserError` where neither tells it."""
    if recording in data.tables.get("reco2dur", {}):
        path = data.folder / "reco2dur"
        return parse_seconds(data.tables["reco2dur"][recording], f"{path}: {recording}", "the length")
    location = f"{data.folder / 'wav.scp'}: {recording}"
    audio = data.tables.get("wav.scp", {}).get(recording, "")
    if not audio or audio.endswith("|"):
        what = "a command" if audio else "no such line"
        raise UserError(f"{location}: {what}; its length must stand in utt2dur, utt2num_frames or reco2dur")
    audio = resolve(audio, data.folder, location)
    with open_audio(audio, f"{location}: {audio}") as file:
        return file.seconds


def combine(sources: Sequence[DataDir]) -> tuple[DataDir, list[str]]:
    """All utterances of several directories, and the files left out since not all of them have them.

    A key may be in several of them with the same line. Where some have segments, the recordings of the others become
    segments from 0 to their ends; utt2uniq names the utterance itself where there was none. Raises `UserError` on a key
    with two values.
    """
    sources = [_with_common_files(data, sources) for data in sources]
    names = [name for name in sources[0].kinds if any(name in data.tables for data in sources) and name != "spk2utt"]
    shared = [name for name in names if all(name in data.tables for data in sources)]
    tables: dict[str, Table] = {name: {} for name in shared}
    origin: dict[tuple[str, str], Path] = {}
    for data in sources:
        for name in shared:
            for key, value in data.tables[name].items():
                first = origin.setdefault((name, key), data.folder / name)
                if tables[name].setdefault(key, value) != value:
                    raise UserError(
                        f"{data.folder / name}: {key} has another value in {first}; rename one with copy_data_dir.sh"
                    )
    tables["spk2utt"] = spk2utt(tables["utt2spk"])
    shifts = {data.frame_shift for data in sources}
    if len(shifts) > 1 and "feats.scp" in shared:
        raise UserError(f"{sources[0].folder}: the directories differ in {FRAME_SHIFT}; compute the features anew")
    left_out = [name for name in names if name not in shared]
    return replace(sources[0], tables=tables, frame_shift=shifts.pop() if len(shifts) == 1 else ""), left_out


def _with_common_files(data: DataDir, others: Sequence[DataDir]) -> DataDir:
    """The directory with segments and utt2uniq, if another one has them."""
    tables = dict(data.tables)
    if "segments" not in tables and any("segments" in other.tables for other in others):
        known = tables.get("utt2dur", {})
        tables["segments"] = {
            key: f"{key} 0.000 {known.get(key) or f'{recording_seconds(data, key):.3f}'}" for key in tables["utt2spk"]
        }
    if "utt2uniq" not in tables and any("utt2uniq" in other.tables for other in others):
        tables["utt2uniq"] = {key: key for key in tables["utt2spk"]}
    return replace(data, tables=tables)


@dataclass(frozen=True)
class Renaming:
    """What is put before and after each id."""

    utt_prefix: str = ""
    utt_suffix: str = ""
    spk_prefix: str = ""
    spk_suffix: str = ""

    def utterance(self, key: str) -> str:
        """The new id of an utterance."""
        return f"{self.utt_prefix}{key}{self.utt_suffix}"

    def speaker(self, key: str) -> str:
        """The new id of a speaker."""
        return f"{self.spk_prefix}{key}{self.spk_suffix}"


def rename(data: DataDir, new: Renaming) -> DataDir:
    """The directory with other ids, sorted. With segments, recordings keep theirs; utt2uniq names the old ids."""
    by_kind = {UTTERANCE: new.utterance, SPEAKER: new.speaker, RECORDING: new.utterance}
    tables = {}
    for name, table in data.tables.items():
        kind = data.kinds[name]
        if kind != RECORDING or "segments" not in data.tables:
            table = {by_kind[kind](key): value for key, value in table.items()}
        tables[name] = dict(sorted(table.items()))
    tables["utt2spk"] = {key: new.speaker(speaker) for key, speaker in tables["utt2spk"].items()}
    tables["spk2utt"] = spk2utt(tables["utt2spk"])
    if "utt2uniq" not in tables and (new.utt_prefix or new.utt_suffix):
        tables["utt2uniq"] = {new.utterance(key): key for key in sorted(data.speakers)}
    return replace(data, tables=tables)
