import pytest

from rnnt.search import search
from rnnt.search.config import SEARCHES, SearchConfig


@pytest.mark.parametrize("method", SEARCHES)
def test_large_batches_are_searched_with_the_same_result(make_model, make_batch, method):
    """A batch large enough to be packed against its utterances alone, which are not."""
    model = make_model(seed=3)
    h_BTD, h_len_B = make_batch([260, 250, 240, 255])
    config = SearchConfig(method, beam_size=2, max_sym_per_frame=2)
    together = search(model, h_BTD, h_len_B, config)
    alone = [search(model, h_BTD[b : b + 1], h_len_B[b : b + 1], config)[0] for b in range(2)]
    for [a], [b] in zip(together, alone):
        assert a.tokens == b.tokens and a.score == pytest.approx(b.score, rel=1e-4)
