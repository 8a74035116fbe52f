"""Batches of features and tokens, loaded in the order of a plan by any number of processes."""

from __future__ import annotations

import multiprocessing.util
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from rnnt.data.audio import files_of, unreadable
from rnnt.data.plan import plan_evaluation
from rnnt.errors import UserError, counted

if TYPE_CHECKING:
    from pathlib import Path

    from rnnt.data.feature_loader import Loader
    from rnnt.data.manifest import Manifest


BatchT = TypeVar("BatchT", covariant=True)


class TextEncoder(Protocol):
    """What `PlannedBatches` asks of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""


@dataclass
class Batch:
    """Utterances padded to the longest. Lengths stay on the CPU; only `x_BTF` and `y_BS` go to a device.

    Where a loss compares copies of the features, `x_BTF` and `x_len_B` hold them all: those of all utterances, then the
    second ones in the same order.
    """

    position: int  # in the plan
    ids: list[str]
    texts: list[str]
    speakers: list[str]
    durations: list[float]  # seconds
    audio: list[list[str]]  # audio files of each; none where the cut has only features
    x_BTF: Tensor
    x_len_B: Tensor
    y_BS: Tensor | None  # None when no tokenizer was given
    y_len_B: Tensor | None

    limit: ClassVar[str] = "--max-duration"  # the option that makes micro-batches smaller

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_tokens(self) -> int:
        """Tokens of all utterances, of which the log has the mean loss."""
        return int(self.targets()[1].sum())

    @property
    def amount(self) -> float:
        """Seconds of all utterances, by which the log measures speed."""
        return sum(self.durations)

    def describe(self) -> str:
        """What it is, in a few words."""
        if len(self) == 1:
            return f"utterance {self.ids[0]} ({self.durations[0]:.1f} s, {self.num_tokens} tokens)"
        return f"{counted(len(self), 'utterance')}, {self.amount:.0f} s, longest {max(self.durations):.1f} s"

    def tensors(self) -> dict[str, Tensor | None]:
        """All that a loss is computed from, by name."""
        return {"x_BTF": self.x_BTF, "x_len_B": self.x_len_B, "y_BS": self.y_BS, "y_len_B": self.y_len_B}

    def part(self, which: slice) -> Batch:
        """The utterances of the slice `which`, with no more padding than they need."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        rows_X = torch.arange(len(self.x_len_B)).view(-1, len(self))[:, which].flatten()
        own = {name: rows_X if name.startswith("x_") else which for name in chosen}
        chosen = {n: value[own[n]] if isinstance(value, (list, Tensor)) else value for n, value in chosen.items()}
        part = Batch(**chosen)
        part.x_BTF = part.x_BTF[:, : int(part.x_len_B.max())]
        if part.y_BS is not None and part.y_len_B is not None:
            part.y_BS = part.y_BS[:, : int(part.y_len_B.max())]
        return part

    def targets(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`(y_BS, y_len_B)` of a batch that was loaded with a tokenizer."""
        if self.y_BS is None or self.y_len_B is None:
            raise ValueError("the batch was loaded without a tokenizer")
        return self.y_BS, self.y_len_B

    def without_features(self) -> Batch:
        """The same without `x_BTF`, which takes most of the memory."""
        return replace(self, x_BTF=self.x_BTF[:, :0])

    def pin_memory(self) -> Batch:
        """Called by the loader before a copy to a GPU."""
        self.x_BTF = self.x_BTF.pin_memory()
        if self.y_BS is not None:
            self.y_BS = self.y_BS.pin_memory()
        return self


class PlannedBatches(Dataset):
    """Item i is the micro-batch at position i of the plan.

    Every random draw comes from (seed, epoch, position), so processes, ranks and resumption change nothing. An item is
    a `Batch`, or the `UserError` that says why there is none: see `Batches`.

    Args:
        manifest: `CutManifest` or `SyntheticManifest`.
        plan: arrays of utterance numbers, one per micro-batch.
        loader: `FeatureLoader` or `SyntheticFeatures`.
        tokenizer: `Tokenizer` or `SyntheticTokenizer`; None for batches without tokens.
        seed: of all draws.
        epoch: of all draws.
        copies: of the features of each utterance, with masks of their own; see `Batch`.
    """

    def __init__(
        self,
        manifest: Manifest,
        plan: Sequence[np.ndarray],
        loader: Loader,
        tokenizer: TextEncoder | None = None,
        seed: int = 0,
        epoch: int = 0,
        copies: int = 1,
    ) -> None:
        self.manifest = manifest
        self.plan = plan
        self.tokenizer = tokenizer
        self.loader = loader
        self.seed = seed
        self.epoch = epoch
        self.copies = copies

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, position: int) -> Batch | UserError:
        try:
            return self._batch(position)
        except UserError as error:
            return error

    def _batch(self, position: int) -> Batch:
        cuts = [self.manifest[number] for number in self.plan[position]]
        generator = np.random.default_rng([self.seed, self.epoch, position])
        copies: list[list[Tensor]] = [[] for _ in range(self.copies)]
        tokens = []
        for number, cut in zip(self.plan[position], cuts):
            for features, x_TF in zip(copies, self._features(cut, self.manifest.place(number), generator)):
                features.append(torch.from_numpy(x_TF))
            if self.tokenizer is not None:
                tokens.append(torch.tensor(self.tokenizer.encode(_text(cut)), dtype=torch.int64))
        every = sum(copies, [])
        return Batch(
            position=position,
            ids=[cut.id for cut in cuts],
            texts=[_text(cut) for cut in cuts],
            speakers=[cut.supervisions[0].speaker or cut.id for cut in cuts],
            durations=[cut.duration for cut in cuts],
            audio=[files_of(cut) for cut in cuts],
            x_BTF=pad_sequence(every, batch_first=True),
            x_len_B=torch.tensor([len(x) for x in every]),
            y_BS=pad_sequence(tokens, batch_first=True) if tokens else None,
            y_len_B=torch.tensor([len(y) for y in tokens]) if tokens else None,
        )

    def _features(self, cut: Any, place: str | Path, generator: np.random.Generator) -> list[np.ndarray]:
        try:
            if self.copies == 1:
                return [self.loader.load(cut, generator)]
            return self.loader.load_copies(cut, generator, self.copies)
        except UserError:
            raise
        except Exception as error:  # the storage and audio back-ends raise exceptions of any kind
            raise unreadable(place, cut, error) from error


def _text(cut: Any) -> str:
    return cut.supervisions[0].text or ""


def _start_worker(_worker: int) -> None:
    torch.set_num_threads(1)
    # A signal to all processes of a job is meant for the main one, which still needs its data to finish the update.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _kill_workers() -> None:
    """At the end of the program, however it ends; workers ignore the SIGTERM that Python would send them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report them as lost
    killed = [child for child in multiprocessing.active_children() if child.daemon]
    for child in killed:
        child.kill()
    for child in killed:
        child.join()  # their locks are free from now on


class Planned(Protocol[BatchT]):
    """A dataset whose item i is the batch at position i of the plan, or the `UserError` that says why there is none."""

    plan: Sequence[np.ndarray]

    def __getitem__(self, position: int, /) -> BatchT | UserError: ...


class Batches(Generic[BatchT]):
    """Batches of `dataset` at `positions`, in that order; iterating raises the `UserError` of the first that failed.

    Attributes:
        num_utterances: of all batches together.
    """

    def __init__(
        self, dataset: Planned[BatchT], positions: Iterable[int], num_workers: int = 0, pin_memory: bool = False
    ) -> None:
        if num_workers:
            multiprocessing.util.Finalize(None, _kill_workers, exitpriority=100)
        positions = list(positions)
        self.num_utterances = sum(len(dataset.plan[position]) for position in positions)
        self._loader = DataLoader(
            cast("Dataset[BatchT]", dataset),
            batch_size=None,
            sampler=positions,
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[BatchT]:
        for batch in self._loader:
            # An exception raised in a worker would come with its traceback as text.
            if isinstance(batch, UserError):
                raise batch
            yield batch


def open_batches(
    manifest: Manifest,
    loader: Loader,
    max_duration: float,
    tokenizer: TextEncoder | None = None,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Batches[Batch]:
    """Batches for evaluation: long utterances first; rank r gets every `world_size`-th batch.

    Args:
        manifest: as for `PlannedBatches`.
        loader: as for `PlannedBatches`; without augmentation.
        max_duration: seconds of audio in a batch, padding counted.
        tokenizer: as for `PlannedBatches`.
        num_workers: processes that load features; 0: this one.
        rank: of this process.
        world_size: number of ranks.
    """
    plan = plan_evaluation(manifest.durations, max_duration, manifest.windows())
    return Batches(PlannedBatches(manifest, plan, loader, tokenizer), range(rank, len(plan), world_size), num_workers)
