"""Writes sets in shards: lhotse's Shar format, see `rnnt.data.sets.shard`.

A shard is a function of the set and the options, whoever writes it. Its cuts are written last, so one that has cuts is
complete and is kept.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
from lhotse import AudioSource, Features, Recording, fastcopy

from rnnt.data.audio import read_samples, unreadable
from rnnt.data.feature_loader import FeatureLoader
from rnnt.data.sets.shard import Member
from rnnt.errors import UserError
from rnnt.files import atomic_bytes, atomic_path

if TYPE_CHECKING:
    from lhotse.cut import Cut

    from rnnt.data.config import FeatureConfig
    from rnnt.data.manifest import Manifest


def shard_numbers(number: int, size: int, seed: int | None) -> list[np.ndarray]:
    """The utterances of each shard: int64 arrays of `size` numbers below `number`, fewer in the last one.

    Args:
        number: of utterances.
        size: of a shard.
        seed: of their order; None: as they are.
    """
    order = np.arange(number) if seed is None else np.random.default_rng(seed).permutation(number)
    return [order[first : first + size] for first in range(0, number, size)]


@dataclass(frozen=True)
class ShardWriter:
    """Writes shards of one set.

    Args:
        manifest: the set.
        numbers: of the utterances of each shard.
        config: the front-end.
        field: `features` or `recording`.
        folder: where they are written.
    """

    manifest: Manifest
    numbers: Sequence[np.ndarray]
    config: FeatureConfig
    field: str
    folder: Path

    def names(self, number: int) -> dict[str, str]:
        """The names of the two files of a shard."""
        return {"cuts": f"cuts.{number:06d}.jsonl.gz", self.field: f"{self.field}.{number:06d}.tar"}

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries of the list of shards."""
        for number, which in enumerate(self.numbers):
            names = {part: f"{self.folder.name}/{name}" for part, name in self.names(number).items()}
            yield {**names, "durations": [float(str(d)) for d in self.manifest.durations[which]]}

    def is_written(self, number: int) -> bool:
        """Whether a shard is complete."""
        return (self.folder / self.names(number)["cuts"]).is_file()

    def write(self, number: int) -> None:
        """Write a shard, unless it is there.

        Raises:
            UserError: an utterance can't be read, or the disk is full.
        """
        if self.is_written(number):
            return
        names, lines = self.names(number), []
        with atomic_path(self.folder / names[self.field]) as path, tarfile.open(path, "w") as tar:
            for which in self.numbers[number]:
                cut, ending, data = self._packed(int(which))
                owner = getattr(cut, self.field)
                key = Member(_add(tar, f"{cut.id}.{ending}", data), len(data), ending).key()
                _add(tar, f"{cut.id}.json", _json(owner.to_dict()))
                if self.field == "features":
                    owner.storage_key = key
                else:
                    owner.sources[0].source = key
                lines.append(_json(cut.to_dict()))
        with atomic_bytes(self.folder / names["cuts"]) as file:
            file.writelines(line + b"\n" for line in lines)

    def _packed(self, which: int) -> tuple[Cut, str, bytes]:
        """A cut with a placeholder, and the ending and the bytes of its data."""
        cut = self.manifest[which]
        if not hasattr(cut, "recording_id"):
            raise UserError(f"{self.manifest.path}: cut {cut.id}: of several tracks; only plain cuts go into shards")
        try:
            return self._with_features(cut) if self.field == "features" else self._with_audio(cut)
        except UserError:
            raise
        except Exception as error:  # the storage and audio back-ends raise exceptions of any kind
            raise unreadable(self.manifest.place(which), cut, error) from error

    def _with_features(self, cut: Cut) -> tuple[Cut, str, bytes]:
        x_TF = FeatureLoader(self.config).load(cut)
        features = Features(
            type="kaldi-fbank",
            num_frames=x_TF.shape[0],
            num_features=x_TF.shape[1],
            frame_shift=self.config.frame_shift,
            sampling_rate=self.config.sampling_rate,
            start=0,
            duration=cut.duration,
            storage_type="shar",
            storage_path="",
            storage_key="",
            recording_id=cut.recording_id,
            channels=0,
        )
        ending, data = encode_features(x_TF, exact=cut.has_features)
        return fastcopy(cut, start=0, recording=None, features=features), ending, data

    def _with_audio(self, cut: Cut) -> tuple[Cut, str, bytes]:
        samples = read_samples(cut, self.config)
        recording = Recording(
            id=cut.recording_id,
            sources=[AudioSource(type="shar", channels=[0], source="")],
            sampling_rate=self.config.sampling_rate,
            num_samples=len(samples),
            duration=len(samples) / self.config.sampling_rate,
        )
        ending, data = encode_audio(samples, self.config.sampling_rate)
        return fastcopy(cut, start=0, channel=0, recording=recording, features=None), ending, data


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a member; returns where its content begins."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    offset = tar.offset + len(member.tobuf(tar.format, tar.encoding, tar.errors))
    tar.addfile(member, io.BytesIO(content))
    return offset


def encode_features(x_TF: np.ndarray, exact: bool) -> tuple[str, bytes]:
    """`("llc", bytes)` of features in the steps of stage 3, 1/32; `("npy", bytes)` where `exact` and those would round.

    Nearly all that stage 3 stored comes out of the same steps as it went in.
    """
    import lilcom

    data = lilcom.compress(x_TF.copy(), tick_power=-5)
    if not exact or np.array_equal(lilcom.decompress(data), x_TF):
        return "llc", data
    buffer = io.BytesIO()
    np.save(buffer, x_TF, allow_pickle=False)
    return "npy", buffer.getvalue()


def encode_audio(samples: np.ndarray, sampling_rate: int) -> tuple[str, bytes]:
    """`("flac", bytes)` of samples (N,) that have 16 bits, `("wav", bytes)` of others: nothing is rounded."""
    whole = samples * 32768.0
    exact = bool(np.all((whole == np.rint(whole)) & (whole >= -32768) & (whole <= 32767)))
    ending, subtype = ("flac", "PCM_16") if exact else ("wav", "FLOAT")
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sampling_rate, format=ending.upper(), subtype=subtype)
    return ending, buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
