"""Opens the sets that options name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rnnt.data.config import check_same_features, read_feature_config
from rnnt.data.manifest import CutManifest, Manifest
from rnnt.data.sets.config import NO_FETCH, FetchConfig, SetWord, parse_sets
from rnnt.data.sets.mixture import Mixture
from rnnt.data.sets.shards import ShardManifest, index_path, is_sharded

if TYPE_CHECKING:
    from rnnt.data.sets.config import MixConfig


def open_set(manifest_dir: str | Path, word: SetWord, config: MixConfig, fetch: FetchConfig = NO_FETCH) -> Manifest:
    """One set: `<name>.jsonl`, or shards in the folder `<name>`.

    Args:
        manifest_dir: where it is unless its name says.
        word: the set.
        config: how shards are read.
        fetch: what may be run and fetched; by default nothing.

    Raises:
        UserError: it is missing or broken, has other features than `manifest_dir`, or wants what `fetch` forbids.
    """
    path = word.path(manifest_dir)
    file = path.with_name(f"{path.name}.jsonl")
    sharded = not file.is_file() and is_sharded(path)
    manifest = ShardManifest(index_path(path), config.open_shards, fetch) if sharded else CutManifest(file)
    own, beside = Path(manifest_dir) / "features.json", path.with_name("features.json")
    if beside != own:
        check_same_features(read_feature_config(own), read_feature_config(beside), own, beside)
    return manifest


def open_sets(
    manifest_dir: str | Path, text: str, where: str, config: MixConfig, fetch: FetchConfig = NO_FETCH
) -> dict[str, Manifest]:
    """The sets of an option such as --dev-set, by name; see `open_set`."""
    return {word.name: open_set(manifest_dir, word, config, fetch) for word in parse_sets(text, where)}


def open_mixture(
    manifest_dir: str | Path,
    text: str,
    config: MixConfig,
    longest: float = math.inf,
    fetch: FetchConfig = NO_FETCH,
) -> Mixture:
    """The sets of --train-set as one.

    Args:
        manifest_dir: see `open_set`.
        text: the value of the option.
        config: how they are mixed.
        longest: see `Mixture`.
        fetch: see `open_set`.

    Raises:
        UserError: see `open_set` and `Mixture`.
    """
    words = parse_sets(text, "--train-set", weights=True)
    weights: Sequence[float] = [word.weight for word in words if word.weight is not None]
    manifests = [open_set(manifest_dir, word, config, fetch) for word in words]
    return Mixture([word.name for word in words], manifests, weights or None, config, longest)
