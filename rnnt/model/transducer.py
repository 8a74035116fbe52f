"""The transducer: encoder, predictor and joiner, and the losses that train them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from rnnt.loss import full_joiner_loss, prune_ranges, pruned_joiner_loss, smoothed_loss
from rnnt.model.config import LossConfig
from rnnt.model.encoder import ENCODERS
from rnnt.model.joiner import Joiner
from rnnt.model.layers import Linear
from rnnt.model.masking import ceil_div, valid_mask
from rnnt.model.predictor import PREDICTORS


@dataclass
class Losses:
    """Losses summed over the utterances of a batch, unscaled. Those that are not in use are None."""

    total: torch.Tensor
    simple: torch.Tensor | None
    transducer: torch.Tensor
    ctc: torch.Tensor | None
    usable_B: torch.Tensor  # False where no path exists: more tokens than the topology allows


class Transducer(nn.Module):
    """RNN-T (Graves 2012) with k2's pruned loss (Kuang et al. 2022, https://arxiv.org/abs/2206.13236).

    `config` must have `num_features` and `vocab_size` filled in.
    """

    def __init__(self, config, loss_config=None):
        super().__init__()
        if not (config.num_features and config.vocab_size):
            raise ValueError("num_features and vocab_size must be known before a model is made")
        self.config = config
        self.loss_config = loss_config or LossConfig()
        self.blank_id = config.blank_id
        self.encoder = ENCODERS[config.encoder](config)
        self.predictor = PREDICTORS[config.predictor](config)
        self.joiner = Joiner(self.encoder.dim, self.predictor.dim, config)
        if self.loss_config.loss == "pruned":
            self.simple_am_proj = Linear(self.encoder.dim, config.vocab_size)
            self.simple_lm_proj = Linear(self.predictor.dim, config.vocab_size)
        if self.loss_config.ctc_loss_scale > 0:
            self.ctc_output = Linear(self.encoder.dim, config.vocab_size)
        self.register_buffer("feature_mean", torch.zeros(config.num_features))
        self.register_buffer("feature_std", torch.ones(config.num_features))

    def set_feature_statistics(self, mean, std):
        """Mean and standard deviation of each feature over the training set, sequences of F numbers."""
        self.feature_mean.copy_(torch.as_tensor(mean))
        self.feature_std.copy_(torch.as_tensor(std).clamp(min=1e-5))

    def encode(self, x_BTF, x_len_B):
        """Padded features (B, T, F) and lengths (B,) -> encoder output h (B, T', D) and lengths (B,)."""
        x_len_B = x_len_B.to(x_BTF.device)
        x_BTF = (x_BTF - self.feature_mean) / self.feature_std
        return self.encoder(x_BTF * valid_mask(x_len_B, x_BTF.shape[1])[..., None], x_len_B)

    def forward(self, x_BTF, x_len_B, y_BS, y_len_B, simple_scale=1.0, pruned_scale=1.0):
        """Losses of a batch.

        Args:
          x_BTF, x_len_B: padded features and their lengths; lengths live on the CPU, which spares a synchronisation.
          y_BS, y_len_B: padded tokens (any id as padding) and their lengths, on the CPU.
          simple_scale, pruned_scale: weights in `total`; see `LossConfig.scales`.
        """
        h_BTD, _ = self.encode(x_BTF, x_len_B)
        h_len_B = self.encoded_lengths(x_len_B)
        y_device_BS = y_BS.to(h_BTD.device)
        y_device_BS = y_device_BS.masked_fill(~valid_mask(y_len_B.to(h_BTD.device), y_BS.shape[1]), self.blank_id)
        g_BUD = self.predictor(y_device_BS)
        options = self.loss_config
        common = {
            "blank_id": self.blank_id,
            "rnnt_type": options.rnnt_type,
            "delay_penalty": options.delay_penalty,
            "backend": options.loss_backend,
        }
        joiner = {
            "activation": self.joiner.activation,
            "dropout": self.joiner.dropout if self.training else 0.0,
            **common,
        }
        e_BTJ = self.joiner.project_encoder(h_BTD)
        p_BUJ = self.joiner.project_predictor(g_BUD)
        output = self.joiner.output
        joined = (e_BTJ, p_BUJ, output.weight, output.bias, y_device_BS)
        simple = ctc = None
        if options.loss == "pruned":
            am_BTV, lm_BUV = self.simple_am_proj(h_BTD), self.simple_lm_proj(g_BUD)
            simple_B, px_grad, py_grad = smoothed_loss(
                am_BTV,
                lm_BUV,
                y_device_BS,
                h_len_B,
                y_len_B,
                lm_only_scale=options.lm_scale,
                am_only_scale=options.am_scale,
                **common,
            )
            ranges_BTR = prune_ranges(px_grad, py_grad, h_len_B, y_len_B, options.prune_range, options.rnnt_type)
            loss_B, usable_B = pruned_joiner_loss(*joined, ranges_BTR, h_len_B, y_len_B, **joiner)
            simple = simple_B.sum()
            total = simple_scale * simple + pruned_scale * loss_B.sum()
        else:
            loss_B, usable_B = full_joiner_loss(*joined, h_len_B, y_len_B, **joiner)
            total = loss_B.sum()
        if options.ctc_loss_scale > 0:
            ctc = self._ctc_loss(h_BTD, h_len_B, y_device_BS, y_len_B)
            total = total + options.ctc_loss_scale * ctc
        return Losses(total, simple, loss_B.sum(), ctc, usable_B)

    def encoded_lengths(self, x_len_B):
        """Lengths of the encoder output for feature lengths, on the same device."""
        return ceil_div(x_len_B, self.config.subsampling_factor)

    def _ctc_loss(self, h_BTD, h_len_B, y_BS, y_len_B):
        log_probs_TBV = F.log_softmax(self.ctc_output(h_BTD).float(), dim=-1).transpose(0, 1)
        return F.ctc_loss(
            log_probs_TBV, y_BS, h_len_B, y_len_B, blank=self.blank_id, reduction="sum", zero_infinity=True
        )
