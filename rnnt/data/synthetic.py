"""Made-up data with the lengths of a real corpus, to measure speed without it.

Durations follow percentiles from a file, tokens come at a rate that varies a little. Each token has a pattern of
features of its own, under noise, so that a model can learn them. All is a pure function of a seed.
"""

from dataclasses import dataclass

import numpy as np

from rnnt.data.augment import augment
from rnnt.data.perturb import draw_ratio
from rnnt.errors import UserError
from rnnt.options import read_config

RATE_SPREAD = 0.12  # standard deviation of the tokens a second, as a share of their mean
SIGNAL = 0.7  # share of a token's pattern in the variance of its frames
NOISE_FRAMES = 1 << 14
FRAMES_PER_SECOND = 100


class SyntheticTokenizer:
    """Tokens that are written as `t17`, a word each; blank is not written. In place of a `Tokenizer`."""

    unk_id = -1

    def __init__(self, vocab_size, blank_id):
        self.vocab_size, self.blank_id = vocab_size, blank_id
        self.pieces = [f"t{i}" for i in range(vocab_size)]

    def encode(self, text):
        """The token ids of `text`."""
        return [int(word[1:]) for word in text.split()]

    def decode(self, ids):
        """The text of token ids."""
        return " ".join(self.pieces[i] for i in map(int, ids) if i != self.blank_id)


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


class SyntheticManifest:
    """Utterances by number, in place of a `CutManifest`.

    Args:
      path: YAML file with, for each set, `<set>_percentiles` (percent and seconds by turns) and
        `<set>_utterances`, and `tokens_per_second`.
      name: set.
      tokenizer: `SyntheticTokenizer`.
      num_features: F.
      number: utterances; 0: as many as the file says.
      scale: factor on all durations.
      seed: integer.
    """

    def __init__(self, path, name, tokenizer, num_features, number=0, scale=1.0, seed=0):
        self.path = f"{path} ({name})"
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
        self._labels = np.array([i for i in range(tokenizer.vocab_size) if i != tokenizer.blank_id])
        self._tokenizer = tokenizer
        # The same patterns for all sets: what is learnt from one holds for the other.
        self._pattern_VF = np.random.default_rng(seed).standard_normal(
            (tokenizer.vocab_size, num_features), dtype=np.float32
        ) * np.float32(np.sqrt(SIGNAL))
        self._noise_TF = generator.standard_normal((NOISE_FRAMES, num_features), dtype=np.float32) * np.float32(
            np.sqrt(1 - SIGNAL)
        )

    def __len__(self):
        return len(self.durations)

    def __getitem__(self, number):
        """The cut with that number."""
        tokens = np.random.default_rng([*self._seed, number]).choice(self._labels, self._num_tokens[number])
        supervision = SyntheticSupervision(self._tokenizer.decode(tokens), f"speaker-{number % 1000}")
        return SyntheticCut(f"utt-{number:06d}", float(self.durations[number]), (supervision,), tokens)

    def feature_loader(self, augment_config=None, fill_F=None):
        """Makes the features of its cuts. Arguments as those of `FeatureLoader`."""
        return SyntheticFeatures(self._pattern_VF, self._noise_TF, augment_config, fill_F)


class SyntheticFeatures:
    """Features of synthetic cuts, in place of a `FeatureLoader`: the tokens of an utterance share its frames evenly."""

    def __init__(self, pattern_VF, noise_TF, augment_config, fill_F):
        self.pattern_VF, self.noise_TF = pattern_VF, noise_TF
        self.augment_config, self.fill_F = augment_config, fill_F

    def load(self, cut, generator=None):
        """(T, F) float32 numpy, `FRAMES_PER_SECOND`; speed and SpecAugment as for real data."""
        frames = FRAMES_PER_SECOND * cut.duration
        if self.augment_config is not None and self.augment_config.perturb_speed_on_the_fly:
            m, n = draw_ratio(self.augment_config, FRAMES_PER_SECOND, generator)
            frames = frames * n / m
        frames = max(round(frames), 1)
        token_T = cut.tokens[np.arange(frames) * len(cut.tokens) // frames]
        # Pieces of one block of noise: drawing anew would take longer than all else in the loader.
        first = int(cut.tokens.sum() * 7919) % len(self.noise_TF)
        x_TF = self.pattern_VF[token_T] + self.noise_TF[(first + np.arange(frames)) % len(self.noise_TF)]
        return x_TF if self.augment_config is None else augment(x_TF, self.fill_F, self.augment_config, generator)
