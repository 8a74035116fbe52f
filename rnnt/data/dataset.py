"""Batches of features and tokens, loaded in the order of a plan by any number of processes."""

import multiprocessing.util
import signal
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from rnnt.data.audio import unreadable
from rnnt.data.manifest import CutManifest
from rnnt.data.plan import plan_evaluation
from rnnt.errors import UserError


@dataclass
class Batch:
    """Utterances padded to the longest. Lengths stay on the CPU; only `x_BTF` and `y_BS` go to a device."""

    position: int  # in the plan
    ids: list[str]
    texts: list[str]
    speakers: list[str]
    durations: list[float]  # seconds
    audio: list[list[str]]  # audio files of each; none where the cut has only features
    x_BTF: torch.Tensor
    x_len_B: torch.Tensor
    y_BS: torch.Tensor | None  # None when no tokenizer was given
    y_len_B: torch.Tensor | None

    def __len__(self):
        return len(self.ids)

    def part(self, which):
        """The utterances of the slice `which`, with no more padding than they need."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen = {
            name: value[which] if isinstance(value, (list, torch.Tensor)) else value for name, value in chosen.items()
        }
        part = Batch(**chosen)
        part.x_BTF = part.x_BTF[:, : int(part.x_len_B.max())]
        if part.y_BS is not None:
            part.y_BS = part.y_BS[:, : int(part.y_len_B.max())]
        return part

    def pin_memory(self):
        """Called by the loader before a copy to a GPU."""
        self.x_BTF = self.x_BTF.pin_memory()
        if self.y_BS is not None:
            self.y_BS = self.y_BS.pin_memory()
        return self


class PlannedBatches(Dataset):
    """Item i is the micro-batch at position i of the plan.

    Every random draw comes from (seed, epoch, position), so processes, ranks and resumption change nothing. Cuts
    without stored features get theirs from their audio: see `CutManifest.feature_loader`.
    An item is a `Batch`, or the `UserError` that says why there is none: see `loader`.

    Args:
      manifest: `CutManifest`, or a `SyntheticManifest` in its place.
      plan: list of arrays of utterance numbers.
      tokenizer: `rnnt.text.tokenizer.Tokenizer`, or None for batches without tokens.
      augment_config: `AugmentConfig`, or None.
      fill_F: what masked cells become.
      seed, epoch: integers.
    """

    def __init__(self, manifest, plan, tokenizer=None, augment_config=None, fill_F=None, seed=0, epoch=0):
        self.manifest = manifest
        self.plan = plan
        self.tokenizer = tokenizer
        self.features = manifest.feature_loader(augment_config, fill_F)
        self.seed = seed
        self.epoch = epoch

    def __len__(self):
        return len(self.plan)

    def __getitem__(self, position):
        try:
            return self._batch(position)
        except UserError as error:
            return error

    def _batch(self, position):
        cuts = [self.manifest[number] for number in self.plan[position]]
        generator = np.random.default_rng([self.seed, self.epoch, position])
        features, tokens = [], []
        for cut in cuts:
            features.append(torch.from_numpy(self._features(cut, generator)))
            if self.tokenizer is not None:
                tokens.append(torch.tensor(self.tokenizer.encode(_text(cut)), dtype=torch.int64))
        return Batch(
            position=position,
            ids=[cut.id for cut in cuts],
            texts=[_text(cut) for cut in cuts],
            speakers=[cut.supervisions[0].speaker or cut.id for cut in cuts],
            durations=[cut.duration for cut in cuts],
            audio=[_audio(cut) for cut in cuts],
            x_BTF=pad_sequence(features, batch_first=True),
            x_len_B=torch.tensor([len(x) for x in features]),
            y_BS=pad_sequence(tokens, batch_first=True) if tokens else None,
            y_len_B=torch.tensor([len(y) for y in tokens]) if tokens else None,
        )

    def _features(self, cut, generator):
        try:
            return self.features.load(cut, generator)
        except UserError:
            raise
        except Exception as error:  # the storage and audio back-ends raise whatever they like
            raise unreadable(self.manifest.path, cut, error) from error


def _text(cut):
    return cut.supervisions[0].text or ""


def _audio(cut):
    parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
    recordings = [getattr(part, "recording", None) for part in parts]  # padding has none
    return [str(source.source) for r in recordings if r for source in r.sources if source.type == "file"]


def _start_worker(_worker):
    torch.set_num_threads(1)
    # Whoever signals all processes of a job means the main one, which still needs its data to end in good order.
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _kill_workers():
    """At the end of the program, however it ends; workers don't hear the SIGTERM that Python would send them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report them as lost
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


class Batches:
    """Batches of `dataset` at `positions`, in that order; iterating raises the `UserError` of the first that failed.

    Attributes:
      num_utterances: how many utterances there are in all.
    """

    def __init__(self, dataset, positions, num_workers=0, pin_memory=False):
        if num_workers:
            multiprocessing.util.Finalize(None, _kill_workers, exitpriority=100)
        positions = list(positions)
        self.num_utterances = sum(len(dataset.plan[position]) for position in positions)
        self._loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=positions,
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
        )

    def __len__(self):
        return len(self._loader)

    def __iter__(self):
        for batch in self._loader:
            # An exception of a worker would come with its traceback as text.
            if isinstance(batch, UserError):
                raise batch
            yield batch


def open_batches(manifest, max_duration, tokenizer=None, num_workers=0, rank=0, world_size=1):
    """Batches for evaluation: no augmentation, long utterances first, rank r gets every `world_size`-th.

    Args:
      manifest: `CutManifest` or a path.
    """
    if isinstance(manifest, (str, Path)):
        manifest = CutManifest(manifest)
    plan = plan_evaluation(manifest.durations, max_duration)
    return Batches(PlannedBatches(manifest, plan, tokenizer), range(rank, len(plan), world_size), num_workers)
