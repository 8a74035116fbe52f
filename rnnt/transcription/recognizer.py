"""A trained model in use, by PyTorch: audio in, text with times and confidences out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnt.checkpoints.model_dir import read_model_dir
from rnnt.data.fbank import make_extractor
from rnnt.distributed.device import pick_device
from rnnt.errors import UserError
from rnnt.options import make
from rnnt.search import search as search_batch
from rnnt.search.config import FusionConfig, SearchConfig
from rnnt.search.hotwords import hotword_scorer
from rnnt.search.needs import check_method, default_search
from rnnt.search.scorers import load_scorers, make_phrases
from rnnt.streaming.recognizer import Stream, StreamingRecognizer
from rnnt.transcription.base import BaseRecognizer, check_effect, check_names, make_search

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig
    from rnnt.model.transducer import Transducer
    from rnnt.search.fusion import Scorer
    from rnnt.search.result import Hypothesis
    from rnnt.streaming.config import StreamConfig
    from rnnt.text.tokenizer import Tokenizer


class Recognizer(BaseRecognizer):
    """A model with its front-end and tokenizer. `rnnt.load_model` makes one from a model directory.

    Attributes:
        model: in evaluation mode, on the device.
        features: the front-end.
        tokenizer: turns tokens into text.
        selection: which checkpoints the weights come from.
        device: where the model computes.
        seconds_per_frame: seconds per encoder frame.
    """

    def __init__(
        self,
        model: Transducer,
        features: FeatureConfig,
        tokenizer: Tokenizer,
        selection: str = "",
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.features, self.tokenizer, self.selection = features, tokenizer, selection
        self.seconds_per_frame = features.frame_shift * model.subsampling_factor
        self._extractor = make_extractor(features)

    def __repr__(self) -> str:
        config = self.model.config
        parts = [config.encoder.name, *([config.predictor.name] if config.transducer else []), *self.model.heads]
        number = sum(p.numel() for p in self.model.parameters())
        return (
            f"<Recognizer {self.selection}: {' + '.join(parts)}, {number:,} parameters, {self.tokenizer.vocab_size} "
            f"tokens, {self.features.num_mel_bins} mel bins at {self.features.sampling_rate} Hz, on {self.device}>"
        )

    def default_search(self) -> SearchConfig:
        """Greedy, over what the model has."""
        return default_search(self.model)

    def check_search(self, search: SearchConfig, where: object = "this model") -> None:
        """Raise UserError unless the model has what the search needs. where: the model, for the message."""
        check_method(self.model, search, where)

    def search_of(self, options: Mapping[str, Any]) -> tuple[SearchConfig, list[tuple[Scorer, float]]]:
        """See `search_of_options`."""
        return search_of_options(self.model, self.tokenizer, options)

    def streaming(
        self,
        search: SearchConfig | None = None,
        scorers: Iterable[tuple[Scorer, float]] = (),
        config: StreamConfig | None = None,
        **options: Any,
    ) -> StreamingRecognizer:
        """What recognises many streams together, see `StreamingRecognizer`. The arguments are those of `stream`."""
        if options:
            search, scorers = self.search_of(options)
        return StreamingRecognizer(self.model, self.features, self.tokenizer, search, scorers, config)

    def stream(
        self,
        search: SearchConfig | None = None,
        scorers: Iterable[tuple[Scorer, float]] = (),
        config: StreamConfig | None = None,
        **options: Any,
    ) -> Stream:
        """A stream that takes samples as they come: `accept(samples)`, `text`, `words`, `finish()`.

        Args:
            search: as in `transcribe`; greedy_search, modified_beam_search or time_sync_beam_search.
            scorers: as in `transcribe`.
            config: chunks, and when an utterance ends.
            options: of the search, as in `transcribe`.

        Raises:
            UserError: the model or the search needs the whole utterance.
        """
        return self.streaming(search, scorers, config, **options).stream()

    def scorers_of(self, fusion: FusionConfig) -> list[tuple[Scorer, float]]:
        """The scorers of language models and hotwords."""
        return load_scorers(fusion, self.tokenizer)

    @torch.inference_mode()
    def search_features(
        self, batch: Sequence[np.ndarray], config: SearchConfig, scorers: list[tuple[Scorer, float]]
    ) -> list[tuple[int, list[Hypothesis]]]:
        """Encode and search features (T, F): the encoder frames of each, and its hypotheses, best first."""
        x_len_B = torch.tensor([len(x_TF) for x_TF in batch])
        x_BTF = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(np.asarray(x_TF)) for x_TF in batch], True)
        h_BTD, h_len_B = self.model.encode(x_BTF.to(self.device), x_len_B)
        return list(zip(h_len_B.tolist(), search_batch(self.model, h_BTD, h_len_B, config, scorers)))


def search_of_options(
    model: Transducer, tokenizer: Tokenizer, options: Mapping[str, Any]
) -> tuple[SearchConfig, list[tuple[Scorer, float]]]:
    """The search and the scorers of options of `SearchConfig` and `FusionConfig` by name, and `hotwords`, a list."""
    given = dict(options)
    hotwords = given.pop("hotwords", [])
    check_names(given, SearchConfig, FusionConfig, others=["hotwords"])
    if isinstance(hotwords, str):
        raise UserError(f"hotwords={hotwords!r}: give a list of phrases, or a file as context_file")
    searching, fusing = ({f.name for f in fields(cls)} for cls in (SearchConfig, FusionConfig))
    search = make_search(default_search(model), {name: v for name, v in given.items() if name in searching})
    try:
        fusion = make(FusionConfig, **{name: v for name, v in given.items() if name in fusing})
    except ValueError as error:
        raise UserError(str(error)) from None
    check_method(model, search)
    check_effect(search, given)
    scorers = load_scorers(fusion, tokenizer)
    if hotwords:
        phrases = make_phrases(((phrase, fusion.context_score, "hotwords") for phrase in hotwords), tokenizer)
        scorers.append((hotword_scorer(phrases, tokenizer.vocab_size), 1.0))
    return search, scorers


def load_recognizer(folder: str | Path, device: str = "auto") -> Recognizer:
    """The `Recognizer` of a model directory. device: `auto` (a GPU if there is one), `cpu` or `cuda`."""
    found = read_model_dir(folder)
    return Recognizer(found.network, found.features, found.tokenizer, found.name, pick_device(device))
