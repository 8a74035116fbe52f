"""Search: encoder output to token sequences. `search` is the one entry; the options are in `rnnt.search.config`."""

WORTH_PACKING = 1000  # encoder frames; packing the weights takes about as long as searching a hundred


def search(model, h_BTD, h_len_B, config, scorers=()):
    """Search the best token sequences of a batch.

    model: a transducer (`predictor`, `joiner`, `blank_id`) in eval mode; h_BTD: encoder output; h_len_B: its lengths
    in frames, 0 allowed; config: `SearchConfig`; scorers: list of (scorer, scale), see `rnnt.search.fusion`. Returns,
    for each utterance, a list of `Hypothesis`, best first, of which there is at least one. Frames past the length are
    never looked at.
    """
    import torch

    from rnnt.model.packed import with_packed_weights
    from rnnt.search.beam import beam_search
    from rnnt.search.context import Stepper
    from rnnt.search.fusion import make_fusion
    from rnnt.search.greedy import greedy_search
    from rnnt.search.modified_beam import modified_beam_search
    from rnnt.search.time_sync_beam import time_sync_beam_search

    if h_BTD.ndim != 3 or h_len_B.shape != h_BTD.shape[:1]:
        raise ValueError(f"h_BTD {tuple(h_BTD.shape)} and h_len_B {tuple(h_len_B.shape)} do not fit together")
    methods = {
        "greedy_search": greedy_search,
        "beam_search": beam_search,
        "modified_beam_search": modified_beam_search,
        "time_sync_beam_search": time_sync_beam_search,
    }
    with torch.inference_mode():
        joiner = model.joiner
        if h_BTD.shape[0] * h_BTD.shape[1] >= WORTH_PACKING:
            joiner = with_packed_weights(joiner, 64)
        stepper = Stepper(model, joiner, make_fusion(scorers, config, model))
        return methods[config.decoding_method](stepper, h_BTD, h_len_B.to(h_BTD.device), config)
