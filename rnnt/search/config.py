"""Options of the search. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option

METHODS = ("greedy_search", "beam_search", "modified_beam_search", "time_sync_beam_search")


@dataclass(frozen=True)
class SearchConfig:
    """Search."""

    decoding_method: str = option(
        "greedy_search",
        "greedy_search: the best symbol each time; beam_search: Graves' beam search, an utterance at a time; "
        "modified_beam_search: batched beam search with at most one symbol a frame; time_sync_beam_search: batched "
        "beam search with up to --max-sym-per-frame symbols a frame",
        choices=METHODS,
    )
    beam_size: int = option(4, "hypotheses kept an utterance (beam searches)")
    max_sym_per_frame: int = option(
        10,
        "most symbols on one encoder frame (greedy_search, beam_search); it bounds the search, 1 is icefall's default",
    )
    max_sym_per_utt: int = option(0, "most symbols of an utterance (greedy_search), the search then ends; 0: no limit")
    nbest: int = option(1, "hypotheses returned an utterance, at most the beam size; greedy search has one")
    blank_penalty: float = option(0.0, "taken off the logit of blank; more finds more words")
    temperature: float = option(1.0, "logits are divided by it before the softmax; above 1 makes scores less sure")
    length_bonus: float = option(0.0, "added to the log-probability of each token")
    confidence: str = option(
        "max_prob",
        "confidence of a token: its probability, or 1 - entropy / log V of all tokens at that place",
        choices=["max_prob", "entropy"],
    )
    length_norm: bool = option(True, "beam searches: rank whole hypotheses by score / (tokens + 1), not by score")

    def __post_init__(self):
        if self.decoding_method not in METHODS:
            raise ValueError(f"decoding_method must be one of {', '.join(METHODS)}, not {self.decoding_method!r}")
        for name in ("beam_size", "max_sym_per_frame", "nbest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.max_sym_per_utt < 0:
            raise ValueError("max_sym_per_utt can't be negative")
        if self.temperature <= 0:
            raise ValueError("temperature must be positive")


@dataclass(frozen=True)
class FusionConfig:
    """Language models and hotwords."""

    lm: str = option("", "ARPA file of an n-gram over tokens (stage 7) to add to the scores")
    lm_scale: float = option(0.3, "weight of --lm")
    lodr_lm: str = option("", "ARPA file of a token bigram of the training transcripts to subtract (LODR)")
    ngram_lm_scale: float = option(-0.16, "weight of --lodr-lm, negative")
    context_file: str = option("", "hotwords: a phrase a line, with ` :BONUS` at its end for another bonus")
    context_score: float = option(1.5, "bonus of a hotword for each of its tokens")
