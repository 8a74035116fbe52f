import pytest
import torch

from rnnt.loss import do_rnnt_pruning, get_rnnt_prune_ranges, prune_ranges, smoothed_loss


def ranges_of(batch, prune_range, rnnt_type):
    _, px_grad, py_grad = smoothed_loss(
        *batch.simple, blank_id=0, lm_only_scale=0.25, am_only_scale=0.0, rnnt_type=rnnt_type
    )
    return prune_ranges(px_grad, py_grad, *batch.lengths, prune_range, rnnt_type)


@pytest.mark.parametrize("prune_range", [2, 3, 5])
def test_windows_rise_to_the_last_symbol_without_gaps(make_batch, rnnt_type, prune_range):
    batch = make_batch(S=12, frames=(20, 17, 15, 4), symbols=(12, 9, 3, 0), T=20)
    ranges_BTR = ranges_of(batch, prune_range, rnnt_type)
    start_BT, R = ranges_BTR[:, :, 0], ranges_BTR.shape[2]
    assert prune_range == R and ranges_BTR.dtype == torch.int64
    assert torch.equal(ranges_BTR, start_BT[:, :, None] + torch.arange(R))
    step = start_BT.diff(dim=1)
    assert (start_BT[:, 0] == 0).all() and step.min() >= 0 and step.max() <= (R - 1 if rnnt_type == "regular" else 1)
    assert ranges_BTR.max() <= 12
    for b, (frames, symbols) in enumerate(zip(*(n.tolist() for n in batch.lengths))):
        assert symbols in ranges_BTR[b, frames - 1].tolist()


def test_the_last_window_holds_the_end_whatever_the_occupations(rnnt_type):
    """From the last frame on a window ends at the last state of its utterance, or begins at 0."""
    frames_B, symbols_B = torch.tensor([20, 17, 15, 6]), torch.tensor([12, 9, 1, 5])
    for _ in range(20):
        px_grad = torch.rand(4, 12, 21 if rnnt_type == "regular" else 20)
        start_BT = prune_ranges(px_grad, torch.rand(4, 13, 20), frames_B, symbols_B, 3, rnnt_type)[:, :, 0]
        for b, (frames, symbols) in enumerate(zip(frames_B.tolist(), symbols_B.tolist())):
            assert (start_BT[b, frames - 1 :] == max(symbols - 2, 0)).all()


def test_a_sharp_alignment_lies_inside(make_batch):
    """Where the simple loss is certain when each token comes, the window holds the state of every frame."""
    batch = make_batch(S=5, frames=(18,), symbols=(5,), T=18, V=9)
    batch.symbols_BS = torch.tensor([[3, 1, 4, 7, 5]])
    emitted_at = torch.tensor([2, 5, 6, 11, 15])
    am_BTV = torch.zeros(1, 18, 9)
    am_BTV[:, :, 0] = 20
    am_BTV[0, emitted_at, batch.symbols_BS[0]] = 30
    # A token is emitted once: the state after it turns it off.
    lm_BUV = torch.zeros(1, 6, 9)
    lm_BUV[0, torch.arange(1, 6), batch.symbols_BS[0]] = -40
    batch.am_BTV, batch.lm_BUV = am_BTV, lm_BUV
    ranges_BTR = ranges_of(batch, 3, "regular")
    for t in range(18):
        assert int((emitted_at <= t).sum()) in ranges_BTR[0, t].tolist()


def test_the_range_is_raised_silently_where_a_text_is_long(make_batch, capsys):
    batch = make_batch(S=9, frames=(3, 7), symbols=(9, 2))
    ranges_BTR = ranges_of(batch, 2, "regular")
    assert ranges_BTR.shape[2] == (9 - 1) // 3 + 2
    assert capsys.readouterr().out == ""


def test_an_utterance_without_a_path_does_not_raise_the_range(make_batch):
    batch = make_batch(S=9, frames=(7, 0), symbols=(4, 9))
    assert ranges_of(batch, 3, "regular").shape[2] == 3


def test_the_range_is_at_most_all_states(make_batch, rnnt_type):
    batch = make_batch(S=3, frames=(7, 4), symbols=(3, 2))
    assert torch.equal(ranges_of(batch, 20, rnnt_type), torch.arange(4).expand(2, 7, 4))
    empty = make_batch(S=0, frames=(7, 4), symbols=(0, 0))
    assert torch.equal(ranges_of(empty, 5, rnnt_type), torch.zeros(2, 7, 1, dtype=torch.int64))


def test_k2s_function_infers_the_type_from_the_columns(k2_case):
    meta = k2_case["meta"]
    args = (k2_case["px_grad"], k2_case["py_grad"], k2_case["boundary"], meta["s_range"])
    assert torch.equal(get_rnnt_prune_ranges(*args), k2_case["ranges"])


def test_pruning_takes_the_rows_of_the_windows():
    am, lm = torch.randn(2, 4, 3), torch.randn(2, 6, 5)
    ranges = torch.tensor([[0, 1], [0, 1], [2, 3], [4, 5]]).expand(2, 4, 2)
    am_pruned, lm_pruned = do_rnnt_pruning(am, lm, ranges)
    assert am_pruned.shape == (2, 4, 2, 3) and lm_pruned.shape == (2, 4, 2, 5)
    assert torch.equal(am_pruned[:, :, 1], am)
    assert torch.equal(lm_pruned[1, 2, 1], lm[1, 3])


def test_a_range_below_one_is_refused(make_batch):
    with pytest.raises(ValueError, match="at least 1"):
        ranges_of(make_batch(), 0, "regular")
