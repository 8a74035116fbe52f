"""Options that only this recipe has."""

from dataclasses import dataclass

from rnnt.options import option
from rnnt.prepare.config import ImportOptions, path_option


@dataclass(frozen=True)
class FolderOptions:
    """Corpus."""

    dl_dir: str = path_option(
        "",
        "folder that holds LibriSpeech, or its archives, or gets them (default: that of last time, else download)",
    )


@dataclass(frozen=True)
class PartOptions:
    """Corpus."""

    parts: list[str] = option(
        [
            "train-clean-100",
            "train-clean-360",
            "train-other-500",
            "dev-clean",
            "dev-other",
            "test-clean",
            "test-other",
        ],
        "parts of the corpus; those that begin with train make the set train",
        nonempty=True,
    )


@dataclass(frozen=True)
class CorpusOptions(PartOptions, FolderOptions):
    """Corpus."""


PREPARE = [CorpusOptions, ImportOptions]
# mlperf/prepare.sh
MLPERF_PREPARE = [CorpusOptions]
