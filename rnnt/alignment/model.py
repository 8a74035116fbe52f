"""Forced alignment of a batch with a trained model: the best path for a known text, with confidences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnt.alignment.viterbi import BestPath, ctc_best_path, transducer_best_path
from rnnt.search.result import Hypothesis

if TYPE_CHECKING:
    from rnnt.model.transducer import Transducer

LARGEST_LATTICE = 2**25  # scores of tokens held at a time: 128 MiB


@dataclass(frozen=True)
class Frames:
    """Encoder output (B, T, D) with its lengths, and the tokens (B, S) with theirs."""

    h_BTD: Tensor
    h_len_B: Tensor
    y_BS: Tensor
    y_len_B: Tensor


@torch.inference_mode()
def align_batch(model: Transducer, frames: Frames, method: str) -> list[Hypothesis | None]:
    """The best path of each utterance for its text.

    A token lasts from the first to the last of its frames: with CTC those of its repetitions, with a transducer the one
    on which it is emitted. Its confidence is its probability there; with CTC the highest of its frames. The score is
    the log-probability of the path.

    Args:
        model: in evaluation mode.
        frames: the batch.
        method: `ctc`, of the layer of that loss, or `transducer`.

    Returns:
        A hypothesis whose tokens are the text's; None where the frames do not suffice for the tokens.
    """
    path, logp_BS = (_align_ctc if method == "ctc" else _align_transducer)(model, frames)
    found: list[Hypothesis | None] = []
    columns = zip(
        path.score_B.tolist(), frames.y_BS.tolist(), frames.y_len_B.tolist(), path.first_BS.tolist(),
        path.last_BS.tolist(), logp_BS.tolist(),
    )  # fmt: skip
    for score, tokens, length, first, last, logp in columns:
        if score == -torch.inf:
            found.append(None)
            continue
        scores = tuple(logp[:length])
        durations = tuple(b - a + 1 for a, b in zip(first[:length], last))
        confidences = tuple(torch.tensor(scores, dtype=torch.float64).exp().tolist())
        found.append(Hypothesis(tuple(tokens[:length]), tuple(first[:length]), scores, confidences, score, durations))
    return found


def _align_ctc(model: Transducer, frames: Frames) -> tuple[BestPath, Tensor]:
    """The path, and the highest log-probability (B, S) of each token on its frames."""
    head: Any = model.heads["ctc"]
    logp_BTV = head.log_probs(frames.h_BTD).float()
    y_BS = frames.y_BS.to(logp_BTV.device)
    path = ctc_best_path(logp_BTV, y_BS, frames.h_len_B, frames.y_len_B, model.blank_id)
    B, T, _ = logp_BTV.shape
    logp_BTS = logp_BTV.gather(2, y_BS[:, None].expand(B, T, -1))
    t_T1 = torch.arange(T, device=logp_BTV.device)[:, None]
    is_there_BTS = (t_T1 >= path.first_BS[:, None]) & (t_T1 <= path.last_BS[:, None])
    best_BS = logp_BTS.masked_fill(~is_there_BTS, -torch.inf).amax(dim=1) if T else logp_BTS.sum(dim=1)
    return path, best_BS


def _align_transducer(model: Transducer, frames: Frames) -> tuple[BestPath, Tensor]:
    """The path, and the log-probability (B, S) of each token on its frame."""
    px, py = lattice_scores(model, frames)
    path = transducer_best_path(px, py, frames.y_len_B, frames.h_len_B)
    logp_BS = px.gather(2, path.first_BS[..., None])[..., 0] if px.shape[2] else px.sum(dim=2)
    return path, logp_BS


def lattice_scores(model: Transducer, frames: Frames) -> tuple[Tensor, Tensor]:
    """The arcs of the complete lattice: px (B,S,T) of the tokens and py (B,S+1,T) of blank, see `rnnt.loss.lattice`.

    The joiner is computed for some frames at a time: all tokens of all nodes are seldom wanted in memory.
    """
    y_BS = frames.y_BS.to(frames.h_BTD.device)
    B, S = y_BS.shape
    e_BTJ = model.joiner.project_encoder(frames.h_BTD)
    p_BUJ = model.joiner.project_predictor(model.predictor(y_BS))
    T = e_BTJ.shape[1]
    px, py = e_BTJ.new_empty(B, S, T, dtype=torch.float32), e_BTJ.new_empty(B, S + 1, T, dtype=torch.float32)
    step = max(1, LARGEST_LATTICE // max(1, B * (S + 1) * model.vocab_size))
    for start in range(0, T, step):
        part = slice(start, min(start + step, T))
        logp_BUTV = model.joiner.logits(e_BTJ[:, None, part], p_BUJ[:, :, None]).float().log_softmax(dim=-1)
        py[:, :, part] = logp_BUTV[..., model.blank_id]
        wanted_BSTX = y_BS[:, :, None, None].expand(-1, -1, logp_BUTV.shape[2], 1)
        px[:, :, part] = logp_BUTV[:, :S].gather(3, wanted_BSTX)[..., 0]
    return px, py
