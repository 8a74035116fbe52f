"""What --train-set and --dev-set say, and how sets are mixed. Free of torch, so that --help is quick."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from rnnt.errors import UserError
from rnnt.names import check_set_names
from rnnt.options import option


@dataclass(frozen=True)
class MixConfig:
    """Several training sets."""

    mix_by: str = option(
        "time", "what the weights of several training sets are shares of: seconds or utterances",
        choices=["time", "utterances"],
    )  # fmt: skip
    mix_temperature: float = option(
        1.0, "the weight w of a set becomes w^(1/temperature): above 1 small sets come more often", above=0
    )
    open_shards: int = option(8, "shards of a set that are open at once; their utterances are mixed", minimum=1)


@dataclass(frozen=True)
class FetchConfig:
    """Shards that are not files of this machine."""

    allow_pipes: bool = option(False, "run the commands that a list of shards names, pipe:COMMAND")
    allow_urls: bool = option(False, "fetch the addresses that a list of shards names, http:// and https://")
    shard_cache: str = option(
        "", "folder of a local disk for what these give, removed in the end; empty: that of temporary files"
    )
    shard_cache_gb: float = option(10.0, "gigabytes of it that stay for later, beside what is open", minimum=0)
    shard_timeout: float = option(600.0, "seconds in which one file of a shard must be there", above=0, maximum=1e6)


NO_FETCH = FetchConfig()  # what a user allows who says nothing


@dataclass(frozen=True)
class SetWord:
    """One set as an option names it.

    Attributes:
        name: of a set in --manifest-dir, or a folder and a name: `data/other/train`.
        weight: None where none was given.
    """

    name: str
    weight: float | None = None

    def path(self, manifest_dir: str | Path) -> Path:
        """Where it is, without an ending."""
        return Path(self.name) if os.sep in self.name else Path(manifest_dir) / self.name


def parse_sets(text: str, where: str, weights: bool = False) -> list[SetWord]:
    """The sets of an option: `"a b"`, and with weights `"a:0.7 b:0.3"`.

    Args:
        text: the value of the option.
        where: its name, for messages.
        weights: whether a set may have one.

    Raises:
        UserError: no set, a bad name or weight, a set twice, or weights for some of the sets.
    """
    found = [_parse_word(word, where) if weights else SetWord(word) for word in text.split()]
    if not found:
        raise UserError(f"{where}: names no set")
    for word in found:
        check_set_names([os.path.basename(word.name)], where)
    paths = [os.path.normpath(word.name) for word in found]
    twice = next((path for i, path in enumerate(paths) if path in paths[:i]), None)
    if twice:
        raise UserError(f"{where}: the set {twice} is named twice" + ("; add up its weights" if weights else ""))
    if len({word.weight is None for word in found}) > 1:
        without = next(word.name for word in found if word.weight is None)
        raise UserError(f"{where}: the set {without} has no weight, and others have; give all of them one, or none")
    return found


def _parse_word(word: str, where: str) -> SetWord:
    name, colon, number = word.rpartition(":")
    if not colon:
        return SetWord(word)
    try:
        weight = float(number)
    except ValueError:
        raise UserError(f"{where}: {number!r:.40} is no weight of the set {name}; write {name}:0.3") from None
    if not 0 < weight < math.inf:
        raise UserError(f"{where}: the weight of the set {name} is {number}; a weight is a number above 0")
    return SetWord(name, weight)
