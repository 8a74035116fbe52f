"""What happens inside the model: norms for every module, and the first module whose numbers are not finite.

For a run that does not learn (`--print-diagnostics true`) or diverges (`--inf-check true`). Both look through hooks and
change no number.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

UPDATES = 5  # from the start of the process, for which norms are logged


def _tensors(value: Any) -> list[Tensor]:
    """The floating-point tensors in the output of a module."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if is_dataclass(value):
        value = vars(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def watch_modules(
    model: nn.Module, on_output: Callable[[str, Tensor], None], on_gradient: Callable[[str, Tensor], None]
) -> list[Any]:
    """Call the functions with the name of a module and each output, or each gradient of an output, as they come.

    Returns:
        The handles of the hooks; `remove()` ends them.
    """
    handles = []
    for name, module in model.named_modules():

        def hook(_module: nn.Module, _inputs: Any, output: Any, name: str = name or "model") -> None:
            for tensor in _tensors(output):
                on_output(name, tensor.detach())
                if tensor.requires_grad:
                    tensor.register_hook(lambda grad: on_gradient(name, grad.detach()))

        handles.append(module.register_forward_hook(hook))
    return handles


class Diagnostics:
    """Watches the updates of a training; what it finds goes to the log.

    Args:
        model: the `TrainingModel`.
        log: of the run.
        norms: whether to log norms of the first updates.
        finite: whether to look for the first module that is not finite.
    """

    def __init__(self, model: nn.Module, log: logging.Logger, norms: bool = False, finite: bool = False) -> None:
        self._model, self._log, self._finite = model, log, finite
        self._updates_left = UPDATES if norms else 0
        self._outputs: dict[str, float] = {}
        self._gradients: dict[str, float] = {}
        self._weights: dict[str, Tensor] = {}
        self.first_output: str | None = None  # module of the first output of this update that is not finite
        self.first_gradient: str | None = None
        self._handles = watch_modules(model, self._on_output, self._on_gradient) if norms or finite else []

    def begin_update(self, step: int) -> None:
        """Called before the forward pass of update `step`."""
        self.first_output = self.first_gradient = None
        if self._updates_left:
            self._outputs, self._gradients = {}, {}
            self._weights = {name: p.detach().clone() for name, p in self._model.named_parameters()}

    def end_update(self, step: int) -> None:
        """Called after the weights have changed, or the update was skipped."""
        if self.first_output or self.first_gradient:
            self._log.warning(
                "update %d: not finite: first output: %s, first gradient of an output: %s",
                step, self.first_output or "none", self.first_gradient or "none",
            )  # fmt: skip
        if not self._updates_left:
            return
        self._updates_left -= 1
        for line in self.lines(step):
            self._log.info("%s", line)
        self._weights = {}
        if not self._updates_left and not self._finite:
            for handle in self._handles:
                handle.remove()

    def lines(self, step: int) -> list[str]:
        """The table of an update: root mean square of outputs, of their gradients, of weights and of their changes."""
        lines = [f"diagnostics of update {step}: root mean squares"]
        lines.append(f"  {'module':44s} {'output':>10s} {'gradient':>10s}")
        for name, value in self._outputs.items():
            gradient = f"{self._gradients[name]:10.2e}" if name in self._gradients else f"{'-':>10s}"
            lines.append(f"  {name:44s} {value:10.2e} {gradient}")
        lines.append(f"  {'parameter':44s} {'weight':>10s} {'gradient':>10s} {'change':>10s}")
        for name, p in self._model.named_parameters():
            before = self._weights[name]
            grad = _rms(p.grad) if p.grad is not None else 0.0
            lines.append(f"  {name:44s} {_rms(before):10.2e} {grad:10.2e} {_rms(p.detach() - before):10.2e}")
        return lines

    def _on_output(self, name: str, tensor: Tensor) -> None:
        if self._updates_left:
            self._outputs[name] = _rms(tensor)
        if self._finite and self.first_output is None and not bool(torch.isfinite(tensor).all()):
            self.first_output = name

    def _on_gradient(self, name: str, tensor: Tensor) -> None:
        if self._updates_left:
            self._gradients[name] = _rms(tensor)
        if self._finite and self.first_gradient is None and not bool(torch.isfinite(tensor).all()):
            self.first_gradient = name


def _rms(tensor: Tensor) -> float:
    return float(tensor.float().square().mean().sqrt()) if tensor.numel() else 0.0
