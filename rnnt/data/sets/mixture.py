"""Several sets mixed in given shares, as one manifest.

Each set is an endless stream: pass after pass over all of it, every pass in an order of its own. An epoch goes once
through the first set, and takes of each other set the next stretch of its stream, as long as its share demands: a small
set is repeated within an epoch, of a large one later epochs take what the earlier ones did not. With the sizes D_i
(seconds or utterances) and the shares s_i an epoch is r_i = (s_i / s_1) (D_1 / D_i) passes of set i, so epoch e takes
what begins in [(e - 1) r_i, e r_i). All is a pure function of seed and epoch.

Sets in shards must not be read at random places. Each of their passes goes through the shards in an order of its own,
and the epoch is cut into windows, in each of which a set has the same part of its stretch: so many windows that few
shards are open at once. The utterances of a window are planned together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.data.manifest import Manifest
from rnnt.errors import UserError

if TYPE_CHECKING:
    from rnnt.data.sets.config import MixConfig


OWN_DRAWS = 2**32 - 1  # keeps the draws apart from those of plans and batches, with the same seed


class Mixture(Manifest):
    """See above. Utterances are numbered through all sets, in their order.

    Args:
        names: of the sets.
        manifests: of the sets.
        weights: of the sets, relative to each other; None: by their sizes.
        config: how they are mixed.
        longest: seconds; what lasts longer counts as nothing, for the plan leaves it out.

    Attributes:
        path: of the first set.
        durations: float32 (N,), seconds.
        passes: of each set in an epoch.

    Raises:
        UserError: of one of several sets every utterance is longer than `longest`.
    """

    def __init__(
        self,
        names: Sequence[str],
        manifests: Sequence[Manifest],
        weights: Sequence[float] | None,
        config: MixConfig,
        longest: float = math.inf,
    ) -> None:
        self.names, self.manifests, self.config = names, manifests, config
        self.path = manifests[0].path
        many = len(manifests) > 1
        self.durations = np.concatenate([m.durations for m in manifests]) if many else manifests[0].durations
        self._first = np.cumsum([0, *map(len, manifests)])
        self._longest = longest
        self.passes = [1.0]
        if many:
            self.passes = self._passes(weights)

    def __len__(self) -> int:
        return len(self.durations)

    def __getitem__(self, number: int) -> Any:
        """The cut with that number."""
        which = self._which(number)
        return self.manifests[which][int(number - self._first[which])]

    def place(self, number: int) -> str | Path:
        """The file or address of the set that an utterance is of."""
        which = self._which(number)
        return self.manifests[which].place(int(number - self._first[which]))

    def epoch(self, seed: int, epoch: int) -> list[np.ndarray]:
        """The windows of an epoch: utterances in ascending order, each as often as it comes; integers (M,)."""
        windows: list[list[np.ndarray]] = [[] for _ in range(self._count())]
        for which, passes in enumerate(self.passes):
            numbers, places = self._stretch(which, seed, (epoch - 1) * passes, epoch * passes)
            ends = np.searchsorted(places, np.arange(1, len(windows)) / len(windows))
            for window, found in zip(windows, np.split(numbers, ends)):
                window.append(found)
        return [np.sort(np.concatenate(found)) for found in windows]

    def plan_key(self) -> list[Any]:
        """What the plan depends on beside seed, epoch and durations; nothing for one set that is not in shards."""
        ends = [None if m.shard_ends is None else m.shard_ends.tolist() for m in self.manifests]
        if len(self.manifests) == 1 and ends == [None]:
            return []
        return [self.config.mix_by, self.passes, [len(m) for m in self.manifests], ends, self._count()]

    def describe(self, seed: int) -> list[str]:
        """A line on each of several sets: its size, and its share of the first epoch."""
        if len(self.manifests) == 1:
            return []
        numbers = np.concatenate(self.epoch(seed, 1))
        counted = [
            self._sizes_of(i)[numbers[(f <= numbers) & (numbers < f + len(m))] - f].sum()
            for i, (f, m) in enumerate(zip(self._first, self.manifests))
        ]
        sizes = np.array(counted)
        unit = "time" if self.config.mix_by == "time" else "utterances"
        return [
            f"{name}: {manifest.durations.sum() / 3600:.1f} h, {100 * share:.1f} % of the {unit}, "
            f"{passes:.3g} times in an epoch"
            for name, manifest, share, passes in zip(self.names, self.manifests, sizes / sizes.sum(), self.passes)
        ]

    def _passes(self, weights: Sequence[float] | None) -> list[float]:
        sizes = np.array([self._sizes_of(i).sum() for i in range(len(self.manifests))])
        for name, size in zip(self.names, sizes):
            if not size:
                raise UserError(f"no utterance of {name} lasts at most --max-duration-utt; leave out the set")
        power = 1 / self.config.mix_temperature
        if weights is None and power == 1:
            return [1.0] * len(sizes)  # exactly: every utterance comes once
        wanted = np.asarray(sizes if weights is None else weights, dtype=np.float64) ** power
        return [float(passes) for passes in (wanted / wanted[0]) * (sizes[0] / sizes)]

    def _count(self) -> int:
        """The number of windows of an epoch."""
        shards = [0 if m.shard_ends is None else len(m.shard_ends) for m in self.manifests]
        most = self.config.open_shards
        return max(math.ceil(n * passes / most) if n > most else 1 for n, passes in zip(shards, self.passes))

    def _which(self, number: int) -> int:
        return int(np.searchsorted(self._first, number, "right")) - 1

    def _sizes_of(self, which: int) -> np.ndarray:
        """What each utterance of a set counts: float64 (N,)."""
        durations = self.manifests[which].durations
        return np.where(durations <= self._longest, durations if self.config.mix_by == "time" else 1, 0).astype(float)

    def _stretch(self, which: int, seed: int, first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
        """The utterances of a set that begin in [first, last) of its stream, counted in passes.

        Returns:
            Their numbers among all, and where each begins, rising from 0 (the first) to 1 (the end); both (M,).
        """
        numbers, places = [], []
        for number in range(math.floor(first), math.ceil(last)):
            order = self._order(which, seed, number)
            sizes = self._sizes_of(which)[order]
            begins = np.cumsum(sizes)
            total = begins[-1]
            begins -= sizes  # in place, here and below: memory counts with ten million utterances
            begins /= total
            begins += number
            kept = slice(*np.searchsorted(begins, [first, last]))
            order += self._first[which].astype(order.dtype)
            begins -= first
            begins /= last - first
            numbers.append(order[kept])
            places.append(begins[kept])
        return (numbers[0], places[0]) if len(numbers) == 1 else (np.concatenate(numbers), np.concatenate(places))

    def _order(self, which: int, seed: int, number: int) -> np.ndarray:
        """The utterances of a set in the order of a pass, numbered within the set."""
        generator = np.random.default_rng([seed, number, which, OWN_DRAWS])
        ends, count = self.manifests[which].shard_ends, len(self.manifests[which])
        kind: Any = np.int32 if len(self) < 2**31 else np.int64
        if ends is None:
            return generator.permutation(count).astype(kind)
        starts = np.concatenate([[0], ends[:-1]])
        return np.concatenate([np.arange(starts[i], ends[i], dtype=kind) for i in generator.permutation(len(ends))])
