"""Cut long recordings with transcripts into utterances: hours of audio and their text in, a corpus out.

    segment_long.py --model MODEL_DIR --out DIR FILE...    the text of talk.wav is talk.txt beside it

A model (export_model.py) transcribes each recording. Where its words match the text, cuts lie in pauses between them.
Writes a Kaldi data directory (wav.scp, segments, text, utt2spk) that import_corpus.py takes, and doubtful.tsv: what was
left out since text and audio differ. The audio itself is not copied.
"""

from dataclasses import dataclass
from pathlib import Path

from rnnt.cli import program
from rnnt.errors import UserError, counted
from rnnt.files import atomic_folder, refuse_existing
from rnnt.options import make_parser, option, parse


@dataclass(frozen=True)
class SegmentOptions:
    """Segments."""

    model: str = option(help="model directory, as export_model.py writes it")
    out: str = option(help="data directory to write; must not exist")
    max_seconds: float = option(20.0, "longest utterance", above=0)
    min_pause: float = option(0.3, "seconds between two words between which a cut may lie", minimum=0)
    max_mismatch: float = option(0.2, "largest part of words of an utterance that may differ", minimum=0, maximum=1)
    device: str = option("auto", "where to compute; auto: a GPU if there is one", choices=["auto", "cpu", "cuda"])


def read_text(path: Path) -> str:
    """The text beside a recording; `UserError` where there is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: can't read the text: {error.strerror}; write it there") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; convert it first, for example with iconv") from None
    if not text.split():
        raise UserError(f"{path}: no text in it; write there what is said")
    return text


@program
def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__, SegmentOptions)
    parser.usage = "%(prog)s --model MODEL_DIR --out DIR [options] FILE..."
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio file of one channel")
    (options,), args = parse(parser, [SegmentOptions], argv)
    out = Path(options.out)
    refuse_existing(out)
    files = [Path(file) for file in args.files]
    names = ["_".join(file.stem.split()) for file in files]
    if len(set(names)) < len(names):
        raise UserError("two recordings have the same name; rename one, or segment them apart")
    texts = [read_text(file.with_suffix(".txt")) for file in files]

    from rnnt.alignment.segments import Limits, cut
    from rnnt.transcription.recognizer import load_recognizer

    limits = Limits(options.max_seconds, options.min_pause, options.max_mismatch)
    recognizer = load_recognizer(options.model, options.device)
    tables: dict[str, list[str]] = {"wav.scp": [], "segments": [], "text": [], "utt2spk": []}
    doubtful = ["recording\tstart\tend\tmismatch\tfault\ttext\theard"]
    for file, name, text, transcript in zip(files, names, texts, recognizer.transcribe_each(map(str, files))):
        if isinstance(transcript, UserError):
            raise transcript
        if len(transcript.channels) != 1:
            raise UserError(f"{file}: {len(transcript.channels)} channels; split them, or mix them to one")
        segments = cut(transcript.channels[0].words, text, transcript.seconds, limits)
        good = [segment for segment in segments if not segment.fault]
        tables["wav.scp"] += [f"{name} {file.resolve()}"] if good else []
        for number, segment in enumerate(good, 1):
            key = f"{name}-{number:05d}"
            tables["segments"].append(f"{key} {name} {segment.start:.3f} {segment.end:.3f}")
            tables["text"].append(f"{key} {segment.text}")
            tables["utt2spk"].append(f"{key} {name}")
        for s in segments:
            if s.fault:
                row = [name, f"{s.start:.2f}", f"{s.end:.2f}", f"{s.mismatch:.3f}", s.fault, s.text, s.heard]
                doubtful.append("\t".join(row))
        seconds = sum(s.end - s.start for s in good)
        print(f"{file}: {counted(len(good), 'utterance')}, {seconds:.0f} of {transcript.seconds:.0f} s", flush=True)
    if not tables["segments"]:
        raise UserError("no part of the recordings matches its text; look at the texts, or raise --max-mismatch")
    with atomic_folder(out) as folder:
        for table, lines in tables.items():
            (folder / table).write_text("\n".join(sorted(lines)) + "\n", encoding="utf-8")
        (folder / "doubtful.tsv").write_text("\n".join(doubtful) + "\n", encoding="utf-8")
    left_out = counted(len(doubtful) - 1, "part")
    print(f"{out}: {counted(len(tables['segments']), 'utterance')}; {left_out} left out, in doubtful.tsv")


if __name__ == "__main__":
    main()
