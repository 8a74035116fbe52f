"""Options of the losses, a class each. Free of torch, so that --help is quick."""

from dataclasses import dataclass
from typing import ClassVar

from rnnt.loss.durations import check_durations
from rnnt.options import option


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the configurations of all losses have."""

    name: ClassVar[str]
    needs_transducer: ClassVar[bool] = True  # predictor and joiner
    # Whether a search can use the objective, whose layers are then exported.
    has_search_head: ClassVar[bool] = False

    @property
    def copies(self) -> int:
        """Of the features of each batch, with masks of their own, over which the loss is computed."""
        return 1

    @property
    def time_masks(self) -> float:
        """Factor on number and share of the frames that these masks hide."""
        return 1.0


@dataclass(frozen=True)
class JoinerLossConfig(ObjectiveConfig):
    """What the losses of the joiner have."""

    loss_backend: str = option(
        "auto", "who computes the transducer loss; auto: native", choices=["auto", "k2", "native", "reference"]
    )
    delay_penalty: float = option(0.0, "penalty per frame of delay of a token; 0: none", minimum=0)


@dataclass(frozen=True)
class TransducerLossConfig(JoinerLossConfig):
    """What the losses of a transducer without durations have."""

    rnnt_type: str = option("regular", "lattice topology", choices=["regular", "modified", "constrained"])


@dataclass(frozen=True)
class PrunedConfig(TransducerLossConfig):
    """Simple loss, and k2's pruned transducer loss."""

    name = "pruned"

    prune_range: int = option(5, "tokens per frame that the pruned loss looks at (R)", minimum=2)
    lm_scale: float = option(0.25, "weight of the predictor-only scores in the simple loss", minimum=0, below=1)
    am_scale: float = option(0.0, "weight of the encoder-only scores in the simple loss", minimum=0, below=1)
    simple_loss_scale: float = option(0.5, "weight of the simple loss after the warm-up", minimum=0)
    proj_init_scale: float = option(
        1.0, "factor on the first weights of the heads of the simple loss; icefall: 0.25", above=0
    )
    warm_step: int = option(2000, "updates over which the pruned loss takes over from the simple loss", minimum=0)

    def __post_init__(self) -> None:
        if self.lm_scale + self.am_scale >= 1:
            raise ValueError("--lm-scale and --am-scale must add up to less than 1")

    def scales(self, step: int) -> tuple[float, float]:
        """Weights `(simple, pruned)` at update `step`, as icefall's zipformer recipe ramps them."""
        if step >= self.warm_step:
            return self.simple_loss_scale, 1.0
        done = step / self.warm_step
        return 1.0 - done * (1.0 - self.simple_loss_scale), 0.1 + 0.9 * done


@dataclass(frozen=True)
class FullConfig(TransducerLossConfig):
    """Transducer loss over the complete lattice."""

    name = "full"


@dataclass(frozen=True)
class TDTConfig(JoinerLossConfig):
    """Transducer loss over tokens and durations, all paths."""

    name = "tdt"
    has_search_head = True

    durations: list[int] = option(
        [0, 1, 2, 3, 4], "frames that a token or blank may last; only tokens may last none", minimum=0, nonempty=True
    )
    sigma: float = option(
        0.02, "subtracted in training from each log-probability of a token or blank: longer jumps", minimum=0
    )
    omega: float = option(
        0.1, "probability that a micro-batch is trained with the loss without durations", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        check_durations(self.durations)
        if self.loss_backend == "k2":
            raise ValueError("--loss-backend k2: k2 has no loss with durations; leave the option out")


@dataclass(frozen=True)
class CTCConfig(ObjectiveConfig):
    """CTC loss of a linear layer on the encoder's output."""

    name = "ctc"
    needs_transducer = False
    has_search_head = True

    ctc_loss_scale: float = option(0.2, "weight of the CTC loss; without CTC leave ctc out of --loss", above=0)
    ctc_dropout: float = option(0.0, "dropout before the CTC layer; icefall: 0.1", minimum=0, below=1)
    use_cr_ctc: bool = option(
        False, "consistency regularisation: two differently masked copies of each batch must get the same probabilities"
    )
    cr_loss_scale: float = option(0.2, "with --use-cr-ctc: weight of the difference between the copies", above=0)
    time_mask_ratio: float = option(
        2.5, "with --use-cr-ctc: factor on --num-frame-masks and --max-frames-mask-fraction", above=0
    )
    warm_step: int = option(2000, "updates over which --cr-loss-scale is reached", minimum=0)

    @property
    def copies(self) -> int:
        """Two with --use-cr-ctc."""
        return 2 if self.use_cr_ctc else 1

    @property
    def time_masks(self) -> float:
        """--time-mask-ratio, with --use-cr-ctc."""
        return self.time_mask_ratio if self.use_cr_ctc else 1.0

    def consistency_scale(self, step: int) -> float:
        """Weight of the consistency at update `step` (from 0), which rises linearly as in icefall."""
        return self.cr_loss_scale * min(1.0, (step + 1) / max(self.warm_step, 1))
