"""Everything works where the optional packages are not installed."""

import subprocess
import sys

import pytest

OPTIONAL = ["k2", "kaldifeat", "torchaudio", "kenlm", "triton", "onnx", "onnxruntime", "sherpa_onnx", "safetensors"]

PROGRAM = """
import sys
for name in {missing}:
    sys.modules[name] = None  # importing it raises ImportError
import numpy as np
from rnnt.data.config import FeatureConfig
from rnnt.data.fbank import make_extractor
from rnnt.decode import main as decode
from rnnt.train import main as train

features = make_extractor(FeatureConfig(sampling_rate=8000)).extract(np.sin(np.arange(8000.0)).astype(np.float32))
assert features.shape == (100, 80)
train({train})
decode({decode})
"""


ONE_EACH = [pytest.param([name], marks=pytest.mark.slow) for name in OPTIONAL]


@pytest.mark.parametrize("missing", [OPTIONAL, *ONE_EACH], ids=" ".join)
def test_features_training_and_decoding(tmp_path, toy, toy_argv, missing):
    exp = tmp_path / "exp"
    decode = ["--exp-dir", str(exp), "--manifest-dir", str(toy), "--decode-sets", "dev", "--num-workers", "0"]
    code = PROGRAM.format(missing=missing, train=toy_argv(exp, num_epochs=1), decode=decode)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (exp / "decode_greedy_search" / "dev" / "summary.json").exists()
