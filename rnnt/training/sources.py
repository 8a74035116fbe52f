"""What a run trains on: the prepared folder of a recipe, or synthetic data."""

from dataclasses import dataclass

import numpy as np

from rnnt.data.config import FeatureConfig, read_feature_config
from rnnt.data.manifest import CutManifest
from rnnt.data.synthetic import SyntheticManifest, SyntheticTokenizer
from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.text.tokenizer import Tokenizer
from rnnt.training.experiment import file_sha256


@dataclass(frozen=True)
class Sources:
    """Data of a run.

    manifests: `{"train": ..., "dev": ...}`; mean_F, std_F: statistics of the features, float32; tokenizer_id: what
    tells the tokenizer from others; bpe_model: its file, or None.
    """

    features: FeatureConfig
    tokenizer: object
    tokenizer_id: str
    bpe_model: str | None
    manifests: dict
    mean_F: np.ndarray
    std_F: np.ndarray


def open_sources(options):
    """The `Sources` that the `Options` of a training name. Raises `UserError` on what is missing."""
    return _synthetic(options) if options.synthetic.synthetic else _prepared(options.train)


def _prepared(train):
    folder = train.manifest_dir
    features = read_feature_config(f"{folder}/features.json")
    tokenizer = Tokenizer.load(train.bpe_model)
    manifests = {
        "train": CutManifest(f"{folder}/{train.train_set}.jsonl"),
        "dev": CutManifest(f"{folder}/{train.dev_set}.jsonl"),
    }
    if features.is_normalized:
        mean_F, std_F = np.zeros(features.num_mel_bins), np.ones(features.num_mel_bins)
    else:
        statistics = read_json(f"{folder}/cmvn.json")
        mean_F, std_F = np.asarray(statistics["mean"]), np.asarray(statistics["std"])
    return Sources(
        features,
        tokenizer,
        file_sha256(train.bpe_model),
        train.bpe_model,
        manifests,
        mean_F.astype(np.float32),
        std_F.astype(np.float32),
    )


def _synthetic(options):
    synthetic, model = options.synthetic, options.model
    if not (model.num_features and model.vocab_size):
        raise UserError("--synthetic needs --num-features and --vocab-size: there is no data to take them from")
    tokenizer = SyntheticTokenizer(model.vocab_size, model.blank_id)
    manifests = {
        name: SyntheticManifest(
            synthetic.synthetic, name, tokenizer, model.num_features, number, synthetic.synthetic_scale
        )
        for name, number in (("train", synthetic.synthetic_train), ("dev", synthetic.synthetic_dev))
    }
    return Sources(
        FeatureConfig(num_mel_bins=model.num_features),
        tokenizer,
        f"synthetic {model.vocab_size} {model.blank_id}",
        None,
        manifests,
        np.zeros(model.num_features, np.float32),
        np.ones(model.num_features, np.float32),
    )
