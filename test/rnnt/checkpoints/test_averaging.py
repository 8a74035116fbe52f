"""From checkpoints to the model that decodes."""

import pytest
import torch

from rnnt.checkpoints.averaging import average_states, load_for_decoding
from rnnt.checkpoints.config import Selection
from rnnt.checkpoints.files import load_checkpoint
from rnnt.data.dataset import open_batches
from rnnt.data.feature_loader import open_feature_loader
from rnnt.data.manifest import CutManifest
from rnnt.errors import UserError
from rnnt.train import main


def test_average_is_the_mean_and_leaves_integers():
    states = [
        {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(1)},
        {"w": torch.tensor([3.0, 5.0]), "n": torch.tensor(2)},
    ]
    mean = average_states(states)
    assert mean["w"].tolist() == [2.0, 4.0] and mean["n"].item() == 2


@pytest.fixture
def exp(tmp_path, toy_argv):
    main(toy_argv(tmp_path / "exp", num_epochs=3, save_every_n=4))
    return tmp_path / "exp"


def test_one_checkpoint_is_taken_as_it_is(exp):
    found = load_for_decoding(exp, Selection(epoch=2))
    model, name = found.network, found.name
    assert name == "epoch-2-avg-1" and not model.training
    stored = load_checkpoint(exp / "epoch-2.pt")["model"]
    found_weights = model.state_dict()
    assert all(torch.equal(value, found_weights[key]) for key, value in stored.items())
    assert all(key in stored or key.startswith("heads.ctc.") for key in found_weights)
    assert found.features.num_mel_bins == 8 and found.tokenizer.vocab_size == model.vocab_size


def test_average_has_statistics_of_its_own(exp, toy):
    found = load_for_decoding(exp, Selection(epoch=3, avg=2))
    model, name = found.network, found.name
    assert name == "epoch-3-avg-2"
    stored = [load_checkpoint(exp / f"epoch-{n}.pt")["model"] for n in (2, 3)]
    key = "joiner.output.weight"
    torch.testing.assert_close(model.state_dict()[key], (stored[0][key] + stored[1][key]) / 2)
    # The input's statistics don't depend on the weights: the first convolution's output is linear in them.
    norm = model.encoder.subsampling.norms[0]
    assert not torch.equal(norm.running_mean, stored[1]["encoder.subsampling.norms.0.running_mean"])
    outputs = []
    model.encoder.subsampling.convs[0].register_forward_hook(lambda m, i, o: outputs.append(o))
    with torch.no_grad():
        manifest = CutManifest(toy / "train.jsonl")
        for batch in open_batches(manifest, open_feature_loader(manifest), 6):
            model.encode(batch.x_BTF, batch.x_len_B)
    mean = torch.stack([o.mean((0, 2, 3)) for o in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, atol=0.15, rtol=0.15)
    again = load_for_decoding(exp, Selection(epoch=3, avg=2)).network
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))


def test_best_and_iteration(exp):
    assert load_for_decoding(exp, Selection(best=2)).name == "best-2"
    assert load_for_decoding(exp, Selection(iter=4)).name == "iter-4-avg-1"


@pytest.mark.parametrize(
    "selection, words",
    [
        (Selection(epoch=9), "epoch-9.pt is not there"),
        (Selection(iter=5), "checkpoint-5.pt is not there"),
        (Selection(best=7), "only 3 scored epochs"),
    ],
)
def test_what_is_not_there_is_named(exp, selection, words):
    with pytest.raises(UserError, match=words):
        load_for_decoding(exp, selection)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="train first"):
        load_for_decoding(tmp_path, Selection())
    (tmp_path / "checkpoint-40.pt").touch()
    with pytest.raises(UserError, match="no epoch-N.pt in it; take --iter 40, of checkpoint-40.pt"):
        load_for_decoding(tmp_path, Selection())
