"""The predictors of many hypotheses: states are tuples of tensors with the hypotheses first."""

import torch


def start(model, N, device):
    """(state, projected predictor output (N, J)) at the start of N utterances."""
    predictor = model.predictor
    g_ND, state = predictor.step(predictor.start(N, device), predictor.initial_state(N, device))
    return state, model.joiner.project_predictor(g_ND)


def select(state, index):
    """Rows `index` of a state."""
    return tuple(part[index] for part in state)


def advance(model, state, p_NJ, token_N, emits_N):
    """Step the predictor with `token_N` where `emits_N`; the other rows stay. Returns new (state, p_NJ)."""
    if token_N.device.type == "cpu":
        # Few rows emit at a time, and work is dear.
        rows = torch.nonzero(emits_N).flatten()
        if len(rows):
            g_ND, new = model.predictor.step(token_N[rows], select(state, rows))
            state = tuple(old.index_copy(0, rows, n) for old, n in zip(state, new))
            p_NJ = p_NJ.index_copy(0, rows, model.joiner.project_predictor(g_ND))
        return state, p_NJ
    # On a GPU asking how many emit would cost more than stepping all.
    g_ND, new = model.predictor.step(token_N, state)
    state = tuple(torch.where(emits_N.view(-1, *[1] * (n.ndim - 1)), n, o) for n, o in zip(new, state))
    return state, torch.where(emits_N[:, None], model.joiner.project_predictor(g_ND), p_NJ)
