"""ScaledAdam: Adam whose step is a fraction of each tensor's size, and which learns that size as well."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

EARLY = (10, 20, 40)  # updates at which too few norms are known for a firm threshold
CORRECTED = 0.99  # Adam's correction of v ends where it would change v by less than a hundredth
LARGEST_SIZE_STEP = 0.1

log = logging.getLogger(__name__)


class ScaledAdam(Optimizer):
    """ScaledAdam (Yao et al. 2023, https://arxiv.org/abs/2310.11230), number for number as icefall has it.

    At update t = 0, 1, ... a tensor p with gradient g moves by

        v = b2 v + (1 - b2) g^2,   v' = v / (1 - b2^(t+1)), or v once that hardly differs
        d = -lr max(r, min_rms) g / (sqrt(v') + eps)
        m = b1 m + (1 - b1) d,   p = p + m

    where r = RMS(p) is taken at the first update and at the end of each period of P updates. At the end of the k-th
    period the size of p is learned from the gradient s = sum(p g) by the logarithm of that size:

        w = b2^P w + (1 - b2^P) mean(s^2),   d = d - lr scale_lr sqrt(1 - b2^(P k)) sum(s) / (sqrt(w) + eps) p

    with mean and sum over the period. The factor of p is at most 0.1 either way, does not carry r beyond `max_rms`, and
    is 0 where r is below `min_rms`. A tensor of one number moves by d = -lr scale_lr g / (sqrt(v') + eps) and stays
    within `scalar_max`. Multiplying the loss, or a tensor with its gradient divided, by a constant changes nothing.

    Clipping: all gradients are multiplied by min(1, threshold / norm), where the norm is that of r g over all tensors
    (of scale_lr g for single numbers) and the threshold is `clipping_scale` times the median norm of the last period.
    The first thresholds, after 10, 20 and 40 updates, are twice that. A gradient that is not finite counts as 0.

    Tensors of one shape are computed as one, which changes nothing but speed. The state of such tensors is kept with
    the first of them; counters and norms are in the parameter group.

    Args:
        params: as for every torch optimizer. A missing gradient counts as zero; gradients are not changed.
        lr: step as a fraction of a tensor's RMS, 0.02 to 0.05 at the top.
        betas: (b1, b2).
        clipping_scale: as above; None: no clipping.
        scalar_lr_scale: scale_lr.
        eps, param_min_rms, param_max_rms, scalar_max: as above.
        size_update_period: P.
        clipping_update_period: updates between two thresholds.

    Raises:
        RuntimeError: half of the gradients of a period were not finite.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.045,
        betas: tuple[float, float] = (0.9, 0.98),
        clipping_scale: float | None = 2.0,
        scalar_lr_scale: float = 0.1,
        eps: float = 1e-8,
        param_min_rms: float = 1e-5,
        param_max_rms: float = 3.0,
        scalar_max: float = 10.0,
        size_update_period: int = 4,
        clipping_update_period: int = 100,
    ) -> None:
        defaults = {
            "lr": lr, "betas": betas, "clipping_scale": clipping_scale, "scalar_lr_scale": scalar_lr_scale, "eps": eps,
            "param_min_rms": param_min_rms, "param_max_rms": param_max_rms, "scalar_max": scalar_max,
            "size_update_period": size_update_period, "clipping_update_period": clipping_update_period,
            "step": 0, "norms": (0.0,) * clipping_update_period, "threshold": None, "num_clipped": 0,
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            batches = same_shapes(group["params"])
            factor = self._clipping_factor(group, batches)
            for params in batches:
                self._update(group, params, factor)
            group["step"] += 1
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of another ScaledAdam; ValueError where it is that of something else."""
        if any("num_clipped" not in group for group in state_dict["param_groups"]):
            raise ValueError("it is the state of another optimizer, or of a ScaledAdam before icefall's numbers")
        super().load_state_dict(state_dict)

    def _update(self, group: dict[str, Any], params: list[Tensor], factor: float) -> None:
        """Move tensors of one shape, all with the gradient times `factor`."""
        p, g = torch.stack(params), torch.stack([torch.zeros_like(p) if p.grad is None else p.grad for p in params])
        if factor == 0:
            g.zero_()
        elif factor != 1:
            g *= factor
        is_scalar = params[0].numel() == 1
        state = self.state[params[0]] or self._begin(group, params[0], p)
        beta1, beta2 = group["betas"]
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(g, g, value=1 - beta2)
        correction = 1 - beta2 ** (group["step"] + 1)
        scale = (square / correction if correction < CORRECTED else square).sqrt().add_(group["eps"])
        d = (g / scale).mul_(-group["lr"])
        if is_scalar:
            d *= group["scalar_lr_scale"]
        else:
            d = self._scaled(group, state, d, p, g)
        state["delta"].lerp_(d, 1 - beta1)
        torch._foreach_add_(params, list(state["delta"].unbind()))
        if is_scalar:
            torch._foreach_clamp_min_(params, -group["scalar_max"])
            torch._foreach_clamp_max_(params, group["scalar_max"])

    def _begin(self, group: dict[str, Any], first: Tensor, p: Tensor) -> dict[str, Tensor]:
        """The state of the tensors stacked in `p`, kept with the first of them."""
        state = {"delta": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        if first.numel() > 1:
            rms = _rms(p)
            scale_grads = rms.new_zeros(group["size_update_period"], *rms.shape)
            state.update(param_rms=rms, scale_grads=scale_grads, scale_exp_avg_sq=torch.zeros_like(rms))
        self.state[first] = state
        return state

    @staticmethod
    def _scaled(group: dict[str, Any], state: dict[str, Tensor], d: Tensor, p: Tensor, g: Tensor) -> Tensor:
        """The step d, made as long as the tensors are large, with the step of their size at the end of a period."""
        period, place = group["size_update_period"], group["step"] % group["size_update_period"]
        slopes, rms = state["scale_grads"], state["param_rms"]
        slopes[place] = (p * g).sum(dim=tuple(range(1, p.ndim)), keepdim=True)
        if place < period - 1:
            return d * rms.clamp(min=group["param_min_rms"])
        rms.copy_(_rms(p))
        beta2 = group["betas"][1] ** period
        square = state["scale_exp_avg_sq"].lerp_(slopes.square().mean(dim=0), 1 - beta2)
        rate = group["lr"] * group["scalar_lr_scale"] * math.sqrt(1 - beta2 ** ((group["step"] + 1) // period))
        along = slopes.sum(dim=0).mul_(-rate).div_(square.sqrt().add_(group["eps"]))
        along = along.masked_fill_(rms < group["param_min_rms"], 0.0).clamp_(-LARGEST_SIZE_STEP, LARGEST_SIZE_STEP)
        along = torch.minimum(along, group["param_max_rms"] / rms - 1)
        return (d * rms.clamp(min=group["param_min_rms"])).addcmul_(p, along)

    def _clipping_factor(self, group: dict[str, Any], batches: list[list[Tensor]]) -> float:
        """What the gradients of this update are to be multiplied by; counts its norm."""
        step, period = group["step"], group["clipping_update_period"]
        if group["clipping_scale"] is None or step == 0:
            return 1.0
        norm = self._norm(group, batches)
        norms = list(group["norms"])
        norms[step % period] = norm
        group["norms"] = tuple(norms)
        if step in EARLY and step < period:
            self._set_threshold(group, sorted(norms, key=_nan_last)[-step:], 2 * group["clipping_scale"])
        elif step % period == 0:
            self._set_threshold(group, sorted(norms, key=_nan_last), group["clipping_scale"])
        if not math.isfinite(norm):
            factor = 0.0
        elif group["threshold"] is None:
            factor = 1.0
        else:
            factor = min(1.0, group["threshold"] / (norm + 1e-20))
        group["num_clipped"] += factor < 1
        return factor

    def _norm(self, group: dict[str, Any], batches: list[list[Tensor]]) -> float:
        """The norm of all gradients, each times the size of its tensor."""
        norms: list[Tensor] = []
        sizes: list[Tensor] = []
        for params in batches:
            grads = [(i, p.grad) for i, p in enumerate(params) if p.grad is not None]
            if not grads:
                continue
            norms += torch._foreach_norm([grad for _, grad in grads])
            if params[0].numel() == 1:
                sizes.append(params[0].new_full((len(grads),), group["scalar_lr_scale"]))
            else:
                sizes.append(self.state[params[0]]["param_rms"].flatten()[[i for i, _ in grads]])
        return float((torch.stack(norms) * torch.cat(sizes)).norm()) if norms else 0.0

    @staticmethod
    def _set_threshold(group: dict[str, Any], norms: list[float], scale: float) -> None:
        """Set the threshold to `scale` times the median of norms, which are in rising order."""
        quartiles = [norms[min(len(norms) - 1, len(norms) // 4 * n)] for n in range(5)]
        if not math.isfinite(quartiles[2]):
            raise RuntimeError("half of the gradients of the last updates are not finite")
        group["threshold"] = scale * quartiles[2]
        log.info(
            "gradient norm relative to the weights: quartiles %s, threshold %.3e, %.1f %% of the updates clipped",
            " ".join(f"{norm:.3e}" for norm in quartiles), group["threshold"], 100 * group["num_clipped"] / len(norms),
        )  # fmt: skip
        group["num_clipped"] = 0


def same_shapes(params: Iterable[Tensor]) -> list[list[Tensor]]:
    """Tensors of equal shape, type and device together, in their order."""
    found: dict[Any, list[Tensor]] = {}
    for p in params:
        found.setdefault((p.shape, p.dtype, p.device), []).append(p)
    return list(found.values())


def _rms(p: Tensor) -> Tensor:
    """(N, ...) -> (N, 1, ...), the root of the mean square of each of N tensors."""
    return p.square().mean(dim=tuple(range(1, p.ndim)), keepdim=True).sqrt()


def _nan_last(norm: float) -> float:
    return math.inf if math.isnan(norm) else norm
