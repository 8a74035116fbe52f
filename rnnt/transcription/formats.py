"""Transcripts as text, JSON, subtitles (SRT, WebVTT) and NIST's CTM. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnt.search.result import Word
    from rnnt.transcription.result import Channel, Transcript

# Readable subtitles: two lines of 42 characters, at most 7 s, at least 1 s if nothing follows.
CUE_CHARACTERS = 84
CUE_SECONDS = 7.0
SHORTEST_CUE = 1.0
CUE_PAUSE = 1.0  # a longer silence begins a new cue


@dataclass(frozen=True)
class Cue:
    """One subtitle; times are in seconds."""

    start: float
    end: float
    channel: int  # counts from 1
    text: str


def cues(transcript: Transcript) -> list[Cue]:
    """The subtitles of a transcript, all channels in the order of time."""
    found = []
    for number, channel in enumerate(transcript.channels, 1):
        groups = _group_words(channel)
        # A short cue is shown for longer, up to the start of the next one or the end of the audio.
        limits = [group[0].start for group in groups[1:]]
        limits += [max(transcript.seconds, group[-1].end) for group in groups[-1:]]
        for group, limit in zip(groups, limits):
            end = max(group[-1].end, min(group[0].start + SHORTEST_CUE, limit))
            found.append(Cue(group[0].start, end, number, " ".join(word.word for word in group)))
    return sorted(found, key=lambda cue: (cue.start, cue.channel))


def _group_words(channel: Channel) -> list[list[Word]]:
    """The words of each cue of a channel."""
    groups: list[list[Word]] = []
    for word in channel.words:
        last = groups[-1] if groups else []
        if (
            not last
            or word.start - last[-1].end > CUE_PAUSE
            or word.end - last[0].start > CUE_SECONDS
            or sum(len(w.word) + 1 for w in last) + len(word.word) > CUE_CHARACTERS
        ):
            groups.append([])
        groups[-1].append(word)
    return groups


def clock(seconds: float, point: str) -> str:
    """`HH:MM:SS` and, after `point`, milliseconds."""
    total = round(seconds * 1000)
    return f"{total // 3600000:02}:{total // 60000 % 60:02}:{total // 1000 % 60:02}{point}{total % 1000:03}"


def to_text(transcript: Transcript) -> str:
    """One line per channel."""
    return transcript.text + "\n"


def to_json(transcript: Transcript) -> str:
    """One object on one line."""
    channels: list[dict[str, Any]] = [
        {
            "channel": number,
            "text": channel.text,
            "words": [
                {
                    "word": w.word,
                    "start": round(w.start, 3),
                    "end": round(w.end, 3),
                    "confidence": round(w.confidence, 4),
                }
                for w in channel.words
            ],
        }
        for number, channel in enumerate(transcript.channels, 1)
    ]
    for shown, channel in zip(channels, transcript.channels):
        if channel.nbest:
            shown["nbest"] = [{"text": a.text, "score": round(a.score, 4)} for a in channel.nbest]
    value = {"audio": transcript.name, "seconds": round(transcript.seconds, 3), "channels": channels}
    return json.dumps(value, ensure_ascii=False) + "\n"


def to_srt(transcript: Transcript) -> str:
    """SubRip; with several channels each cue begins with its `[channel]`."""
    several = len(transcript.channels) > 1
    return "".join(
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n"
        f"{f'[{cue.channel}] ' if several else ''}{cue.text}\n\n"
        for number, cue in enumerate(cues(transcript), 1)
    )


def to_vtt(transcript: Transcript) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/); with several channels each is a voice."""
    several = len(transcript.channels) > 1
    lines = ["WEBVTT\n\n"]
    for cue in cues(transcript):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        voice = f"<v channel {cue.channel}>" if several else ""
        lines.append(f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{voice}{text}\n\n")
    return "".join(lines)


def to_ctm(transcript: Transcript) -> str:
    """One line `file channel start duration word confidence` per word; the file without folder and suffix."""
    name = "_".join(Path(transcript.name).stem.split())
    return "".join(
        f"{name} {number} {w.start:.2f} {w.end - w.start:.2f} {w.word} {w.confidence:.4f}\n"
        for number, channel in enumerate(transcript.channels, 1)
        for w in channel.words
    )


# {format: (suffix of its files, function)}
FORMATS: dict[str, tuple[str, Callable[[Transcript], str]]] = {
    "text": (".txt", to_text),
    "txt": (".txt", to_text),
    "json": (".json", to_json),
    "srt": (".srt", to_srt),
    "vtt": (".vtt", to_vtt),
    "ctm": (".ctm", to_ctm),
}
