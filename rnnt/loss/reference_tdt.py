"""The TDT loss as its paper writes it: all logits, and a recursion of one step per lattice arc, with autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnt.loss.lattice import delay_penalty_term
from rnnt.loss.options import JoinerInputs, TDTInputs, TDTOptions
from rnnt.loss.reference import joiner_logits


def joiner_loss(
    inputs: TDTInputs, symbols_BS: Tensor, x_len_B: Tensor, y_len_B: Tensor, options: TDTOptions
) -> tuple[Tensor, Tensor]:
    """As `rnnt.loss.tdt.tdt_joiner_loss`."""
    weight = torch.cat((inputs.weight_VJ, inputs.duration_weight_DJ))
    bias = torch.cat((inputs.bias_V, inputs.duration_bias_D))
    both = JoinerInputs(inputs.enc_BTJ, inputs.pred_BUJ, weight, bias)
    logits = joiner_logits(both, None, options.activation, options.dropout)
    token_logits, duration_logits = logits.split((len(inputs.bias_V), len(inputs.duration_bias_D)), dim=3)
    losses, usable = [], []
    for b, (T, S) in enumerate(zip(x_len_B.tolist(), y_len_B.tolist())):
        symbols = symbols_BS[b, :S].tolist()
        score = log_likelihood(token_logits[b, :T, : S + 1], duration_logits[b, :T, : S + 1], symbols, options)
        usable.append(score is not None)
        losses.append(logits.new_zeros(()) if score is None else -score)
    zero = logits.sum() * 0 if not losses else 0.0  # a loss of no utterances has gradients, too
    loss_B = torch.stack(losses) if losses else logits.new_zeros(0) + zero
    return loss_B, torch.tensor(usable, dtype=torch.bool, device=logits.device)


def log_likelihood(
    token_logits_TUV: Tensor, duration_logits_TUD: Tensor, symbols: list[int], options: TDTOptions
) -> Tensor | None:
    """The log of the sum over all paths of one utterance; None where there is none.

    With lp = log_softmax(token logits) - sigma, lq = log_softmax(duration logits), a[0,0] = 0 and t < T:

        a[t,u] = log(sum over d > 0 of exp(a[t-d,u]   + lp[t-d,u,blank]      + lq[t-d,u,d])
                   + sum over d     of exp(a[t-d,u-1] + lp[t-d,u-1,symbol u] + lq[t-d,u-1,d]))
        score  = log(sum over d > 0 of exp(a[T-d,S] + lp[T-d,S,blank] + lq[T-d,S,d]))

    Source: Xu et al. 2023, https://arxiv.org/abs/2304.06795, sections 3 and 4.

    Args:
        token_logits_TUV: of the T frames and S + 1 states.
        duration_logits_TUD: likewise.
        symbols: the S target tokens.
        options: blank, durations, sigma and delay penalty.
    """
    T, U, _ = token_logits_TUV.shape
    if T == 0:
        return token_logits_TUV.sum() if U == 1 else None
    token_logp, duration_logp = token_logits_TUV.log_softmax(2) - options.sigma, duration_logits_TUD.log_softmax(2)
    delay_T = delay_penalty_term(
        torch.tensor(T), torch.arange(T), options.delay_penalty, token_logits_TUV.dtype
    ).tolist()
    arriving: dict[tuple[int, int], list[Tensor]] = {(0, 0): [token_logits_TUV.new_zeros(())]}
    for t in range(T):
        for u in range(U):
            if (t, u) not in arriving:
                continue
            here = torch.stack(arriving[t, u]).logsumexp(0)
            for j, d in enumerate(options.durations):
                lasting = here + duration_logp[t, u, j]
                if d > 0 and (t + d < T or (t + d == T and u == U - 1)):
                    arriving.setdefault((t + d, u), []).append(lasting + token_logp[t, u, options.blank])
                if u < U - 1 and t + d < T:
                    emitted = lasting + token_logp[t, u, symbols[u]] + delay_T[t]
                    arriving.setdefault((t + d, u + 1), []).append(emitted)
    return torch.stack(arriving[T, U - 1]).logsumexp(0) if (T, U - 1) in arriving else None
