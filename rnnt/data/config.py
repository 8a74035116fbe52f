"""Options of the data side: the front-end, the batches, augmentation. Free of torch, so that --help is quick."""

from dataclasses import dataclass, fields
from pathlib import Path

from rnnt.config_files import read_config
from rnnt.errors import UserError
from rnnt.files import read_json_object
from rnnt.options import flag, from_dict, option


@dataclass(frozen=True)
class FeatureConfig:
    """Front-end.

    The only description of the features. It is stored with the cuts and in every checkpoint; a mismatch is refused.
    """

    frontend: str = option(
        "kaldi_fbank",
        "kaldi_fbank: Kaldi's filter banks; slaney_log_mel: those of the MLPerf benchmark, without silence at the ends "
        "and normalised per utterance",
        choices=["kaldi_fbank", "slaney_log_mel"],
    )
    sampling_rate: int = option(16000, "samples per second of the audio", minimum=1000, maximum=1_000_000)
    num_mel_bins: int = option(80, "number of mel filters (F)", minimum=1, maximum=1000)
    frame_length_ms: float = option(25.0, "frame length in milliseconds", above=0, maximum=1000)
    frame_shift_ms: float = option(10.0, "frame shift in milliseconds", above=0, maximum=1000)
    low_freq: float = option(20.0, "lowest frequency of the filters in Hz", minimum=0)
    high_freq: float = option(-400.0, "highest frequency in Hz; not positive: offset from half the sampling rate")
    dither: float = option(0.0, "amplitude of the noise added to the samples", minimum=0)
    snip_edges: bool = option(False, "keep only frames that fit completely into the signal")

    def __post_init__(self) -> None:
        if self.frame_shift_ms * self.sampling_rate < 1000 or self.frame_length_ms * self.sampling_rate < 2000:
            raise ValueError("--frame-shift-ms must be at least one sample long and --frame-length-ms two")
        if not self.low_freq < self.highest_freq <= self.sampling_rate / 2:
            raise ValueError(
                f"the filters go from --low-freq {self.low_freq:g} to {self.highest_freq:g} Hz (--high-freq "
                f"{self.high_freq:g}); they must rise, to at most half of --sampling-rate {self.sampling_rate}"
            )

    @property
    def frame_shift(self) -> float:
        """Frame shift in seconds."""
        return self.frame_shift_ms / 1000

    @property
    def highest_freq(self) -> float:
        """Highest frequency of the filters in Hz."""
        return self.high_freq if self.high_freq > 0 else self.sampling_rate / 2 + self.high_freq

    @property
    def is_normalized(self) -> bool:
        """Whether each utterance comes with mean 0 and variance 1."""
        return self.frontend == "slaney_log_mel"


def read_feature_config(path: str | Path) -> FeatureConfig:
    """The `FeatureConfig` in a `features.json`, which also records which library computed the features."""
    values = read_json_object(path, "sampling_rate", "num_mel_bins")
    values.pop("computed_by", None)
    return from_dict(FeatureConfig, values, path)


def read_front_end(path: str | Path) -> FeatureConfig:
    """The `FeatureConfig` of a configuration file of stage 3, whose other options are left aside."""
    known = {f.name for f in fields(FeatureConfig)}
    return from_dict(FeatureConfig, {name: value for name, value in read_config(path).items() if name in known}, path)


def check_same_features(a: FeatureConfig, b: FeatureConfig, a_location: object, b_location: object) -> None:
    """Raise `UserError` naming each field in which `a` and `b` differ, with both values and where they are from."""
    different = [
        f"{f.name} is {getattr(a, f.name)} in {a_location} and {getattr(b, f.name)} in {b_location}"
        for f in fields(FeatureConfig)
        if getattr(a, f.name) != getattr(b, f.name)
    ]
    if different:
        raise UserError(
            "the features differ: " + "; ".join(different) + "; compute them again (stage 3) or use the other model"
        )


@dataclass(frozen=True)
class BatchConfig:
    """Batches."""

    max_duration: float = option(200.0, "seconds of audio in a micro-batch, padding counted", above=0)
    batch_size: int = option(
        0, "utterances in every micro-batch, whatever their durations; 0: by --max-duration", minimum=0
    )
    num_buckets: int = option(
        1,
        "with --batch-size: groups of utterances of similar duration, from which the micro-batches of an update come; "
        "1: no groups",
        minimum=1,
    )
    max_duration_utt: float = option(
        0.0, "utterances of more than this many seconds are left out of training; 0: none", minimum=0
    )
    seed: int = option(42, "seed of the first weights, the plan, augmentation and dropout", minimum=0)
    short_first_epochs: int = option(0, "this many first epochs go from short utterances to long ones", minimum=0)
    num_workers: int = option(
        2, "processes per rank that load features; 0: the training process itself", minimum=0, maximum=1024
    )

    def __post_init__(self) -> None:
        if self.batch_size and self.short_first_epochs:
            raise ValueError("--short-first-epochs and --batch-size exclude each other")


def parse_speeds(text: str) -> tuple[float, ...]:
    """`"0.9 1.0 1.1"` -> (0.9, 1.0, 1.1); `ValueError` when it is not a list of numbers from 0.5 to 2."""
    try:
        factors = tuple(float(word) for word in text.split())
    except ValueError:
        raise ValueError(f"{text!r} is not a list of numbers") from None
    if any(not 0.5 <= factor <= 2 for factor in factors):
        raise ValueError(f"{text!r}: speed factors are from 0.5 to 2")
    return factors


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training data: speed, rooms, noise, telephone lines, gain, and SpecAugment (Park et al. 2019,
    https://arxiv.org/abs/1904.08779).

    Speed, rooms and telephone lines need features that are computed on the fly.
    """

    perturb_speed_on_the_fly: str = option(
        "",
        'speed of each utterance, drawn again in each epoch: one of several factors ("0.9 1.0 1.1") or any of a range '
        '("0.87-1.18": its length is multiplied by a factor from 1/1.18 to 1/0.87, uniform, in steps of 0.01)',
    )
    noise_manifest: str = option("", "cuts of noise (stage 4) that are mixed into the utterances; empty: none")
    noise_prob: float = option(0.5, "fraction of the utterances that get noise", minimum=0, maximum=1)
    noise_snr_min: float = option(10.0, "lowest ratio of signal to noise in decibels", minimum=-100, maximum=100)
    noise_snr_max: float = option(20.0, "highest ratio of signal to noise in decibels", minimum=-100, maximum=100)
    reverb_prob: float = option(
        0.0, "fraction of the utterances that are heard in a room, one of --rir-dir or drawn", minimum=0, maximum=1
    )
    rir_dir: str = option("", "folder of recorded impulse responses; empty: rooms are drawn")
    telephone_prob: float = option(
        0.0,
        "fraction of the utterances that are heard over a telephone line: 300 to 3400 Hz, mu-law",
        minimum=0,
        maximum=1,
    )
    gain_db: float = option(
        0.0, "each utterance is made louder or softer by up to this many decibels", minimum=0, maximum=100
    )
    enable_spec_aug: bool = option(True, "warp the time, mask bands and stretches of the features")
    spec_aug_prob: float = option(
        1.0,
        "fraction of the utterances whose time is warped, and of those that are masked; icefall: 0.9",
        minimum=0,
        maximum=1,
    )
    time_warp_factor: int = option(
        0, "a frame in the middle moves by up to this many frames, such as 80; 0: none moves", minimum=0
    )
    num_feature_masks: int = option(2, "bands of features masked per utterance", minimum=0)
    features_mask_size: int = option(27, "widest band of features", minimum=0)
    num_frame_masks: int = option(10, "stretches of frames masked per utterance", minimum=0)
    frames_mask_size: int = option(100, "longest stretch, in frames", minimum=0)
    max_frames_mask_fraction: float = option(
        0.15, "fraction of an utterance's frames that all stretches may cover", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        if self.noise_snr_min > self.noise_snr_max:
            raise ValueError("--noise-snr-min can't be above --noise-snr-max")
        if self.rir_dir and not self.reverb_prob:
            raise ValueError("--rir-dir needs --reverb-prob")
        try:
            speeds = parse_speeds(" ".join(self.perturb_speed_on_the_fly.split("-")))
        except ValueError as error:
            raise ValueError(f"--perturb-speed-on-the-fly: {error}") from None
        if "-" in self.perturb_speed_on_the_fly and (len(speeds) != 2 or speeds[0] > speeds[1]):
            raise ValueError(f"--perturb-speed-on-the-fly: {self.perturb_speed_on_the_fly!r} is not a range LOW-HIGH")

    @property
    def audio_options(self) -> list[str]:
        """The options in use that need audio."""
        names = ("perturb_speed_on_the_fly", "reverb_prob", "telephone_prob")
        return [flag(name) for name in names if getattr(self, name)]

    @property
    def speed_factors(self) -> tuple[float, ...]:
        """The factors to choose from, or () for a range."""
        return () if "-" in self.perturb_speed_on_the_fly else parse_speeds(self.perturb_speed_on_the_fly)

    @property
    def speed_range(self) -> tuple[float, ...]:
        """(lowest, highest) speed of a range, or ()."""
        return parse_speeds(" ".join(self.perturb_speed_on_the_fly.split("-"))) if not self.speed_factors else ()


@dataclass(frozen=True)
class SyntheticConfig:
    """Synthetic data, to measure speed without a corpus."""

    synthetic: str = option("", "train on and decode synthetic utterances, whose lengths this YAML file describes")
    synthetic_train: int = option(0, "training utterances; 0: as many as the file says", minimum=0)
    synthetic_dev: int = option(0, "dev utterances; 0: as many as the file says", minimum=0)
    synthetic_scale: float = option(1.0, "factor on their durations", above=0, maximum=1000)
