"""The rules that an utterance must pass before training or decoding sees it.

A rule is a small function `rule(utterance, context)` that returns what is wrong, as a short text, or None. They are
tried in the order of this file and the first that finds a fault names it, so a rule may rely on those before it. To
add one, write a function under `@rule("name")`.
"""

from dataclasses import dataclass, field
from functools import cached_property

from rnnt.data.audio import problem_of, source_of
from rnnt.data.config import FeatureConfig
from rnnt.options import option

RULES = {}
EXAMPLES = 5
TIME_TOLERANCE = 0.002  # seconds; manifests round their times


@dataclass(frozen=True)
class ValidationConfig:
    """Validation."""

    min_duration_utt: float = option(0.1, "shortest utterance in seconds")
    max_duration_utt: float = option(30.0, "longest utterance in seconds")
    subsampling_factor: int = option(4, "input frames per encoder frame: more tokens than encoder frames is a fault")


@dataclass
class Context:
    """What the rules know besides the utterance. `tokenizer` needs `encode` and `unk_id`."""

    config: ValidationConfig
    features: FeatureConfig
    tokenizer: object
    seen_ids: set = field(default_factory=set)  # their hashes: large sets have long ids


class Utterance:
    """A lhotse cut with what the rules ask of it more than once, on demand.

    Its features come from `load(cut)`, the ids of its tokens from `encode(text)`.
    """

    def __init__(self, cut, load, encode):
        self.cut = cut
        self._load = load
        self._encode = encode

    @property
    def text(self):
        return self.cut.supervisions[0].text or ""

    @cached_property
    def tokens(self):
        return self._encode(self.text)

    @cached_property
    def x_TF(self):
        return self._load(self.cut)


@dataclass
class Report:
    """Result of one set: the number of utterances, of those kept, and of each fault with examples."""

    total: int = 0
    kept: int = 0
    faults: dict = field(default_factory=dict)  # rule: {"count": n, "examples": [{"id", "problem"}]}

    def add_fault(self, name, cut_id, problem):
        """Count a fault; the first of each kind are kept as examples."""
        entry = self.faults.setdefault(name, {"count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append({"id": cut_id, "problem": problem})

    @property
    def dropped_percent(self):
        return 100 * (self.total - self.kept) / self.total if self.total else 100.0

    def lines(self, name):
        """The report as lines of text."""
        out = [f"{name}: {self.kept} of {self.total} utterances kept, {self.dropped_percent:.2f} % dropped"]
        for fault, entry in self.faults.items():
            out.append(f"  {fault}: {entry['count']}")
            out += [f"    {example['id']}: {example['problem']}" for example in entry["examples"]]
        return out


def rule(name):
    """Register a rule under a name that the report shows."""

    def register(function):
        RULES[name] = function
        return function

    return register


def find_fault(utterance, context):
    """`(rule name, problem)` of the first rule that the utterance breaks, or None."""
    for name, function in RULES.items():
        problem = function(utterance, context)
        if problem:
            return name, problem
    return None


@rule("duplicate id")
def _duplicate_id(utterance, context):
    key = hash(utterance.cut.id)
    if key in context.seen_ids:
        return "an earlier utterance of the set has the same id"
    context.seen_ids.add(key)


@rule("not one supervision")
def _not_one_supervision(utterance, context):
    count = len(utterance.cut.supervisions)
    if count != 1:
        return f"{count} supervisions, expected one"


@rule("no audio")
def _no_audio(utterance, context):
    if not utterance.cut.has_features and not utterance.cut.has_recording:
        return "the cut has neither features nor audio"


@rule("wrong rate")
def _wrong_rate(utterance, context):
    cut, expected = utterance.cut, context.features.sampling_rate
    rate = cut.features.sampling_rate if cut.has_features else cut.sampling_rate
    if rate != expected:
        return f"{rate} samples/s, expected {expected}"


@rule("other features")
def _other_features(utterance, context):
    if not utterance.cut.has_features:
        return None
    features, config = utterance.cut.features, context.features
    found = (features.num_features, round(features.frame_shift, 6))
    expected = (config.num_mel_bins, round(config.frame_shift, 6))
    if found != expected:
        return "bins and frame shift are {}, {}".format(*found) + "; expected {}, {}".format(*expected)


@rule("times out of range")
def _times_out_of_range(utterance, context):
    cut = utterance.cut
    supervision = cut.supervisions[0]
    if abs(supervision.start) > TIME_TOLERANCE or supervision.end > cut.duration + TIME_TOLERANCE:
        return f"supervision from {supervision.start} to {supervision.end} s in a cut of {cut.duration} s"
    end, what = (cut.features.end, "features") if cut.has_features else (cut.recording.duration, "recording")
    if cut.start + cut.duration > end + TIME_TOLERANCE:
        return f"the cut ends at {cut.start + cut.duration} s, its {what} at {end} s"


@rule("too short")
def _too_short(utterance, context):
    if utterance.cut.duration < context.config.min_duration_utt:
        return f"{utterance.cut.duration} s, less than {context.config.min_duration_utt} s"


@rule("too long")
def _too_long(utterance, context):
    if utterance.cut.duration > context.config.max_duration_utt:
        return f"{utterance.cut.duration} s, more than {context.config.max_duration_utt} s"


@rule("empty text")
def _empty_text(utterance, context):
    if not utterance.text.strip():
        return "the transcript is empty"


@rule("unknown characters")
def _unknown_characters(utterance, context):
    tokenizer = context.tokenizer
    if tokenizer.unk_id not in utterance.tokens:
        return None
    characters = set(utterance.text) - {" "}
    unknown = {c for c in characters if tokenizer.unk_id in tokenizer.encode(c)}
    if unknown in (set(), characters):  # the tokens are whole words
        unknown = {word for word in utterance.text.split() if tokenizer.unk_id in tokenizer.encode(word)}
    return f"no token for {' '.join(map(repr, sorted(unknown)))} of {utterance.text[:80]!r}"


@rule("unreadable features")
def _unreadable_features(utterance, context):
    cut = utterance.cut
    try:
        shape = utterance.x_TF.shape
    except Exception as error:  # many kinds: missing file, truncated archive, broken compression
        return f"{source_of(cut)}: {problem_of(error)}"
    expected = (cut.num_frames, cut.num_features)
    if cut.has_features and shape != expected:
        return f"{shape[0]} frames of {shape[1]} bins are stored, the manifest says {expected[0]} of {expected[1]}"


@rule("more tokens than frames")
def _more_tokens_than_frames(utterance, context):
    tokens = len(utterance.tokens)
    frames = -(-len(utterance.x_TF) // context.config.subsampling_factor)
    if tokens > frames:
        return f"{tokens} tokens, {frames} frames after subsampling"


@rule("non-finite features")
def _non_finite_features(utterance, context):
    import numpy as np

    bad = int(np.count_nonzero(~np.isfinite(utterance.x_TF)))
    if bad:
        return f"{bad} values are not finite"
