"""Stage 1: join isolated digits into utterances of connected digits and write lhotse manifests.

    recordings 0-4 of each digit and speaker   test             300 utterances
    recordings 5-9                             dev              150
    recordings 10-49                           train            3500, and 1500 short ones to begin the training with
    all recordings of the held-out speakers    test-newspeaker  200

An utterance is 3 to 7 digits (short ones: 1 or 2) of one speaker, with 50 to 300 ms of silence before, between and
after them. Recordings are dealt like shuffled cards, so that each is used equally often. All draws come from --seed:
everybody gets the same samples. Silence would be digital zero, which no microphone gives and whose logarithm is an
outlier among the features: white noise 40 dB below the level of the utterance is added to all of it.

Writes the joined audio as 16-bit FLAC to AUDIO_DIR/<set>, and OUT/<set>_{recordings,supervisions}.jsonl.gz.
"""

import random
import re
import wave
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.cli import program
from rnnt.data.audio import set_up_lhotse, write_audio
from rnnt.errors import UserError, counted
from rnnt.files import atomic_folder, atomic_path, read_json
from rnnt.options import make_parser, option, parse
from rnnt.prepare.corpus import manifest_paths
from rnnt.progress import progress

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SAMPLING_RATE = 8000
GAP_SECONDS = (0.05, 0.3)
NOISE_DB = -40.0
MAX_UNREADABLE_PERCENT = 5

Key = tuple[int, str, int]  # digit, speaker, index


@dataclass(frozen=True)
class ManifestOptions:
    """Manifests."""

    corpus: str = option("data/corpus", "folder of source.json (stage 0)")
    out: str = option("data/manifests", "folder of the manifests")
    audio_dir: str = option("data/audio", "folder of the joined audio")
    num_test: int = option(300, "utterances of test", minimum=0)
    num_dev: int = option(150, "utterances of dev", minimum=0)
    num_train: int = option(3500, "utterances of train of 3 to 7 digits", minimum=0)
    num_train_short: int = option(1500, "utterances of train of 1 or 2 digits", minimum=0)
    num_newspeaker: int = option(200, "utterances of test-newspeaker", minimum=0)
    seed: int = option(1, "seed of all draws", minimum=0)


@dataclass(frozen=True)
class Plan:
    """What one utterance is made of: recordings and the silences around them, in samples (one more than recordings)."""

    id: str
    speaker: str
    parts: tuple[Key, ...]
    gaps: tuple[int, ...]


def read_recordings(folder: str | Path) -> tuple[dict[Key, Any], list[str]]:
    """The lhotse recordings of a folder, and a line for each unreadable file."""
    from lhotse import Recording

    recordings, faults = {}, []
    for path in sorted(Path(folder).glob("*.wav")):
        name = re.fullmatch(r"(\d)_([^_]+)_(\d+)", path.stem)
        fault = check_wav(path) if name else "its name is not <digit>_<speaker>_<index>.wav"
        if fault:
            faults.append(f"{path}: {fault}; left out")
        else:
            digit, speaker, index = name.groups()
            recordings[int(digit), speaker, int(index)] = Recording.from_file(path)
    return recordings, faults


def check_wav(path: Path) -> str | None:
    """What is wrong with a WAV file, or None. Decoders read a truncated file without a word, so the header decides."""
    try:
        with wave.open(str(path)) as file:
            expected = file.getnframes() * file.getsampwidth() * file.getnchannels()
            if (file.getframerate(), file.getnchannels()) != (SAMPLING_RATE, 1):
                return f"{file.getframerate()} samples/s, {file.getnchannels()} channels; expected {SAMPLING_RATE}, 1"
            found = len(file.readframes(file.getnframes()))
    except (wave.Error, EOFError, OSError) as error:
        return f"unreadable ({error or 'end of file'})"
    if found < expected:
        return f"truncated, {found} of {expected} bytes"
    return None if found else "no samples"


class Deck:
    """Deals the cards in random order, each once before any comes again."""

    def __init__(self, cards: Sequence[Key], rng: random.Random) -> None:
        self._cards, self._rng = cards, rng
        self._left: list[Key] = []

    def deal(self) -> Key:
        if not self._left:
            self._left = self._rng.sample(self._cards, len(self._cards))
        return self._left.pop()


def plan_set(name: str, keys: Iterable[Key], lengths: Sequence[tuple[int, int]], seed: int) -> list[Plan]:
    """Plans of one set; the speakers take turns.

    Args:
        name: of the set.
        keys: the recordings to use.
        lengths: (least, most) digits of each utterance.
        seed: of all draws.
    """
    rng = random.Random(f"{seed} {name}")
    by_speaker = {}
    for key in sorted(keys):
        by_speaker.setdefault(key[1], []).append(key)
    if not by_speaker:
        raise UserError(f"{name}: the corpus has no recording for this set; get the complete corpus (stage 0)")
    decks = {speaker: Deck(cards, rng) for speaker, cards in sorted(by_speaker.items())}
    plans = []
    for i, (least, most) in enumerate(lengths):
        speaker = list(decks)[i % len(decks)]
        parts = tuple(decks[speaker].deal() for _ in range(rng.randint(least, most)))
        gaps = tuple(rng.randint(*(round(s * SAMPLING_RATE) for s in GAP_SECONDS)) for _ in range(len(parts) + 1))
        plans.append(Plan(f"{speaker}-{name}-{i:04d}", speaker, parts, gaps))
    return plans


def plan_all(keys: Sequence[Key], held_out: Collection[str], options: ManifestOptions) -> dict[str, list[Plan]]:
    """`{set: plans}` for all recordings `keys`; the speakers in `held_out` appear in test-newspeaker alone."""
    known = [key for key in keys if key[1] not in held_out]
    indices = {"test": range(0, 5), "dev": range(5, 10), "train": range(10, 50)}
    pools = {name: [key for key in known if key[2] in wanted] for name, wanted in indices.items()}
    pools["test-newspeaker"] = [key for key in keys if key[1] in held_out]
    lengths = {
        "train": [(1, 2)] * options.num_train_short + [(3, 7)] * options.num_train,
        "dev": [(3, 7)] * options.num_dev,
        "test": [(3, 7)] * options.num_test,
        "test-newspeaker": [(3, 7)] * options.num_newspeaker,
    }
    return {name: plan_set(name, pools[name], lengths[name], options.seed) for name in lengths}


def join(plan: Plan, recordings: dict[Key, Any]) -> Any:
    """The lhotse cut of a plan: the recordings appended, each padded with the silence that follows it."""
    from lhotse.cut import append_cuts

    cuts = [recordings[key].to_cut() for key in plan.parts]
    samples = [cut.num_samples + gap for cut, gap in zip(cuts, plan.gaps[1:])]
    padded = [cut.pad(num_samples=n, preserve_id=True) for cut, n in zip(cuts, samples)]
    padded[0] = padded[0].pad(num_samples=samples[0] + plan.gaps[0], direction="left", preserve_id=True)
    return append_cuts(padded)


def render(plan: Plan, recordings: dict[Key, Any]) -> Any:
    """The samples of a plan, (num_samples,) float32 in [-1, 1], with the noise floor."""
    import numpy as np

    samples = join(plan, recordings).load_audio()[0]
    # RandomState: numpy promises never to change its stream.
    noise = np.random.RandomState(zlib.crc32(plan.id.encode())).standard_normal(len(samples))
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return np.clip(samples + level * 10 ** (NOISE_DB / 20) * noise, -1, 1).astype(np.float32)


def write_set(name: str, plans: Sequence[Plan], recordings: dict[Key, Any], options: ManifestOptions) -> None:
    """Write the audio, then the manifests, of one set."""
    from lhotse import AudioSource, Recording, RecordingSet, SupervisionSegment, SupervisionSet

    folder = Path(options.audio_dir) / name
    joined, supervisions = [], []
    with atomic_folder(folder) as temporary:
        for plan in progress(plans, what=name, unit="utt"):
            samples = render(plan, recordings)
            write_audio(temporary / f"{plan.id}.flac", samples, SAMPLING_RATE)
            source = AudioSource("file", [0], str(folder / f"{plan.id}.flac"))
            duration = len(samples) / SAMPLING_RATE
            joined.append(Recording(plan.id, [source], SAMPLING_RATE, len(samples), duration))
            supervisions.append(
                SupervisionSegment(
                    id=plan.id,
                    recording_id=plan.id,
                    start=0.0,
                    duration=duration,
                    text=" ".join(WORDS[digit] for digit, _, _ in plan.parts),
                    language="English",
                    speaker=plan.speaker,
                    custom={"parts": [recordings[key].id for key in plan.parts]},
                )
            )
    manifests = RecordingSet.from_recordings(joined), SupervisionSet.from_segments(supervisions)
    for path, manifest in zip(manifest_paths(options.out, name), manifests):
        with atomic_path(path) as temporary:
            manifest.to_file(temporary)
    hours = sum(recording.duration for recording in joined) / 3600
    speakers = counted(len({p.speaker for p in plans}), "speaker")
    print(f"{name}: {counted(len(plans), 'utterance')}, {hours:.2f} hours, {speakers}")


@program
def main(argv: list[str] | None = None) -> None:
    (options,), _ = parse(make_parser(__doc__, ManifestOptions), [ManifestOptions], argv)

    set_up_lhotse()
    source = read_json(Path(options.corpus) / "source.json")
    folder = Path(source["path"])
    recordings, faults = read_recordings(folder)
    for fault in faults:
        print(f"warning: {fault}")
    total = len(recordings) + len(faults)
    if not total:
        raise UserError(f"{folder}: no recordings; run stage 0 again")
    if 100 * len(faults) > MAX_UNREADABLE_PERCENT * total:
        raise UserError(
            f"{folder}: {len(faults)} of {total} recordings can't be used, more than {MAX_UNREADABLE_PERCENT} %, "
            f"such as {faults[0].removesuffix('; left out')}; get the corpus again (stage 0)"
        )
    for name, plans in plan_all(list(recordings), set(source["held_out_speakers"]), options).items():
        write_set(name, plans, recordings, options)


if __name__ == "__main__":
    main()
