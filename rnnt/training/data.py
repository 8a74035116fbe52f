"""What a run trains on: the prepared folder of a recipe, or synthetic data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnt.data.config import FeatureConfig, check_same_features, read_feature_config, read_front_end
from rnnt.data.feature_loader import FeatureLoader
from rnnt.data.plan import longest_allowed
from rnnt.data.sets.opening import open_mixture, open_sets
from rnnt.data.synthetic import SyntheticManifest, SyntheticTokenizer
from rnnt.errors import UserError
from rnnt.files import file_sha256, read_json_object
from rnnt.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from rnnt.data.config import AugmentConfig
    from rnnt.data.feature_loader import Loader
    from rnnt.data.manifest import Manifest
    from rnnt.model.objectives.config import ObjectiveConfig
    from rnnt.training.config import Options


@dataclass(frozen=True)
class TrainingData:
    """Data of a run.

    Attributes:
        features: front-end.
        tokenizer: text to tokens and back.
        tokenizer_id: what distinguishes it from others.
        bpe_model: its file, or None.
        train: what it is trained on.
        train_loader: what gives the features of its cuts, augmented.
        dev: what it is measured on, by name; the first counts.
        dev_loader: what gives the features of their cuts.
        mean_F, std_F: statistics of the features, float32.
    """

    features: FeatureConfig
    tokenizer: Any
    tokenizer_id: str
    bpe_model: str | None
    train: Manifest
    train_loader: Loader
    dev: dict[str, Manifest]
    dev_loader: Loader
    mean_F: np.ndarray
    std_F: np.ndarray


def load_training_data(options: Options) -> TrainingData:
    """The `TrainingData` that the `Options` of a training name. Raises `UserError` on what is missing."""
    augment = masks_for_losses(options.augment, options.loss.loss)
    return _synthetic(options, augment) if options.synthetic.synthetic else _prepared(options, augment)


def masks_for_losses(augment: AugmentConfig, losses: Sequence[ObjectiveConfig]) -> AugmentConfig:
    """Augmentation with as many stretches of masked frames, and as large a share, as losses over copies want."""
    factor = max(loss.time_masks for loss in losses)
    return replace(
        augment,
        num_frame_masks=int(augment.num_frame_masks * factor),
        max_frames_mask_fraction=min(1.0, augment.max_frames_mask_fraction * factor),
    )


def _prepared(options: Options, augment: AugmentConfig) -> TrainingData:
    train = options.train
    folder = train.manifest_dir
    features = read_feature_config(f"{folder}/features.json")
    if train.front_end:
        check_same_features(read_front_end(train.front_end), features, train.front_end, f"{folder}/features.json")
    tokenizer = Tokenizer.load(train.bpe_model)
    mixture = open_mixture(folder, train.train_set, options.mix, longest_allowed(options.batch), options.fetch)
    dev = open_sets(folder, train.dev_set, "--dev-set", options.mix, options.fetch)
    mean_F, std_F = np.zeros(features.num_mel_bins), np.ones(features.num_mel_bins)
    masked_F = mean_F  # what masks put in place of features
    if not features.is_normalized:
        masked_F, deviation_F = _read_statistics(f"{folder}/cmvn.json", features.num_mel_bins)
        if train.normalize_features:
            mean_F, std_F = masked_F, deviation_F
    mean_F, std_F = mean_F.astype(np.float32), std_F.astype(np.float32)
    return TrainingData(
        features=features,
        tokenizer=tokenizer,
        tokenizer_id=file_sha256(train.bpe_model),
        bpe_model=train.bpe_model,
        train=mixture,
        train_loader=FeatureLoader(features, augment, masked_F.astype(np.float32)),
        dev=dev,
        dev_loader=FeatureLoader(features),
        mean_F=mean_F,
        std_F=std_F,
    )


def _read_statistics(path: str, num_features: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the features (F) of the training set."""
    values = read_json_object(path, "mean", "std")
    try:
        mean_F, std_F = (np.asarray(values[name], dtype=np.float64) for name in ("mean", "std"))
    except (TypeError, ValueError):
        mean_F = std_F = np.zeros(0)
    if mean_F.shape != (num_features,) or std_F.shape != (num_features,) or not np.all(std_F > 0):
        raise UserError(f"{path}: not means and standard deviations of {num_features} features; run stage 6 again")
    if not (np.isfinite(mean_F).all() and np.isfinite(std_F).all()):
        raise UserError(f"{path}: holds numbers that are not finite; run stage 6 again")
    return mean_F, std_F


def _synthetic(options: Options, augment: AugmentConfig) -> TrainingData:
    synthetic, model = options.synthetic, options.model
    if not (model.num_features and model.vocab_size):
        raise UserError("--synthetic needs --num-features and --vocab-size: there is no data to take them from")
    blank_id = model.blank_id or 0
    tokenizer = SyntheticTokenizer(model.vocab_size, blank_id)
    manifests = {
        name: SyntheticManifest(
            synthetic.synthetic, name, tokenizer, model.num_features, number, synthetic.synthetic_scale
        )
        for name, number in (("train", synthetic.synthetic_train), ("dev", synthetic.synthetic_dev))
    }
    mean_F, std_F = np.zeros(model.num_features, np.float32), np.ones(model.num_features, np.float32)
    return TrainingData(
        features=FeatureConfig(num_mel_bins=model.num_features),
        tokenizer=tokenizer,
        tokenizer_id=f"synthetic {model.vocab_size} {blank_id}",
        bpe_model=None,
        train=manifests["train"],
        train_loader=manifests["train"].feature_loader(augment, mean_F),
        dev={"dev": manifests["dev"]},
        dev_loader=manifests["dev"].feature_loader(),
        mean_F=mean_F,
        std_F=std_F,
    )
