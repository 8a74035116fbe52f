"""Computes and stores the features of one chunk of a set. See `rnnt.prepare.chunks` for what is around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import Features, LilcomChunkyWriter
from lhotse.serialization import deserialize_item

from rnnt.data.audio import read_samples, source_of
from rnnt.data.feature_loader import compute_features, seed_of
from rnnt.errors import one_line
from rnnt.files import atomic_write, write_json
from rnnt.prepare.threads import map_in_threads

if TYPE_CHECKING:
    from rnnt.data.config import FeatureConfig
    from rnnt.prepare.chunks import Chunk


def compute_chunk(chunk: Chunk, lines: Sequence[bytes], extractor: Any, config: FeatureConfig) -> None:
    """Write the archive and the lists of a chunk; cuts whose audio can't be read are listed and left out.

    Args:
        chunk: which one.
        lines: its cuts as JSON.
        extractor: as `make_extractor` gives it for `config`.
        config: of the front-end.
    """
    done, skipped = [], []
    # A thread reads on while features are computed: audio takes a third of the time, more on a slow disk.
    with LilcomChunkyWriter(chunk.set.part / chunk.archive) as writer:
        for line, (cut, samples, problem) in zip(lines, map_in_threads(lambda line: _read(line, config), lines, 1)):
            if problem:
                skipped.append((cut.id, problem))
                continue
            x_TF = compute_features(extractor, samples, seed_of(cut))
            features = _stored_features(cut, x_TF, writer, chunk.set.folder / chunk.archive, config)
            # Taking the cut apart again would take longer than reading its line once more.
            done.append({**json.loads(line), "features": features.to_dict()})
    write_json(chunk.skipped, skipped)
    with atomic_write(chunk.done) as file:
        file.writelines(json.dumps(cut, ensure_ascii=False) + "\n" for cut in done)


def _read(line: bytes, config: FeatureConfig) -> tuple[Any, Any, str | None]:
    """`(cut, samples, None)`, or `(cut, None, what is wrong)`."""
    cut = deserialize_item(json.loads(line))
    try:
        return cut, read_samples(cut, config), None
    except Exception as error:  # lhotse and its audio backends raise many kinds
        return cut, None, f"{source_of(cut)}: {one_line(error)}"


def _stored_features(
    cut: Any, x_TF: np.ndarray, writer: LilcomChunkyWriter, path: Path, config: FeatureConfig
) -> Features:
    return Features(
        type="kaldi-fbank",
        num_frames=x_TF.shape[0],
        num_features=x_TF.shape[1],
        frame_shift=config.frame_shift,
        sampling_rate=config.sampling_rate,
        start=cut.start,
        duration=cut.duration,
        storage_type=writer.name,
        storage_path=str(path),
        storage_key=writer.write(cut.id, x_TF),
        recording_id=cut.recording_id,
        channels=cut.channel,
    )
