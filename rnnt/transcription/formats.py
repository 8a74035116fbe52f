"""Transcripts as text, JSON, subtitles (SRT, WebVTT) and NIST's CTM. Free of torch."""

import json
from dataclasses import dataclass
from pathlib import Path

# Readable subtitles: two lines of 42 characters, at most 7 s, at least 1 s if nothing follows.
CUE_CHARACTERS = 84
CUE_SECONDS = 7.0
SHORTEST_CUE = 1.0
CUE_PAUSE = 1.0  # a longer silence begins a new cue


@dataclass(frozen=True)
class Cue:
    """A line of subtitles; channel counts from 1."""

    start: float
    end: float
    channel: int
    text: str


def cues(transcript):
    """The `Cue`s of a `Transcript`, all channels in the order of time."""
    found = []
    for channel, said in enumerate(transcript.channels, 1):
        groups = []
        for word in said.words:
            last = groups[-1] if groups else []
            if (
                not last
                or word.start - last[-1].end > CUE_PAUSE
                or word.end - last[0].start > CUE_SECONDS
                or sum(len(w.word) + 1 for w in last) + len(word.word) > CUE_CHARACTERS
            ):
                groups.append([])
            groups[-1].append(word)
        limits = (
            [group[0].start for group in groups[1:]] + [max(transcript.seconds, said.words[-1].end)] if groups else []
        )
        for group, limit in zip(groups, limits):
            end = max(group[-1].end, min(group[0].start + SHORTEST_CUE, limit))
            found.append(Cue(group[0].start, end, channel, " ".join(word.word for word in group)))
    return sorted(found, key=lambda cue: (cue.start, cue.channel))


def clock(seconds, point):
    """`HH:MM:SS` and, after `point`, milliseconds."""
    total = round(seconds * 1000)
    return f"{total // 3600000:02}:{total // 60000 % 60:02}:{total // 1000 % 60:02}{point}{total % 1000:03}"


def to_text(transcript):
    """A line a channel."""
    return transcript.text + "\n"


def to_json(transcript):
    """One object on one line."""
    channels = [
        {
            "channel": number,
            "text": said.text,
            "words": [
                {
                    "word": w.word,
                    "start": round(w.start, 3),
                    "end": round(w.end, 3),
                    "confidence": round(w.confidence, 4),
                }
                for w in said.words
            ],
        }
        for number, said in enumerate(transcript.channels, 1)
    ]
    value = {"audio": transcript.name, "seconds": round(transcript.seconds, 3), "channels": channels}
    return json.dumps(value, ensure_ascii=False) + "\n"


def to_srt(transcript):
    """SubRip; with several channels each line begins with its `[channel]`."""
    many = len(transcript.channels) > 1
    return "".join(
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n"
        f"{f'[{cue.channel}] ' if many else ''}{cue.text}\n\n"
        for number, cue in enumerate(cues(transcript), 1)
    )


def to_vtt(transcript):
    """WebVTT (https://www.w3.org/TR/webvtt1/); with several channels each is a voice."""
    many = len(transcript.channels) > 1
    lines = ["WEBVTT\n\n"]
    for cue in cues(transcript):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        voice = f"<v channel {cue.channel}>" if many else ""
        lines.append(f"{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{voice}{text}\n\n")
    return "".join(lines)


def to_ctm(transcript):
    """`file channel start duration word confidence` a line; the file is its name without folder and suffix."""
    name = "_".join(Path(transcript.name).stem.split())
    return "".join(
        f"{name} {number} {w.start:.2f} {w.end - w.start:.2f} {w.word} {w.confidence:.4f}\n"
        for number, said in enumerate(transcript.channels, 1)
        for w in said.words
    )


# {format: (suffix of its files, function)}
FORMATS = {
    "text": (".txt", to_text),
    "json": (".json", to_json),
    "srt": (".srt", to_srt),
    "vtt": (".vtt", to_vtt),
    "ctm": (".ctm", to_ctm),
}
