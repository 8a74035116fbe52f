"""The searches by name, and the options of the search. Free of torch, so that --help is quick."""

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnt.options import changed, flag, option

if TYPE_CHECKING:
    from torch import Tensor

    from rnnt.search.ctc.frames import FrameScores
    from rnnt.search.result import Hypothesis
    from rnnt.search.stepper import Stepper
    from rnnt.search.tdt.stepper import DurationStepper

    # (stepper, h_BTD, h_len_B on the same device, config) -> the n-best list of each utterance
    SearchFunction = Callable[[Stepper, Tensor, Tensor, "SearchConfig"], list[list[Hypothesis]]]
    # The same for searches over tokens and durations.
    DurationSearchFunction = Callable[[DurationStepper, Tensor, Tensor, "SearchConfig"], list[list[Hypothesis]]]
    # The same for searches over the scores of a head, which `FrameScores` gives for h_BTD.
    FrameSearchFunction = Callable[[FrameScores, Tensor, Tensor, "SearchConfig"], list[list[Hypothesis]]]


@dataclass(frozen=True)
class Search:
    """A search: its function, or the place `module:name` from which it is imported when used; what --help says."""

    function: "str | SearchFunction | DurationSearchFunction | FrameSearchFunction"
    help: str
    head: str = ""  # the loss whose layer it searches with; empty: predictor and joiner alone
    ignores: tuple[str, ...] = ()  # options of `SearchConfig` that change nothing in it


OF_BEAMS = ("beam_size", "nbest", "length_norm")
OF_GREEDY = ("max_sym_per_utt",)

# The searches of a transducer by name. `SEARCHES["mine"] = Search("my_search:search", "what it does")` adds one, also
# from outside.
SEARCHES = {
    "greedy_search": Search("rnnt.search.greedy:greedy_search", "the best token each time", ignores=OF_BEAMS),
    "beam_search": Search(
        "rnnt.search.graves_beam:beam_search", "Graves' beam search, one utterance at a time", ignores=OF_GREEDY
    ),
    "modified_beam_search": Search(
        "rnnt.search.modified_beam:modified_beam_search",
        "batched beam search with at most one token per frame",
        ignores=("max_sym_per_frame", *OF_GREEDY),
    ),
    "time_sync_beam_search": Search(
        "rnnt.search.time_sync_beam:time_sync_beam_search",
        "batched beam search with up to --max-sym-per-frame tokens per frame",
        ignores=OF_GREEDY,
    ),
}

# Those of a transducer whose head says how long a token lasts: they jump that far.
TDT_SEARCHES = {
    "tdt_greedy_search": Search(
        "rnnt.search.tdt.greedy:tdt_greedy_search",
        "the best token and duration each time",
        "tdt",
        ignores=OF_BEAMS,
    ),
    "tdt_beam_search": Search(
        "rnnt.search.tdt.beam:tdt_beam_search",
        "batched beam search whose hypotheses jump by durations of their own",
        "tdt",
        ignores=OF_GREEDY,
    ),
}

# Those over what a head says of each frame alone.
CTC_SEARCHES = {
    "ctc_greedy_search": Search(
        "rnnt.search.ctc.greedy:ctc_greedy_search",
        "the best path of a CTC layer",
        "ctc",
        ignores=("max_sym_per_frame", "ilm_scale", *OF_GREEDY, *OF_BEAMS),
    ),
    "ctc_prefix_beam_search": Search(
        "rnnt.search.ctc.prefix_beam:ctc_prefix_beam_search",
        "batched beam search over the texts of a CTC layer",
        "ctc",
        ignores=("max_sym_per_frame", "ilm_scale", *OF_GREEDY),
    ),
}
METHODS = ChainMap(SEARCHES, CTC_SEARCHES, TDT_SEARCHES)  # iterates over the last of them first


@dataclass(frozen=True)
class SearchConfig:
    """Search."""

    decoding_method: str = option("greedy_search", choices=METHODS)
    beam_size: int = option(4, "hypotheses kept per utterance (beam searches)", minimum=1)
    max_sym_per_frame: int = option(
        10,
        "most tokens per encoder frame (greedy_search, beam_search, time_sync_beam_search, TDT searches); it bounds "
        "the search, 1 is icefall's default",
        minimum=1,
    )
    max_sym_per_utt: int = option(
        0, "most tokens per utterance (greedy searches of joiners), then its search ends; 0: no limit", minimum=0
    )
    nbest: int = option(1, "hypotheses returned per utterance, at most the beam size; greedy search has one", minimum=1)
    blank_penalty: float = option(0.0, "subtracted from the logit of blank; a higher value finds more words")
    temperature: float = option(
        1.0, "logits are divided by it before the softmax; above 1 lowers the confidences", above=0
    )
    length_bonus: float = option(0.0, "added to the log-probability of each token")
    ilm_scale: float = option(
        0.0,
        "weight, negative, of the internal language model, which is what the model says of the next token when the "
        "encoder's output is zero (ILME; searches of transducers)",
    )
    confidence: str = option(
        "max_prob",
        "confidence of a token: its probability, or 1 - entropy / log V of the distribution that it was taken from",
        choices=["max_prob", "entropy"],
    )
    length_norm: bool = option(True, "beam searches: rank hypotheses by score / (tokens + 1), not by score")

    @property
    def head(self) -> str:
        """The loss whose layer the search uses; empty: predictor and joiner alone."""
        return METHODS[self.decoding_method].head


# What an option of `FusionConfig` is of: without one of these models it would change nothing.
OF_MODELS = {
    "lm_scale": ("lm", "nn_lm"),
    "word_lm_scale": ("word_lm",),
    "word_list": ("word_lm",),
    "nn_lm_scale": ("nn_lm",),
    "ngram_lm_scale": ("lodr_lm",),
}


@dataclass(frozen=True)
class FusionConfig:
    """Language models and hotwords."""

    lm: str = option("", "ARPA file of an n-gram over tokens (stage 7) to add to the scores")
    lm_scale: float = option(0.3, "weight of --lm, and of --nn-lm where --nn-lm-scale is not given")
    word_lm: str = option("", "ARPA or KenLM binary file of a word n-gram to add to the scores")
    word_lm_scale: float = option(0.3, "weight of --word-lm")
    word_list: str = option("", "the words of a --word-lm that is a KenLM binary file, one per line")
    nn_lm: str = option(
        "", "neural language model to add to the scores: a directory of export_model.py or experiment of train_lm.py"
    )
    nn_lm_scale: float | None = option(None, "weight of --nn-lm (default: --lm-scale)")
    lodr_lm: str = option("", "ARPA file of a token bigram of the training transcripts to subtract (LODR)")
    ngram_lm_scale: float = option(-0.16, "weight of --lodr-lm, negative")
    context_file: str = option("", "hotwords: one phrase per line, with ` :BONUS` at its end for another bonus")
    context_score: float = option(1.5, "bonus of a hotword for each of its tokens")

    def __post_init__(self) -> None:
        if self.lodr_lm and not (self.lm or self.nn_lm or self.word_lm):
            raise ValueError("--lodr-lm corrects --lm, --nn-lm or --word-lm; give one of them, or leave out --lodr-lm")
        for name in changed(self):
            models = OF_MODELS.get(name, ())
            if models and not any(getattr(self, model) for model in models):
                missing = " or ".join(map(flag, models))
                raise ValueError(
                    f"{flag(name)} goes with {missing}, which is missing; give it, or leave {flag(name)} out"
                )

    @property
    def neural_scale(self) -> float:
        """The weight of --nn-lm."""
        return self.lm_scale if self.nn_lm_scale is None else self.nn_lm_scale
