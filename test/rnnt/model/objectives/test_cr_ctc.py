"""CR-CTC: icefall's numbers, what the consistency is and is not, copies that differ in their masks alone, resume."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rnnt.checkpoints.files import load_checkpoint
from rnnt.data.augment import augment_copies, time_warp
from rnnt.data.config import AugmentConfig
from rnnt.data.dataset import PlannedBatches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.model.config import ModelConfig
from rnnt.model.objectives.base import EncodedBatch, TrainingModel, Utterances
from rnnt.model.objectives.config import CTCConfig
from rnnt.model.objectives.ctc import CTCObjective, consistency
from rnnt.model.transducer import Transducer
from rnnt.options import make
from rnnt.train import main as train
from rnnt.training.config import LossConfig
from rnnt.training.data import masks_for_losses

VECTORS = Path(__file__).parents[3] / "data" / "icefall_training.npz"


def test_losses_and_gradient_are_icefalls():
    """Two copies of three utterances: 0.5 CTC + 0.05 consistency of given encoder output and layer."""
    with np.load(VECTORS) as file:
        arrays = {name.removeprefix("crctc/"): torch.tensor(file[name]) for name in file.files if "crctc" in name}
    targets = [[3, 7, 7, 12, 5, 19, 4], [8, 2, 2, 15], [6, 11, 9]]
    network = SimpleNamespace(encoder=SimpleNamespace(dim=48), vocab_size=20, blank_id=0)
    objective = CTCObjective(network, CTCConfig(1.0, use_cr_ctc=True, cr_loss_scale=0.1))
    objective.output.load_state_dict({"weight": arrays["weight"], "bias": arrays["bias"]})
    h_BTD, h_len_B = arrays["h"].requires_grad_(), arrays["h_len"]
    network.encode, network.encoded_lengths = lambda x, _: (x, None), lambda lengths: lengths
    y_BS = torch.nn.utils.rnn.pad_sequence([torch.tensor(y) for y in targets], True)
    batch = EncodedBatch(network, Utterances(h_BTD, h_len_B, y_BS, torch.tensor([len(y) for y in targets])))
    torch.testing.assert_close(objective.log_probs(h_BTD), arrays["log_probs"], rtol=1e-5, atol=1e-6)
    loss = objective(batch, 2000)
    assert loss.terms["ctc"].item() == pytest.approx(arrays["ctc"].item(), rel=1e-6)
    assert loss.terms["cr"].item() == pytest.approx(arrays["cr"].item(), rel=1e-5)
    (loss.total / 2).backward()
    expected = arrays["h_grad_of_0.5ctc_0.05cr"]
    assert (h_BTD.grad - expected).norm() <= 1e-5 * expected.norm()
    assert objective(batch, 99).total.item() == pytest.approx(
        (loss.terms["ctc"] + 0.1 * 0.05 * loss.terms["cr"]).item()
    )


def test_consistency_is_a_divergence_without_gradient_through_its_target():
    torch.manual_seed(0)
    logits = torch.randn(4, 5, 3, dtype=torch.float64, requires_grad=True)
    h_len_B = torch.tensor([5, 2, 5, 2])
    consistency(logits.log_softmax(2), h_len_B).backward()
    p = logits.detach().softmax(2)
    q = torch.cat([p[2:], p[:2]])
    expected = (p - q) * (torch.arange(5) < h_len_B[:, None])[..., None]  # of KL(q || p) by the logits of p
    torch.testing.assert_close(logits.grad, expected)
    total = (q * (q.log() - p.log())).sum(2)[torch.arange(5) < h_len_B[:, None]].sum()
    torch.testing.assert_close(consistency(p.log(), h_len_B), total)
    assert consistency(p[:2].repeat(2, 1, 1).log(), h_len_B) == 0


@pytest.mark.parametrize("loss", ["ctc", "pruned ctc"])
def test_two_equal_copies_are_one(loss):
    torch.manual_seed(0)
    sizes = {"encoder_dim": 16, "encoder_layers": 1, "subsampling_channels": 4, "predictor_dim": 8, "joiner_dim": 8}
    network = Transducer(make(ModelConfig, **sizes, dropout=0.0, num_features=9, vocab_size=7)).eval()
    batch = Utterances(
        torch.randn(2, 40, 9), torch.tensor([40, 31]), torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    )
    twice = batch._replace(x_BTF=batch.x_BTF.repeat(2, 1, 1), x_len_B=batch.x_len_B.repeat(2))
    plain = TrainingModel(network, make(LossConfig, loss=loss).loss)
    regular = TrainingModel(network, make(LossConfig, loss=loss, use_cr_ctc=True).loss)
    regular.objectives.load_state_dict(plain.objectives.state_dict())
    one, two = plain(batch, 0), regular(twice, 0)
    torch.testing.assert_close(two.total, one.total)
    assert two.terms["cr"] == 0 and set(two.terms) == {*one.terms, "cr"}
    with pytest.raises(ValueError, match="two copies"):
        regular(batch, 0)


def test_copies_share_gain_and_warp_and_have_masks_of_their_own():
    config = AugmentConfig(gain_db=3, time_warp_factor=10, features_mask_size=4, max_frames_mask_fraction=0.4)
    x_TF = np.random.default_rng(0).standard_normal((60, 20)).astype(np.float32)
    fill_F = np.full(20, 99.0, np.float32)
    one, two = augment_copies(x_TF.copy(), fill_F, config, np.random.default_rng(1), 2)
    both = (one != 99) & (two != 99)
    assert (one != two).any() and (one[both] == two[both]).all() and 0.2 < both.mean() < 1
    generator = np.random.default_rng(1)
    gain = np.float32(generator.uniform(-3, 3) * np.log(10) / 10)
    np.testing.assert_array_equal(one[both], time_warp(x_TF + gain, 10, generator)[both])


def test_icefalls_masks():
    losses = make(LossConfig, loss="ctc", use_cr_ctc=True).loss
    scaled = masks_for_losses(AugmentConfig(), losses)
    assert (scaled.num_frame_masks, scaled.num_feature_masks, scaled.frames_mask_size) == (25, 2, 100)
    assert scaled.max_frames_mask_fraction == pytest.approx(0.375)
    assert masks_for_losses(AugmentConfig(), make(LossConfig, loss="ctc").loss) == AugmentConfig()


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_a_part_of_the_utterances_is_masked(probability):
    config = AugmentConfig(spec_aug_prob=probability)
    x_TF, fill_F = np.ones((100, 20), np.float32), np.zeros(20, np.float32)
    generator = np.random.default_rng(0)
    masked = [(augment_copies(x_TF.copy(), fill_F, config, generator, 1)[0] == 0).any() for _ in range(400)]
    assert np.mean(masked) == pytest.approx(probability, abs=0.06)


def test_a_part_of_a_batch_has_its_copies(toy):
    manifest = CutManifest(toy / "train.jsonl")
    loader = open_feature_loader(manifest, AugmentConfig(features_mask_size=3), np.zeros(8, np.float32))
    batch = PlannedBatches(manifest, [np.arange(5)], loader, seed=1, epoch=1, copies=2)[0]
    B = len(batch)
    assert (B, len(batch.x_BTF), len(batch.x_len_B)) == (5, 10, 10)
    assert not torch.equal(batch.x_BTF[:B], batch.x_BTF[B:]) and torch.equal(batch.x_len_B[:B], batch.x_len_B[B:])
    part = batch.part(slice(1, 3))
    T = part.x_BTF.shape[1]
    assert part.ids == batch.ids[1:3] and batch.x_len_B[1:3].max() == T
    for i, row in enumerate((1, 2, B + 1, B + 2)):
        assert torch.equal(part.x_BTF[i], batch.x_BTF[row, :T]) and part.x_len_B[i] == batch.x_len_B[row]
    alone = PlannedBatches(manifest, [np.arange(5)], loader, seed=1, epoch=1)[0]
    assert torch.equal(alone.x_BTF[0], batch.x_BTF[0]) and len(alone.x_BTF) == B


@pytest.mark.parametrize("loss", ["ctc", "pruned ctc"])
def test_a_stopped_training_continues_bit_for_bit(tmp_path, toy_argv, capsys, loss):
    options = {"loss": loss, "num_epochs": 1, "use_cr_ctc": "true", "num_workers": 1}
    train(toy_argv(tmp_path / "whole", **{**options, "num_workers": 0}))
    cr = re.search(r"update 5: loss .*cr ([0-9.]+)\)", capsys.readouterr().out)
    assert cr is not None and float(cr[1]) > 0
    train(toy_argv(tmp_path / "parts", max_updates=2, **options))
    train(toy_argv(tmp_path / "parts", **options))
    whole, parts = (load_checkpoint(tmp_path / name / "epoch-1.pt") for name in ("whole", "parts"))
    for part in ("model", "objectives"):
        assert all(torch.equal(value, parts[part][name]) for name, value in whole[part].items())
