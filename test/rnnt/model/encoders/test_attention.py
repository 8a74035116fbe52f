"""Relative attention against its formula, element by element."""

import math

import pytest
import torch

from rnnt.model.encoders.attention import RelativeAttention, by_key, distance_encoding


@pytest.mark.parametrize("T", [1, 2, 5])
def test_scores_by_distance_become_scores_by_key(T):
    distance_X = torch.arange(T - 1, -T - 1, -1.0)
    x_BHTX = distance_X.expand(2, 3, T, 2 * T).contiguous() + 100 * torch.arange(T)[:, None]
    expected_TT = torch.arange(T)[:, None] - torch.arange(T) + 100.0 * torch.arange(T)[:, None]
    assert torch.equal(by_key(x_BHTX), expected_TT.expand(2, 3, T, T))


def test_encoding_is_in_the_order_of_distances():
    encoding_XD = distance_encoding(4, 6)
    assert encoding_XD.shape == (8, 6)
    assert encoding_XD[3].tolist() == [0, 0, 0, 1, 1, 1]  # distance 0
    torch.testing.assert_close(encoding_XD[:, 0], torch.sin(torch.tensor([3.0, 2, 1, 0, -1, -2, -3, -4])))


def test_is_the_formula():
    torch.manual_seed(0)
    T, D, H = 5, 8, 2
    attention = RelativeAttention(D, H, dropout=0.0)
    x_BTD, valid_BT = torch.randn(2, T, D), torch.arange(T) < torch.tensor([[5], [3]])
    got_BTD = attention(x_BTD, distance_encoding(T, D), valid_BT)
    encoding_XD, C = distance_encoding(T, D), D // H
    for b, length in enumerate((5, 3)):
        q, k, v = (x.view(T, H, C) for x in attention.input(x_BTD[b]).chunk(3, dim=-1))
        heads = []
        for h in range(H):
            scores = torch.full((length, length), 0.0)
            for i in range(length):
                for j in range(length):
                    p = attention.position(encoding_XD[T - 1 - (i - j)]).view(H, C)[h]
                    content = (q[i, h] + attention.content_bias[h]) @ k[j, h]
                    scores[i, j] = (content + (q[i, h] + attention.position_bias[h]) @ p) / math.sqrt(C)
            heads.append(scores.softmax(dim=1) @ v[:length, h])
        torch.testing.assert_close(got_BTD[b, :length], attention.output(torch.cat(heads, dim=1)))
