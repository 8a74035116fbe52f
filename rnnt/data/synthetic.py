"""Synthetic data with the lengths of a real corpus, to measure speed without it.

Durations follow percentiles from a file, tokens come at a rate that varies a little. Each token has its own pattern of
features, under noise, so that a model can learn them. All is a pure function of a seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnt.config_files import read_config
from rnnt.data.augment import augment_copies, draw_ratio
from rnnt.data.feature_loader import Loader
from rnnt.data.manifest import Manifest
from rnnt.errors import UserError

if TYPE_CHECKING:
    from rnnt.data.config import AugmentConfig

RATE_SPREAD = 0.12  # standard deviation of the tokens per second, as a fraction of their mean
SIGNAL = 0.7  # fraction of the variance of a token's frames that its pattern makes
NOISE_FRAMES = 1 << 14
FRAMES_PER_SECOND = 100


class SyntheticTokenizer:
    """In place of a `Tokenizer`: each token is a word such as `t17`; blank is not written."""

    unk_id = -1

    def __init__(self, vocab_size: int, blank_id: int) -> None:
        self.vocab_size, self.blank_id = vocab_size, blank_id
        self.tokens = [f"t{i}" for i in range(vocab_size)]

    def encode(self, text: str) -> list[int]:
        """The token ids of `text`."""
        return [int(word[1:]) for word in text.split()]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids."""
        return " ".join(self.tokens[i] for i in map(int, ids) if i != self.blank_id)


@dataclass(frozen=True)
class SyntheticSupervision:
    """What the loader asks of lhotse's `SupervisionSegment`."""

    text: str
    speaker: str


@dataclass(frozen=True, eq=False)
class SyntheticCut:
    """What the loader asks of lhotse's cuts."""

    id: str
    duration: float  # seconds
    supervisions: tuple[SyntheticSupervision, ...]
    tokens: np.ndarray


class SyntheticManifest(Manifest):
    """Utterances by number, in place of a `CutManifest`.

    Args:
        path: YAML file with `<set>_percentiles` (percent and seconds alternating) and `<set>_utterances` for each set,
            and `tokens_per_second`.
        name: of the set.
        tokenizer: of the texts.
        num_features: F.
        number: of utterances; 0: as many as the file says.
        scale: factor on all durations.
        seed: of all draws.

    Raises:
        UserError: when the file does not describe the set.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        tokenizer: SyntheticTokenizer,
        num_features: int,
        number: int = 0,
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.path = Path(f"{path} ({name})")
        values = read_config(path)
        try:
            percentiles = np.asarray(values[f"{name}_percentiles"], dtype=np.float64).reshape(-1, 2).T
            number = number or int(values[f"{name}_utterances"])
            rate = float(values["tokens_per_second"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: does not describe the set {name} ({error}); see the docstring of {__name__}"
            ) from None
        self._seed = [seed, sum(name.encode())]
        generator = np.random.default_rng(self._seed)
        drawn = np.interp(100 * generator.random(number), *percentiles)
        self.durations = (np.maximum(scale * drawn, 0.01)).astype(np.float32)
        rates = rate * np.maximum(1 + RATE_SPREAD * generator.standard_normal(number), 0.3)
        self._num_tokens = np.maximum(np.rint(self.durations * rates), 1).astype(np.int32)
        self._nonblank_ids = np.array([i for i in range(tokenizer.vocab_size) if i != tokenizer.blank_id])
        self._tokenizer = tokenizer
        # The same patterns for all sets: what is learnt from one is true of the other.
        self._pattern_VF = np.random.default_rng(seed).standard_normal(
            (tokenizer.vocab_size, num_features), dtype=np.float32
        ) * np.float32(np.sqrt(SIGNAL))
        self._noise_TF = generator.standard_normal((NOISE_FRAMES, num_features), dtype=np.float32) * np.float32(
            np.sqrt(1 - SIGNAL)
        )

    def __len__(self) -> int:
        return len(self.durations)

    def __getitem__(self, number: int) -> SyntheticCut:
        """The cut with that number."""
        tokens = np.random.default_rng([*self._seed, number]).choice(self._nonblank_ids, self._num_tokens[number])
        supervision = SyntheticSupervision(self._tokenizer.decode(tokens), f"speaker-{number % 1000}")
        return SyntheticCut(f"utt-{number:06d}", float(self.durations[number]), (supervision,), tokens)

    def feature_loader(
        self, augment_config: AugmentConfig | None = None, fill_F: np.ndarray | None = None
    ) -> SyntheticFeatures:
        """The loader of its cuts. Arguments as those of `FeatureLoader`."""
        return SyntheticFeatures(self._pattern_VF, self._noise_TF, augment_config, fill_F)


class SyntheticFeatures(Loader):
    """Features of synthetic cuts, in place of a `FeatureLoader`: the frames are divided evenly among the tokens."""

    def __init__(
        self,
        pattern_VF: np.ndarray,
        noise_TF: np.ndarray,
        augment_config: AugmentConfig | None,
        fill_F: np.ndarray | None,
    ) -> None:
        self.pattern_VF, self.noise_TF = pattern_VF, noise_TF
        self.augment_config, self.fill_F = augment_config, fill_F

    def load(self, cut: SyntheticCut, generator: np.random.Generator | None = None) -> np.ndarray:
        """(T, F) float32, `FRAMES_PER_SECOND`; speed and SpecAugment as for real data."""
        return self.load_copies(cut, generator, 1)[0]

    def load_copies(self, cut: SyntheticCut, generator: np.random.Generator | None, copies: int) -> list[np.ndarray]:
        """The features several times, see `augment_copies`; otherwise as `load`."""
        config = self.augment_config
        length = FRAMES_PER_SECOND * cut.duration
        if config is not None and config.perturb_speed_on_the_fly:
            assert generator is not None, "augmentation needs a generator"
            m, n = draw_ratio(config, FRAMES_PER_SECOND, generator)
            length = length * n / m
        frames = max(round(length), 1)
        token_T = cut.tokens[np.arange(frames) * len(cut.tokens) // frames]
        # Sections of one block of noise: new draws would take longer than everything else in the loader.
        first = int(cut.tokens.sum() * 7919) % len(self.noise_TF)
        x_TF = self.pattern_VF[token_T] + self.noise_TF[(first + np.arange(frames)) % len(self.noise_TF)]
        if config is None:
            return [x_TF, *(x_TF.copy() for _ in range(copies - 1))]
        assert generator is not None, "augmentation needs a generator"
        return augment_copies(x_TF, self.fill_F, config, generator, copies)
