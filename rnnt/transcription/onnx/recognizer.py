"""The recogniser of ONNX graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from rnnt.errors import UserError
from rnnt.search.config import METHODS, FusionConfig, SearchConfig
from rnnt.search.needs import default_search, has_needs
from rnnt.transcription.base import BaseRecognizer, check_effect, check_names, make_search
from rnnt.transcription.onnx.fbank import NumpyFbank
from rnnt.transcription.onnx.graphs import Exported, read_folder
from rnnt.transcription.onnx.search import SEARCHES

if TYPE_CHECKING:
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Hypothesis


class OnnxRecognizer(BaseRecognizer):
    """A model in onnxruntime with the interface of `Recognizer`; it needs no torch.

    There are greedy search, modified beam search and greedy search over a CTC layer, without language models and
    hotwords.

    Args:
        exported: the folder.
    """

    def __init__(self, exported: Exported) -> None:
        self.model, self.features, self.tokenizer = exported.graphs, exported.features, exported.tokenizer
        self.seconds_per_frame = float(exported.description["frame_seconds"])
        self.kind: str = exported.description["kind"]
        self._extractor = NumpyFbank(exported.features)

    def __repr__(self) -> str:
        return (
            f"<OnnxRecognizer {self.kind}, {self.tokenizer.vocab_size} tokens, {self.features.num_mel_bins} mel bins "
            f"at {self.features.sampling_rate} Hz, {self.model.providers[0]}>"
        )

    def stream(self, *_: object, **__: object) -> NoReturn:
        """Refused: graphs hear whole utterances here."""
        raise UserError(
            "ONNX graphs hear whole utterances here; stream with a model directory (export_model.py --format model), "
            "or export with --streaming true for sherpa-onnx"
        )

    streaming = stream

    def default_search(self) -> SearchConfig:
        """Greedy, over what the model has."""
        return default_search(self.model)

    def search_of(self, options: Mapping[str, Any]) -> tuple[SearchConfig, list[tuple[Scorer, float]]]:
        """The search of options of `SearchConfig` by name."""
        check_names(options, SearchConfig)
        search = make_search(self.default_search(), options)
        self.check_search(search)
        check_effect(search, options)
        return search, []

    def check_search(self, search: SearchConfig, where: object = "these ONNX graphs") -> None:
        """Raise UserError unless the search is one of those here, and the model has what it needs."""
        can = [name for name in SEARCHES if has_needs(self.model, METHODS[name].head)]
        if search.decoding_method not in can:
            raise UserError(
                f"{where}: --decoding-method {search.decoding_method} can't be used with ONNX graphs; choose "
                f"{' or '.join(can)}, or a model directory (export_model.py --format model)"
            )
        if search.length_bonus:
            raise UserError(f"{where}: no --length-bonus with ONNX graphs; use a model directory (--format model)")

    def scorers_of(self, fusion: FusionConfig) -> list[tuple[Scorer, float]]:
        """None: `UserError` where there are any."""
        if fusion != FusionConfig():
            raise UserError(
                "language models and hotwords: not with ONNX graphs; use a model directory (export_model.py --format "
                "model) or sherpa-onnx"
            )
        return []

    def search_features(
        self, batch: Sequence[np.ndarray], config: SearchConfig, scorers: list[tuple[Scorer, float]]
    ) -> list[tuple[int, list[Hypothesis]]]:
        """Encode and search features (T, F): the encoder frames of each, and its hypotheses, best first."""
        self.check_search(config)
        if scorers:
            raise UserError("scorers: not with ONNX graphs; use a model directory (export_model.py --format model)")
        x_len_B = np.array([len(x_TF) for x_TF in batch], np.int64)
        x_BTF = np.zeros((len(batch), max(x_len_B), batch[0].shape[1]), np.float32)
        for row_TF, x_TF in zip(x_BTF, batch):
            row_TF[: len(x_TF)] = x_TF
        return SEARCHES[config.decoding_method](self.model, x_BTF, x_len_B, config)


def load_onnx(folder: str | Path, device: str = "auto", threads: int = 0) -> OnnxRecognizer:
    """The `OnnxRecognizer` of a folder. device: `auto` or `cpu`, or `cuda` with an onnxruntime that has it."""
    return OnnxRecognizer(read_folder(folder, device, threads))
