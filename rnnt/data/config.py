"""Options of the data side: the front-end, the batches, augmentation. Free of torch, so that --help is quick."""

from dataclasses import dataclass, fields

from rnnt.errors import UserError
from rnnt.files import read_json
from rnnt.options import from_dict, option


@dataclass(frozen=True)
class FeatureConfig:
    """Front-end.

    The one description of the features. It is stored with the cuts and in every checkpoint; a mismatch is refused.
    """

    frontend: str = option(
        "kaldi_fbank",
        "kaldi_fbank: Kaldi's filter banks; slaney_log_mel: those of the MLPerf benchmark, without silence at the ends "
        "and normalised for each utterance",
        choices=["kaldi_fbank", "slaney_log_mel"],
    )
    sampling_rate: int = option(16000, "samples a second of the audio")
    num_mel_bins: int = option(80, "number of mel filters (F)")
    frame_length_ms: float = option(25.0, "length of a frame")
    frame_shift_ms: float = option(10.0, "distance of two frames")
    low_freq: float = option(20.0, "lowest frequency of the filters in Hz")
    high_freq: float = option(-400.0, "highest frequency in Hz; not positive: offset from half the sampling rate")
    dither: float = option(0.0, "amplitude of the noise added to the samples")
    snip_edges: bool = option(False, "keep only frames that fit wholly into the signal")

    def __post_init__(self):
        if self.sampling_rate < 1000 or self.num_mel_bins < 1:
            raise ValueError("sampling_rate must be at least 1000 and num_mel_bins at least 1")

    @property
    def frame_shift(self):
        """Distance of two frames in seconds."""
        return self.frame_shift_ms / 1000

    @property
    def highest_freq(self):
        """Highest frequency of the filters in Hz."""
        return self.high_freq if self.high_freq > 0 else self.sampling_rate / 2 + self.high_freq

    @property
    def is_normalized(self):
        """Whether each utterance comes with mean 0 and variance 1."""
        return self.frontend == "slaney_log_mel"


def read_feature_config(path):
    """The `FeatureConfig` in a `features.json`, which also records who computed the features."""
    values = read_json(path)
    values.pop("computed_by", None)
    return from_dict(FeatureConfig, values, path)


def check_same_features(ours, theirs, our_place, their_place):
    """Raise `UserError` naming each field in which two `FeatureConfig`s differ, with both values."""
    different = [
        f"{f.name} is {getattr(ours, f.name)} in {our_place} and {getattr(theirs, f.name)} in {their_place}"
        for f in fields(FeatureConfig)
        if getattr(ours, f.name) != getattr(theirs, f.name)
    ]
    if different:
        raise UserError(
            "the features differ: " + "; ".join(different) + "; compute them again (stage 3) or use the other model"
        )


@dataclass(frozen=True)
class BatchConfig:
    """Batches."""

    max_duration: float = option(200.0, "seconds of audio in a micro-batch, padding counted")
    batch_size: int = option(0, "utterances in every micro-batch, whatever their durations; 0: by --max-duration")
    num_buckets: int = option(
        1, "with --batch-size: groups of like durations, from which the micro-batches of an update come; 1: no groups"
    )
    max_duration_utt: float = option(0.0, "longer utterances are not trained on, in seconds; 0: all are")
    seed: int = option(42, "seed of the plan, of augmentation and of dropout")
    short_first_epochs: int = option(0, "that many first epochs go from short utterances to long ones")
    num_workers: int = option(2, "processes that load features, for each rank; 0: the training process itself")

    def __post_init__(self):
        if self.max_duration <= 0:
            raise ValueError("--max-duration must be positive")
        if self.batch_size < 0 or self.num_buckets < 1 or self.max_duration_utt < 0:
            raise ValueError("--batch-size and --max-duration-utt can't be negative, --num-buckets is at least 1")
        if self.batch_size and self.short_first_epochs:
            raise ValueError("--short-first-epochs and --batch-size exclude each other")
        if self.num_workers < 0:
            raise ValueError("--num-workers can't be negative")


def parse_speeds(text):
    """`"0.9 1.0 1.1"` -> (0.9, 1.0, 1.1). Raises ValueError on what is no list of numbers from 0.5 to 2."""
    try:
        factors = tuple(float(word) for word in text.split())
    except ValueError:
        raise ValueError(f"{text!r} is no list of numbers") from None
    if any(not 0.5 <= factor <= 2 for factor in factors):
        raise ValueError(f"{text!r}: speed factors are from 0.5 to 2")
    return factors


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training data: speed, noise, gain, SpecAugment (Park et al. 2019, https://arxiv.org/abs/1904.08779).

    Speed needs features that are computed on the fly.
    """

    perturb_speed_on_the_fly: str = option(
        "",
        'speed of each utterance, drawn anew in each epoch: one of several factors ("0.9 1.0 1.1") or any of a range '
        '("0.87-1.18": its length is multiplied by a factor from 1/1.18 to 1/0.87, uniform, in steps of 0.01)',
    )
    noise_manifest: str = option("", "cuts of noise (stage 4) that are mixed into the utterances; empty: none")
    noise_prob: float = option(0.5, "share of the utterances that get noise")
    noise_snr_min: float = option(10.0, "lowest ratio of signal to noise in decibels")
    noise_snr_max: float = option(20.0, "highest ratio of signal to noise in decibels")
    gain_db: float = option(0.0, "each utterance is made louder or softer by up to this many decibels")
    enable_spec_aug: bool = option(True, "warp the time, mask bands and stretches of the features")
    time_warp_factor: int = option(
        0, "a frame in the middle moves by up to this many frames, such as 80; 0: none moves"
    )
    num_feature_masks: int = option(2, "bands of features masked in an utterance")
    features_mask_size: int = option(27, "widest band of features")
    num_frame_masks: int = option(10, "stretches of frames masked in an utterance")
    frames_mask_size: int = option(100, "longest stretch, in frames")
    max_frames_mask_fraction: float = option(0.15, "share of an utterance's frames that all stretches may cover")

    def __post_init__(self):
        if not 0 <= self.max_frames_mask_fraction <= 1:
            raise ValueError("--max-frames-mask-fraction must be in [0, 1]")
        if not 0 <= self.noise_prob <= 1:
            raise ValueError("--noise-prob must be in [0, 1]")
        if self.noise_snr_min > self.noise_snr_max:
            raise ValueError("--noise-snr-min can't be above --noise-snr-max")
        if self.gain_db < 0 or self.time_warp_factor < 0:
            raise ValueError("--gain-db and --time-warp-factor can't be negative")
        try:
            speeds = parse_speeds(" ".join(self.perturb_speed_on_the_fly.split("-")))
        except ValueError as error:
            raise ValueError(f"--perturb-speed-on-the-fly: {error}") from None
        if "-" in self.perturb_speed_on_the_fly and (len(speeds) != 2 or speeds[0] > speeds[1]):
            raise ValueError(f"--perturb-speed-on-the-fly: {self.perturb_speed_on_the_fly!r} is no range LOW-HIGH")

    @property
    def speed_factors(self):
        """The factors to choose from, or () for a range."""
        return () if "-" in self.perturb_speed_on_the_fly else parse_speeds(self.perturb_speed_on_the_fly)

    @property
    def speed_range(self):
        """(lowest, highest) speed of a range, or ()."""
        return parse_speeds(" ".join(self.perturb_speed_on_the_fly.split("-"))) if not self.speed_factors else ()


@dataclass(frozen=True)
class SyntheticConfig:
    """Synthetic data, to measure speed without a corpus."""

    synthetic: str = option("", "train on and decode made-up utterances, whose lengths this YAML file describes")
    synthetic_train: int = option(0, "training utterances; 0: as many as the file says")
    synthetic_dev: int = option(0, "dev utterances; 0: as many as the file says")
    synthetic_scale: float = option(1.0, "factor on their durations")

    def __post_init__(self):
        if min(self.synthetic_train, self.synthetic_dev) < 0 or self.synthetic_scale <= 0:
            raise ValueError("--synthetic-train and --synthetic-dev can't be negative, --synthetic-scale is positive")
