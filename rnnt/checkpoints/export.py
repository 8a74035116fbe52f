"""Writes a model from an experiment, in the format that the options name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.checkpoints.averaging import load_for_decoding
from rnnt.checkpoints.icefall.convert import write_icefall
from rnnt.checkpoints.language_model import is_language_model, load_language_model, write_language_model
from rnnt.checkpoints.model_dir import write_model_dir
from rnnt.checkpoints.onnx.language_model import write_onnx_lm
from rnnt.checkpoints.onnx.write import write_onnx
from rnnt.checkpoints.versions import versions
from rnnt.data.sets.config import NO_FETCH, FetchConfig
from rnnt.errors import UserError
from rnnt.files import refuse_existing
from rnnt.model.encoders.adapter import adapters

if TYPE_CHECKING:
    from rnnt.checkpoints.averaging import TrainedModel
    from rnnt.checkpoints.config import ExportConfig, Selection


Check = Callable[["TrainedModel", Path], None]


def export(
    config: ExportConfig, selection: Selection, check: Check | None = None, fetch: FetchConfig = NO_FETCH
) -> None:
    """Write the model that the options name, and print a line about it.

    Args:
        config: the format.
        selection: the checkpoints.
        check: of ONNX graphs: gets the model and the folder before it is put in its place, and may refuse it.
        fetch: see `load_for_decoding`.
    """
    refuse_existing(config.out)
    if is_language_model(config.exp_dir):
        if config.format not in ("model", "onnx"):
            raise UserError(f"{config.exp_dir}: of a language model, which has no --format {config.format}")
        of_recogniser = config.quantize != "none" or config.precision != "fp32" or config.streaming or config.check
        if of_recogniser or not selection.use_adapters:
            of = "--quantize, --precision, --streaming, --check and --use-adapters are of recognisers; leave them out"
            raise UserError(f"{config.exp_dir}: of a language model; {of}")
        model = load_language_model(config.exp_dir, selection)
        remark = ""
        if config.format == "onnx":
            remark = f"; onnxruntime and PyTorch agree within {write_onnx_lm(config.out, model):.1g}"
        else:
            write_language_model(config.out, model, versions())
        print(f"{config.out}: {model.name} of {config.exp_dir}, a language model{remark}")
        return
    # With the layers of every loss, which fine-tuning begins with.
    trained = load_for_decoding(config.exp_dir, selection, config.manifest_dir or None, all_losses=True, fetch=fetch)
    parameters = sum(p.numel() for p in trained.network.parameters())
    remark = ""
    if config.format == "onnx":
        precision = config.precision if config.quantize == "none" else config.quantize
        last_check = None if check is None else partial(check, trained)
        chunks = (config.chunk_size, config.left_context_frames) if config.streaming else None
        difference = write_onnx(config.out, trained, versions(), precision, last_check, chunks)
        remark = f"; onnxruntime and PyTorch agree within {difference:.1g}"
    elif config.format == "icefall":
        write_icefall(config.out, trained)
        remark = "; with adapters: for icefall's zipformer_adapter" if adapters(trained.network) else ""
    else:
        exp_dir = config.exp_dir if config.format == "hub" else None
        write_model_dir(config.out, trained, versions(), exp_dir)
    print(f"{config.out}: {trained.name} of {config.exp_dir}, {parameters} parameters{remark}")
