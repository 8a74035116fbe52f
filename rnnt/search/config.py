"""Options of the search. Free of torch, so that --help is quick."""

from dataclasses import dataclass

from rnnt.options import option

METHODS = ("greedy_search", "beam_search", "modified_beam_search")


@dataclass(frozen=True)
class SearchConfig:
    """Search."""

    decoding_method: str = option(
        "greedy_search",
        "greedy_search: the best symbol each time; beam_search: Graves' beam search, an utterance at a time; "
        "modified_beam_search: batched beam search with at most one symbol a frame",
        choices=METHODS,
    )
    beam_size: int = option(4, "hypotheses kept an utterance (beam_search, modified_beam_search)")
    max_sym_per_frame: int = option(
        10,
        "most symbols on one encoder frame (greedy_search, beam_search); it bounds the search, 1 is icefall's default",
    )
    nbest: int = option(1, "hypotheses returned an utterance, at most the beam size; greedy search has one")
    length_norm: bool = option(True, "beam searches: rank whole hypotheses by score / (tokens + 1), not by score")

    def __post_init__(self):
        if self.decoding_method not in METHODS:
            raise ValueError(f"decoding_method must be one of {', '.join(METHODS)}, not {self.decoding_method!r}")
        for name in ("beam_size", "max_sym_per_frame", "nbest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
