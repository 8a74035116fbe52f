"""Options that only this recipe has."""

from dataclasses import dataclass

from rnnt.prepare.config import ImportOptions, path_option


@dataclass(frozen=True)
class CorpusOptions:
    """Corpus."""

    dl_dir: str = path_option(
        "", "folder of the unpacked corpus, with train and test as Kaldi data directories (default: that of last time)"
    )


PREPARE = [CorpusOptions, ImportOptions]
