"""What the tokens so far mean for the next step: the predictor and, with it, whatever else scores tokens."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Context:
    """N hypotheses. All tensors have them first, so that indexing selects and repeats hypotheses."""

    p_NJ: torch.Tensor  # projected output of the predictor
    state: tuple[torch.Tensor, ...]  # of the predictor
    extra_NV: torch.Tensor | None  # scores added to each token's log-probability, 0 for blank; None: nothing is added
    extra_state: tuple[torch.Tensor, ...]

    def __getitem__(self, index):
        return Context(
            self.p_NJ[index],
            tuple(part[index] for part in self.state),
            None if self.extra_NV is None else self.extra_NV[index],
            tuple(part[index] for part in self.extra_state),
        )

    def interleave(self, other, K):
        """K hypotheses of ours, then K of `other`, for each utterance."""

        def one(a, b):
            return torch.cat((a.unflatten(0, (-1, K)), b.unflatten(0, (-1, K))), dim=1).flatten(0, 1)

        return self.combine(other, one)

    def combine(self, other, combine):
        """`combine(ours, theirs)` for each tensor."""
        return Context(
            combine(self.p_NJ, other.p_NJ),
            tuple(combine(a, b) for a, b in zip(self.state, other.state)),
            None if self.extra_NV is None else combine(self.extra_NV, other.extra_NV),
            tuple(combine(a, b) for a, b in zip(self.extra_state, other.extra_state)),
        )


class Stepper:
    """Makes contexts and moves them on.

    model: a transducer; joiner: its joiner, maybe prepared for many small products; fusion: a
    `rnnt.search.fusion.Fusion` or None.
    """

    def __init__(self, model, joiner, fusion=None):
        self.predictor = model.predictor
        self.blank_id = model.blank_id
        self.vocab_size = model.joiner.output.out_features
        self.joiner = joiner
        self.fusion = fusion

    def start(self, N, device):
        """The `Context` of N utterances before their first token."""
        first_N, before = self.predictor.start(N, device), self.predictor.initial_state(N, device)
        g_ND, state = self.predictor.step(first_N, before)
        extra_NV, extra_state = self.fusion.start(N, device) if self.fusion else (None, ())
        return Context(self.joiner.project_predictor(g_ND), state, extra_NV, extra_state)

    def step(self, context, token_N):
        """The `Context` after one more token for each hypothesis."""
        g_ND, state = self.predictor.step(token_N, context.state)
        extra_NV, extra_state = self.fusion.step(token_N, context.extra_state) if self.fusion else (None, ())
        return Context(self.joiner.project_predictor(g_ND), state, extra_NV, extra_state)

    def advance(self, context, token_N, emits_N):
        """Step where `emits_N`; the other hypotheses stay as they are."""
        if token_N.device.type == "cpu":
            # Few emit at a time, and work is dear.
            rows = torch.nonzero(emits_N).flatten()
            if not len(rows):
                return context
            return context.combine(
                self.step(context[rows], token_N[rows]), lambda old, new: old.index_copy(0, rows, new)
            )
        # On a GPU asking how many emit would cost more than stepping all.
        return context.combine(
            self.step(context, token_N),
            lambda old, new: torch.where(emits_N.view(-1, *[1] * (new.ndim - 1)), new, old),
        )

    def final(self, context):
        """(N,) score added when the utterance ends, or None."""
        return self.fusion.final(context.extra_state) if self.fusion else None


def adjust_logits(logits_V, config, blank_id):
    """The joiner's output in single precision, with blank penalty and temperature."""
    logits_V = logits_V.float()
    if config.blank_penalty:
        penalty_V = torch.zeros_like(logits_V[(0,) * (logits_V.ndim - 1)])
        penalty_V[blank_id] = config.blank_penalty
        logits_V = logits_V - penalty_V
    return logits_V if config.temperature == 1.0 else logits_V / config.temperature


def confidence(logp_V, chosen, config):
    """How sure the model is of the token with log-probability `chosen` in the distribution `logp_V`, in [0, 1]."""
    return chosen.exp() if config.confidence == "max_prob" else entropy_confidence(logp_V)


def entropy_confidence(logp_V):
    """1 - H / log V for the entropy H of distributions (..., V) -> (...).

    Source: Laptev & Ginsburg 2022, https://arxiv.org/abs/2212.08703, Gibbs entropy with linear normalisation.
    """
    # The clamp makes 0 of 0 x log 0.
    entropy = -(logp_V.exp() * logp_V.clamp(min=-1e4)).sum(dim=-1)
    return (1 - entropy / math.log(max(logp_V.shape[-1], 2))).clamp(0, 1)
