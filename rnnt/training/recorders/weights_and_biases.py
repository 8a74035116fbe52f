"""A run of Weights & Biases."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnt.files import atomic_write
from rnnt.training.recorders.base import Recorder, numbers

if TYPE_CHECKING:
    import logging


class WeightsAndBiases(Recorder):
    """A run of a project of Weights & Biases, by its package `wandb`; WANDB_MODE=offline keeps it in the folder.

    A training that is continued continues its run, whose id is in the file `wandb_id`. The horizontal axis is `update`:
    what a restart makes anew is there twice.
    """

    def __init__(self, project: str, folder: Path, log: logging.Logger) -> None:
        super().__init__(f"Weights & Biases project {project}", "records", log)
        self._project, self._folder = project, folder
        self._run: Any = None

    def _open(self, config: Mapping[str, Any]) -> None:
        import wandb

        path = self._folder / "wandb_id"
        if not path.exists():
            with atomic_write(path) as file:
                file.write(secrets.token_hex(8) + "\n")
        self._run = wandb.init(
            project=self._project,
            name=self._folder.resolve().name,
            id=path.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(self._folder),
            config=dict(config),
        )
        self._run.define_metric("*", step_metric="update")

    def _record(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if found := numbers(kind, values):
            self._run.log({"update": step, **found})
        if kind == "end":
            self._run.finish(exit_code=0 if values["success"] else 1)
