"""The rules that an utterance must pass before training or decoding sees it.

A rule is a small function `rule(utterance, inputs)` that returns what is wrong, as a short text, or None. They are
tried in the order of this file and the first that finds a fault names it, so a rule may rely on those before it. To
add one, write a function under `@rule("name")`.

Rules with `training_only=True` are about what a model should learn from. A set to be scored keeps what breaks them: a
recogniser gets it right or wrong like the rest, and an error rate without it would be another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from rnnt.data.audio import source_of
from rnnt.data.config import FeatureConfig
from rnnt.errors import counted, one_line
from rnnt.prepare.config import ValidationConfig
from rnnt.text.tokenizer import single_spaces

if TYPE_CHECKING:
    import numpy as np

EXAMPLES = 5
ROUNDING_OF_MANIFESTS = 0.002  # seconds


class Encoder(Protocol):
    """What the rules need of a tokenizer."""

    unk_id: int

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...


@dataclass
class RuleInputs:
    """What the rules know apart from the utterance."""

    config: ValidationConfig
    features: FeatureConfig
    tokenizer: Encoder
    is_training: bool = True  # whether the set is one to learn from
    seen_ids: set[int] = field(default_factory=set)  # their hashes: large sets have long ids


class Utterance:
    """A lhotse cut with what the rules ask of it more than once, on demand.

    Its features come from `load(cut)`, the ids of its tokens from `encode(text)`.
    """

    def __init__(self, cut: Any, load: Callable[[Any], np.ndarray], encode: Callable[[str], list[int]]) -> None:
        self.cut = cut
        self._load = load
        self._encode = encode

    @property
    def text(self) -> str:
        return single_spaces(self.cut.supervisions[0].text or "")

    @cached_property
    def tokens(self) -> list[int]:
        return self._encode(self.text)

    @cached_property
    def x_TF(self) -> np.ndarray:
        return self._load(self.cut)


@dataclass
class Report:
    """Result of one set: the number of utterances, of those kept, and of each fault with examples."""

    total: int = 0
    kept: int = 0
    # {rule: {"count": n, "examples": [{"id", "problem"}]}}: of what is left out, and of what is kept and remarkable
    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add_fault(self, name: str, cut_id: str, problem: str) -> None:
        """Count a fault; the first of each kind are kept as examples."""
        _count(self.faults, name, cut_id, problem)

    def add_remark(self, name: str, cut_id: str, problem: str) -> None:
        """Count something remarkable about an utterance that is kept, likewise."""
        _count(self.remarks, name, cut_id, problem)

    @property
    def left_out(self) -> dict[str, int]:
        """{rule: utterances that are left out for it}."""
        return {name: entry["count"] for name, entry in self.faults.items()}

    @property
    def dropped_percent(self) -> float:
        return 100 * (self.total - self.kept) / self.total if self.total else 100.0

    def lines(self, name: str) -> list[str]:
        """The report as lines of text."""
        out = [f"{name}: {self.kept} of {counted(self.total, 'utterance')} kept, {self.dropped_percent:.2f} % dropped"]
        for entries, kept in ((self.faults, ""), (self.remarks, "kept, ")):
            for name_of_rule, entry in entries.items():
                out.append(f"  {kept}{name_of_rule}: {entry['count']}")
                out += [f"    {example['id']}: {example['problem']}" for example in entry["examples"]]
        return out


def _count(entries: dict[str, dict[str, Any]], name: str, cut_id: str, problem: str) -> None:
    entry = entries.setdefault(name, {"count": 0, "examples": []})
    entry["count"] += 1
    if len(entry["examples"]) < EXAMPLES:
        entry["examples"].append({"id": cut_id, "problem": problem})


Rule = Callable[[Utterance, RuleInputs], "str | None"]
RULES: dict[str, Rule] = {}
TRAINING_ONLY: set[str] = set()


def rule(name: str, training_only: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule under a name that the report shows."""

    def register(function: Rule) -> Rule:
        RULES[name] = function
        if training_only:
            TRAINING_ONLY.add(name)
        return function

    return register


def find_fault(utterance: Utterance, inputs: RuleInputs) -> tuple[str, str] | None:
    """`(rule name, problem)` of the first rule that the utterance breaks and that leaves it out, or None."""
    for name, function in RULES.items():
        if inputs.is_training or name not in TRAINING_ONLY:
            problem = function(utterance, inputs)
            if problem:
                return name, problem
    return None


def find_remarks(utterance: Utterance, inputs: RuleInputs) -> list[tuple[str, str]]:
    """`(name, problem)` of what is remarkable about an utterance without a fault."""
    raw = utterance.cut.supervisions[0].text
    found = [("blanks made single spaces", f"{raw[:80]!r}")] if raw != utterance.text else []
    if not inputs.is_training:
        problems = ((name, RULES[name](utterance, inputs)) for name in RULES if name in TRAINING_ONLY)
        found += [(name, problem) for name, problem in problems if problem]
    return found


@rule("duplicate id")
def _duplicate_id(utterance: Utterance, inputs: RuleInputs) -> str | None:
    key = hash(utterance.cut.id)
    if key in inputs.seen_ids:
        return "an earlier utterance of the set has the same id"
    inputs.seen_ids.add(key)
    return None


@rule("not one supervision")
def _not_one_supervision(utterance: Utterance, inputs: RuleInputs) -> str | None:
    count = len(utterance.cut.supervisions)
    if count != 1:
        return f"{count} supervisions, expected one"
    return None


@rule("no audio")
def _no_audio(utterance: Utterance, inputs: RuleInputs) -> str | None:
    if not utterance.cut.has_features and not utterance.cut.has_recording:
        return "the cut has neither features nor audio"
    return None


@rule("wrong rate")
def _wrong_rate(utterance: Utterance, inputs: RuleInputs) -> str | None:
    cut, expected = utterance.cut, inputs.features.sampling_rate
    rate = cut.features.sampling_rate if cut.has_features else cut.sampling_rate
    if rate != expected:
        return f"{rate} samples/s, expected {expected}"
    return None


@rule("other features")
def _other_features(utterance: Utterance, inputs: RuleInputs) -> str | None:
    if not utterance.cut.has_features:
        return None
    features, config = utterance.cut.features, inputs.features
    found = (features.num_features, round(features.frame_shift, 6))
    expected = (config.num_mel_bins, round(config.frame_shift, 6))
    if found != expected:
        return "bins and frame shift are {}, {}".format(*found) + "; expected {}, {}".format(*expected)
    return None


@rule("times out of range")
def _times_out_of_range(utterance: Utterance, inputs: RuleInputs) -> str | None:
    cut = utterance.cut
    supervision = cut.supervisions[0]
    if abs(supervision.start) > ROUNDING_OF_MANIFESTS or supervision.end > cut.duration + ROUNDING_OF_MANIFESTS:
        return f"supervision from {supervision.start} to {supervision.end} s in a cut of {cut.duration} s"
    end, what = (cut.features.end, "features") if cut.has_features else (cut.recording.duration, "recording")
    if cut.start + cut.duration > end + ROUNDING_OF_MANIFESTS:
        return f"the cut ends at {cut.start + cut.duration} s, its {what} at {end} s"
    return None


@rule("too short", training_only=True)
def _too_short(utterance: Utterance, inputs: RuleInputs) -> str | None:
    if utterance.cut.duration < inputs.config.min_duration_utt:
        return f"{utterance.cut.duration} s, less than {inputs.config.min_duration_utt} s"
    return None


@rule("too long", training_only=True)
def _too_long(utterance: Utterance, inputs: RuleInputs) -> str | None:
    if utterance.cut.duration > inputs.config.max_duration_utt:
        return f"{utterance.cut.duration} s, more than {inputs.config.max_duration_utt} s"
    return None


@rule("empty text")
def _empty_text(utterance: Utterance, inputs: RuleInputs) -> str | None:
    if not utterance.text:
        return "the transcript is empty"
    return None


@rule("unknown characters", training_only=True)
def _unknown_characters(utterance: Utterance, inputs: RuleInputs) -> str | None:
    tokenizer = inputs.tokenizer
    if tokenizer.unk_id not in utterance.tokens:
        return None
    characters = set(utterance.text) - {" "}
    unknown = {c for c in characters if tokenizer.unk_id in tokenizer.encode(c)}
    if unknown in (set(), characters):  # the tokens are whole words
        unknown = {word for word in utterance.text.split() if tokenizer.unk_id in tokenizer.encode(word)}
    return f"no token for {' '.join(map(repr, sorted(unknown)))} of {utterance.text[:80]!r}"


@rule("rewritten by the tokens", training_only=True)
def _rewritten(utterance: Utterance, inputs: RuleInputs) -> str | None:
    written = inputs.tokenizer.decode(utterance.tokens)
    if inputs.tokenizer.unk_id not in utterance.tokens and written != utterance.text:
        return f"the tokens of {utterance.text[:80]!r} are those of {written[:80]!r}; stage 5 makes tokens that keep it"
    return None


@rule("unreadable features")
def _unreadable_features(utterance: Utterance, inputs: RuleInputs) -> str | None:
    cut = utterance.cut
    try:
        shape = utterance.x_TF.shape
    except Exception as error:  # many kinds: missing file, truncated archive, broken compression
        return f"{source_of(cut)}: {one_line(error)}"
    if not shape[0]:
        return "the audio is too short for a single frame"
    expected = (cut.num_frames, cut.num_features)
    if cut.has_features and shape != expected:
        return f"{shape[0]} frames of {shape[1]} bins are stored, the manifest says {expected[0]} of {expected[1]}"
    return None


@rule("more tokens than frames", training_only=True)
def _more_tokens_than_frames(utterance: Utterance, inputs: RuleInputs) -> str | None:
    tokens = len(utterance.tokens)
    frames = -(-len(utterance.x_TF) // inputs.config.subsampling_factor)
    if tokens > frames:
        return f"{tokens} tokens, {frames} frames after subsampling"
    return None


@rule("non-finite features")
def _non_finite_features(utterance: Utterance, inputs: RuleInputs) -> str | None:
    import numpy as np

    bad = int(np.count_nonzero(~np.isfinite(utterance.x_TF)))
    if bad:
        return f"{bad} values are not finite"
    return None
