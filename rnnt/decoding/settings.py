"""Where the results of a decode go: each distinct setting of options has a folder of its own.

The name is short and depends on the options alone: the method, then what is not at its default, such as
`decode_modified_beam_search_avg-5_beam-8_lm-3gram.1f0c-0.3`. A file stands there by its name and a few digits of its
contents. Free of torch, so that scripts can ask.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnt.checkpoints.config import Selection
from rnnt.data.sets.config import FetchConfig
from rnnt.decoding.config import DecodeConfig
from rnnt.errors import UserError
from rnnt.files import file_sha256
from rnnt.model.encoders.config import ChunkChoice
from rnnt.options import changed, make_parser, parse
from rnnt.search.config import METHODS, FusionConfig, SearchConfig
from rnnt.streaming.config import WindowConfig

# What options are called in the name of a folder, where that is not their own name.
SHORT = {
    "use_averaged_model": "averaged",
    "use_ema": "ema",
    "use_adapters": "adapters",
    "beam_size": "beam",
    "max_sym_per_frame": "sym",
    "context_file": "hotwords",
    "lodr_lm": "lodr",
    "nn_lm": "nn-lm",
    "word_lm": "words",
    "ilm_scale": "ilm",
    "model_dir": "model",
    "chunk_size": "chunk",
    "left_context_frames": "left",
    "stream_chunk_seconds": "chunk-seconds",
}
# Files, with the option that weighs them.
WEIGHTS = {
    "lm": "lm_scale", "word_lm": "word_lm_scale", "nn_lm": "neural_scale", "lodr_lm": "ngram_lm_scale",
    "context_file": "context_score",
}  # fmt: skip
LONGEST = 120  # characters
DECODE_OPTIONS = (DecodeConfig, Selection, SearchConfig, FusionConfig, ChunkChoice, WindowConfig, FetchConfig)


@dataclass(frozen=True)
class DecodeSettings:
    """All options of decode.py; those of `fetch` change nothing that it finds."""

    config: DecodeConfig
    selection: Selection
    search: SearchConfig
    fusion: FusionConfig
    chunks: ChunkChoice = ChunkChoice()
    windows: WindowConfig = WindowConfig()
    fetch: FetchConfig = FetchConfig()

    def folder(self, name: str = "") -> Path:
        """The folder of the results, or of those of the set `name`.

        Raises:
            UserError: a file that the options name can't be read.
        """
        label = folder_label([f"decode_{self.search.decoding_method}", *self._words()])
        return Path(self.config.exp_dir) / label / name

    def label_without(self, names: Collection[str]) -> str:
        """What the folder's name says of all options but these; for what several decodes have in common."""
        method = [] if "decoding_method" in names else [self.search.decoding_method]
        return folder_label([*method, *self._words(names)])

    def _words(self, ignored: Collection[str] = ()) -> Iterator[str]:
        if self.config.model_dir:
            yield f"model-{_folder(Path(self.config.model_dir))}"
        else:
            yield from _differences(self.selection, ignored)
        of_others = METHODS[self.search.decoding_method].ignores
        yield from _differences(self.search, {"decoding_method", *of_others, *ignored})
        if self.config.streaming:
            yield "streaming"
        yield from _differences(self.windows, ignored)
        yield from _differences(self.chunks, ignored)
        yield from fusion_words(self.fusion, ignored)


def fusion_words(fusion: FusionConfig, ignored: Collection[str] = ()) -> Iterator[str]:
    """The files of language models and hotwords with their weights: `lm-3gram.1f0c-0.3`."""
    for name, weight in WEIGHTS.items():
        path = Path(getattr(fusion, name))
        if getattr(fusion, name) and name not in ignored:
            found = _folder(path) if path.is_dir() else _file(path, path.stem)
            value = "" if weight in ignored else f"-{getattr(fusion, weight):g}"
            yield f"{SHORT.get(name, name)}-{found}{value}"


def folder_label(words: Sequence[str]) -> str:
    """The name of a folder of these words, shortened where it would be too long."""
    label = "_".join(words)
    if len(label) > LONGEST:
        label = f"{label[: LONGEST - 9]}_{hashlib.sha256(label.encode()).hexdigest()[:8]}"
    return label


def parse_settings(argv: Sequence[str]) -> DecodeSettings:
    """The settings of the words of a command line of decode.py."""
    options, _ = parse(make_parser(None, *DECODE_OPTIONS), DECODE_OPTIONS, argv)
    return DecodeSettings(*options)


def _differences(options: Any, ignored: Collection[str] = ()) -> Iterator[str]:
    """What is not at its default: `beam-8`, `averaged`, `no-ema`."""
    for option in changed(options):
        if option in ignored:
            continue
        value, name = getattr(options, option), SHORT.get(option, option.replace("_", "-"))
        if isinstance(value, bool):
            yield name if value else f"no-{name}"
        else:
            yield f"{name}-{_plain(f'{value:g}' if isinstance(value, float) else str(value))}"


def _file(path: Path, name: str) -> str:
    """A file by its name and its contents."""
    try:
        return f"{_plain(name)[:30]}.{file_sha256(path)[:4]}"
    except OSError as error:
        raise UserError(f"{path}: can't read it: {error.strerror}") from None


def _folder(path: Path) -> str:
    """A folder of a model by its name and what its config.json holds."""
    return _file(path / "config.json", path.resolve().name)


def _plain(text: str) -> str:
    return re.sub(r"[^\w.+-]", "-", text)
