"""Batches of features and tokens, loaded in the order of a plan by any number of processes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from rnnt.data.augment import augment
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

    def pin_memory(self):
        """Called by the loader before a copy to a GPU."""
        self.x_BTF = self.x_BTF.pin_memory()
        if self.y_BS is not None:
            self.y_BS = self.y_BS.pin_memory()
        return self


class PlannedBatches(Dataset):
    """Item i is the micro-batch at position i of the plan.

    Every random draw comes from (seed, epoch, position), so processes, ranks and resumption change nothing.

    Args:
      manifest: `CutManifest` with stored features.
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
        self.augment_config = augment_config
        self.fill_F = fill_F
        self.seed = seed
        self.epoch = epoch

    def __len__(self):
        return len(self.plan)

    def __getitem__(self, position):
        cuts = [self.manifest[number] for number in self.plan[position]]
        generator = np.random.default_rng([self.seed, self.epoch, position])
        features, tokens = [], []
        for cut in cuts:
            x_TF = self._features(cut)
            if self.augment_config is not None:
                augment(x_TF, self.fill_F, self.augment_config, generator)
            features.append(torch.from_numpy(x_TF))
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

    def _features(self, cut):
        try:
            return np.array(cut.load_features(), dtype=np.float32)
        except Exception as error:  # the storage back-ends raise whatever they like
            reason = " ".join(str(error).split())
            raise UserError(
                f"{self.manifest.path}: cut {cut.id}: can't read its features ({reason}); run stage 3 again"
            ) from error


def _text(cut):
    return cut.supervisions[0].text or ""


def _audio(cut):
    parts = [track.cut for track in cut.tracks] if hasattr(cut, "tracks") else [cut]
    recordings = [getattr(part, "recording", None) for part in parts]  # padding has none
    return [str(source.source) for r in recordings if r for source in r.sources if source.type == "file"]


def _one_thread(_worker):
    torch.set_num_threads(1)


def loader(dataset, positions, num_workers=0, pin_memory=False):
    """Iterate over the batches of `dataset` at `positions`, in that order."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=list(positions),
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        pin_memory=pin_memory,
        worker_init_fn=_one_thread,
    )


def open_batches(manifest, max_duration, tokenizer=None, num_workers=0, rank=0, world_size=1):
    """Batches for evaluation: no augmentation, long utterances first, rank r gets every `world_size`-th.

    Args:
      manifest: `CutManifest` or a path.
    """
    if not isinstance(manifest, CutManifest):
        manifest = CutManifest(manifest)
    plan = plan_evaluation(manifest.durations, max_duration)
    return loader(PlannedBatches(manifest, plan, tokenizer), range(rank, len(plan), world_size), num_workers)
