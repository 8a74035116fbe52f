"""ScaledAdam: Adam whose step is a share of each tensor's size, and which learns that size besides."""

import torch
from torch.optim import Optimizer

NORMS = 100  # updates whose gradient norms say what is usual


class ScaledAdam(Optimizer):
    """ScaledAdam (Yao et al. 2023, https://arxiv.org/abs/2310.11230), with clipping against the median norm.

    With r = RMS(p), at least `min_rms`, the norm of the gradient is taken over all tensors of r g: what it would be if
    each tensor had size 1. Where it exceeds `clip_scale` times its median over the last updates, all gradients are
    scaled down to that. Then each tensor p moves by Adam's direction times its size, and along itself:

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
        n = b1 n + (1 - b1) h,  w = b2 w + (1 - b2) h^2      for h = sum(p g), the gradient by the log of p's size
        p = p - lr r m' / (sqrt(v') + eps) - lr scale_lr n' / (sqrt(w') + eps) p

    where x' is x with Adam's correction for its start at 0. A tensor larger than `max_rms` shrinks along itself
    whatever n says. Multiplying the loss, or a tensor with its gradient divided, by a constant changes nothing.

    Args:
      params: as for every torch optimizer. A missing gradient counts as zero.
      lr: step as a share of a tensor's RMS, 0.02 to 0.05 at the top. betas, eps, scale_lr, clip_scale: as above.
      min_rms: tensors that start at zero, as biases do, grow as if they had this size; max_rms: see above.
    """

    def __init__(
        self, params, lr, betas=(0.9, 0.98), eps=1e-8, scale_lr=0.1, clip_scale=2.0, min_rms=1e-3, max_rms=3.0
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "scale_lr": scale_lr, "clip_scale": clip_scale}
        super().__init__(params, {**defaults, "min_rms": min_rms, "max_rms": max_rms, "step": 0})

    @torch.no_grad()
    def step(self, closure=None):
        """Make one update. Gradients are clipped in place."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            group["step"] += 1
            self._update(group, group["params"])
        return loss

    def _update(self, group, params):
        if not self.state[params[0]]:
            self._begin(params)
        shared = self.state[params[0]]  # the first tensor keeps what belongs to all
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        (beta1, beta2), step = group["betas"], group["step"]
        rms_N = torch.stack(torch._foreach_div(torch._foreach_norm(params), [p.numel() ** 0.5 for p in params]))
        size_N = rms_N.clamp(min=group["min_rms"])
        self._clip(grads, size_N, shared["norms"], group)

        means = [self.state[p]["exp_avg"] for p in params]
        squares = [self.state[p]["exp_avg_sq"] for p in params]
        torch._foreach_lerp_(means, grads, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        scales = torch._foreach_div(squares, 1 - beta2**step)
        torch._foreach_sqrt_(scales)
        torch._foreach_add_(scales, group["eps"])
        updates = torch._foreach_div(means, scales)
        torch._foreach_mul_(updates, list((-group["lr"] / (1 - beta1**step) * size_N).unbind()))

        slope_N = torch.stack([x.sum() for x in torch._foreach_mul(params, grads)])
        shared["scale_avg"].lerp_(slope_N, 1 - beta1)
        shared["scale_avg_sq"].mul_(beta2).addcmul_(slope_N, slope_N, value=1 - beta2)
        usual_N = (shared["scale_avg_sq"] / (1 - beta2**step)).sqrt() + group["eps"]
        along_N = torch.where(rms_N > group["max_rms"], 1.0, shared["scale_avg"] / (1 - beta1**step) / usual_N)
        torch._foreach_mul_(params, list((1 - group["lr"] * group["scale_lr"] * along_N).unbind()))
        torch._foreach_add_(params, updates)

    def _begin(self, params):
        for p in params:
            self.state[p] = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        zeros_N = torch.zeros(len(params), device=params[0].device)
        norms = torch.full((NORMS,), torch.nan, device=params[0].device)
        self.state[params[0]].update(scale_avg=zeros_N, scale_avg_sq=zeros_N.clone(), norms=norms)

    @staticmethod
    def _clip(grads, size_N, norms, group):
        """Scale the gradients down where they are unusually large, without asking a GPU for a number."""
        norm = (torch.stack(torch._foreach_norm(grads)) * size_N).norm()
        allowed = group["clip_scale"] * norms.nanmedian()  # nan before the first update: no clipping
        torch._foreach_mul_(grads, torch.where(norm > allowed, allowed / norm, 1.0))
        norms[(group["step"] - 1) % NORMS] = norm
