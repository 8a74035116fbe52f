"""The way in that docs/development.md describes: an encoder registered by a program outside the package."""

import subprocess
import sys

from rnnt.checkpoints.files import load_checkpoint

ENCODER = '''
"""Every fourth frame through a linear layer."""

from dataclasses import dataclass

from rnnt.model.encoders.config import EncoderConfig
from rnnt.options import option


@dataclass(frozen=True)
class MyConfig(EncoderConfig):
    """A toy."""

    name = "mine"

    my_dim: int = option(24, "width")


def MyEncoder(config, num_features):
    import torch

    from rnnt.model.masking import ceil_div, valid_mask

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dim = config.my_dim
            self.linear = torch.nn.Linear(num_features, self.dim)

        def forward(self, x_BTF, x_len_B):
            len_B = ceil_div(x_len_B, config.subsampling_factor)
            h_BTD = self.linear(x_BTF[:, :: config.subsampling_factor])
            return h_BTD * valid_mask(len_B, h_BTD.shape[1])[..., None], len_B

    return Encoder()
'''
PROGRAM = """
import sys

from my_encoder import MyConfig

from rnnt.model.encoders import ENCODERS
from rnnt.{program} import main

ENCODERS.add(MyConfig, "my_encoder:MyEncoder")

if __name__ == "__main__":
    main()
"""


def test_an_encoder_from_outside_trains_and_decodes(tmp_path, toy, toy_argv):
    (tmp_path / "my_encoder.py").write_text(ENCODER)
    for program in ("train", "decode"):
        (tmp_path / f"my_{program}.py").write_text(PROGRAM.format(program=program))

    def run(program, *argv):
        command = [sys.executable, f"my_{program}.py", *map(str, argv)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert "--encoder mine: A toy" in run("train", "--help")
    argv = toy_argv("exp", num_epochs=1)
    for name in ("--encoder-dim", "--encoder-layers", "--subsampling-channels"):
        at = argv.index(name)
        del argv[at : at + 2]
    run("train", *argv, "--encoder", "mine", "--my-dim", "20", "--world-size", "2")
    weights = load_checkpoint(tmp_path / "exp" / "epoch-1.pt")["model"]
    assert weights["encoder.linear.weight"].shape == (20, 8)
    few = ["--decode-sets", "dev", "--threads", 1, "--num-workers", 0]
    assert "%WER" in run("decode", "--exp-dir", "exp", "--manifest-dir", toy, *few)
