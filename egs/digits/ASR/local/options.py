"""Options that only this recipe has."""

from dataclasses import dataclass

from rnnt.prepare.config import path_option


@dataclass(frozen=True)
class CorpusOptions:
    """Corpus."""

    dl_dir: str = path_option(
        "", "folder that holds fsdd/recordings (default: those of last time, else a download, else synthetic speech)"
    )


PREPARE = [CorpusOptions]
