"""Transformer language model whose layers see the last C tokens, so that a search needs a state of fixed size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnt.model.language.base import LanguageModel, State

if TYPE_CHECKING:
    from rnnt.model.language.config import TransformerConfig


def rotate(x: Tensor, position: Tensor) -> Tensor:
    """Turn queries or keys (..., T, K) of positions (..., T), so that their products depend on distances alone.

    With i below K / 2, the pair (x_i, x_(i + K/2)) is turned by the angle position / 10000^(2 i / K): RoPE (Su et al.
    2021, https://arxiv.org/abs/2104.09864).
    """
    half = x.shape[-1] // 2
    rate = 10000 ** (-torch.arange(half, device=x.device) / half)
    angle = position[..., None].float() * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class Layer(nn.Module):
    """Self-attention and a feed-forward layer, each behind a normalisation and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.feedforward = nn.Sequential(
            nn.Linear(dim, config.feedforward_dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward_dim, dim),
        )
        self.dropout = nn.Dropout(config.dropout)

    def project(self, x_BUD: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (B, H, U, K) of inputs at positions (..., U)."""
        qkv = self.qkv(self.attention_norm(x_BUD)).unflatten(-1, (3, self.heads, -1))
        q_BHUK, k_BHUK, v_BHUK = qkv.permute(2, 0, 3, 1, 4)
        return rotate(q_BHUK, position), rotate(k_BHUK, position), v_BHUK

    def attend(self, x_BUD: Tensor, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The layer's output for queries (B, H, U, K) over keys and values (B, H, X, K); without a mask, over those
        before each query and its own."""
        drop = self.dropout.p if self.training else 0.0
        a_BHUK = F.scaled_dot_product_attention(q, k, v, mask, drop, is_causal=mask is None)
        x_BUD = x_BUD + self.dropout(self.attention_output(a_BHUK.transpose(1, 2).flatten(2)))
        return x_BUD + self.dropout(self.feedforward(self.feedforward_norm(x_BUD)))


class TransformerLanguageModel(LanguageModel):
    """Embedding, layers, normalisation, a linear layer that may share the embedding's weights.

    The state holds keys and values of the last C tokens in a ring, (N, L, C, D) each, and the number of tokens read.
    """

    def __init__(self, config: TransformerConfig, vocab_size: int, boundary_id: int) -> None:
        super().__init__(config, vocab_size, boundary_id)
        self.context = config.context
        self.scale = config.dim**0.5
        self.embedding = nn.Embedding(vocab_size, config.dim)
        nn.init.normal_(self.embedding.weight, std=config.dim**-0.5)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.dim, vocab_size)
        if config.tie_weights:
            self.output.weight = self.embedding.weight

    def hidden(self, x_BU: Tensor) -> Tensor:
        U = x_BU.shape[1]
        position_U = torch.arange(U, device=x_BU.device)
        mask_UU: Tensor | None = None
        if self.context < U or torch.jit.is_tracing():  # a graph is for texts of any length
            distance_UU = position_U[:, None] - position_U
            mask_UU = (distance_UU >= 0) & (distance_UU < self.context)
        x_BUD = self.dropout(self.embedding(x_BU) * self.scale)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            x_BUD = layer.attend(x_BUD, *layer.project(x_BUD, position_U), mask_UU)
        return self.norm(x_BUD)

    def initial_state(self, N: int, device: torch.device | None = None) -> State:
        """Keys and values, (N, L, C, D) each, and the number (N,) of tokens read, none yet."""
        weight = self.embedding.weight
        ring = weight.new_zeros(N, len(self.layers), self.context, weight.shape[1])
        return ring, ring.clone(), torch.zeros(N, dtype=torch.int64, device=weight.device)

    def step_hidden(self, token_N: Tensor, state: State) -> tuple[Tensor, State]:
        k_NLCD, v_NLCD, read_N = state[0].clone(), state[1].clone(), state[2]
        row_N, slot_N = torch.arange(len(token_N), device=token_N.device), read_N % self.context
        is_filled_NC = torch.arange(self.context, device=token_N.device) <= read_N[:, None]
        x_N1D = self.embedding(token_N[:, None]) * self.scale
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            q_NH1K, k_NH1K, v_NH1K = layer.project(x_N1D, read_N[:, None, None])
            k_NLCD[row_N, number, slot_N] = k_NH1K.flatten(1)
            v_NLCD[row_N, number, slot_N] = v_NH1K.flatten(1)
            k, v = (x[:, number].unflatten(-1, (layer.heads, -1)).transpose(1, 2) for x in (k_NLCD, v_NLCD))
            x_N1D = layer.attend(x_N1D, q_NH1K, k, v, is_filled_NC[:, None, None])
        return self.norm(x_N1D)[:, 0], (k_NLCD, v_NLCD, read_N + 1)
