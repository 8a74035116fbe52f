"""tools/build_kaldifeat.py: the source package as it is published compiles against this torch."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build_kaldifeat():
    spec = importlib.util.spec_from_file_location("build_kaldifeat", ROOT / "tools" / "build_kaldifeat.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sources_leave_out_the_tests(build_kaldifeat, tmp_path):
    for name in ("feature-fbank.cc", "feature-window-test.cc", "test_kaldifeat.cc", "feature-fbank.h"):
        path = tmp_path / "kaldifeat/csrc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "kaldifeat/python/csrc").mkdir(parents=True)
    (tmp_path / "kaldifeat/python/csrc/utils.cc").touch()
    assert build_kaldifeat.sources(tmp_path) == ["kaldifeat/csrc/feature-fbank.cc", "kaldifeat/python/csrc/utils.cc"]


def test_cached_wheel_fits_torch_and_python(build_kaldifeat, tmp_path):
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    names = [f"kaldifeat-1.24+torch2.8.0-{t}-{t}-linux_x86_64.whl" for t in ("cp38", tag)]
    for name in names:
        (tmp_path / name).touch()
    assert build_kaldifeat.cached_wheel(tmp_path, "1.24+torch2.8.0").name == names[1]
    assert build_kaldifeat.cached_wheel(tmp_path, "1.24+torch2.9.0") is None


@pytest.mark.slow
def test_built_kaldifeat_computes_what_lhotse_computes(tmp_path):
    """Into a folder of its own: the environment stays as it is. The wheel is kept in tools/cache."""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    build = [sys.executable, ROOT / "tools/build_kaldifeat.py", "--cache", ROOT / "tools/cache", "--target", tmp_path]
    result = subprocess.run(build, capture_output=True, text=True)
    if "No matching distribution" in result.stderr:
        pytest.skip("the source package can't be downloaded")
    assert result.returncode == 0, result.stderr[-3000:]
    code = """
import kaldifeat, lhotse, numpy, torch
options = kaldifeat.FbankOptions()
options.frame_opts.dither = 0
options.frame_opts.snip_edges = False
options.mel_opts.num_bins = 80
options.mel_opts.high_freq = -400
samples = 0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(1))
ours = kaldifeat.Fbank(options)(samples).numpy()
theirs = lhotse.Fbank(lhotse.FbankConfig(num_filters=80)).extract(samples.numpy(), 16000)
difference = numpy.abs(ours - theirs)
print(ours.shape == theirs.shape, difference.mean(), numpy.quantile(difference, 0.999))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    same_shape, mean, nearly_all = result.stdout.split()
    # A bin of almost no energy has a logarithm that rounding moves further.
    assert same_shape == "True" and float(mean) < 1e-5 and float(nearly_all) < 1e-4
