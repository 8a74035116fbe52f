"""utils/new_recipe.sh, and a copied recipe that takes another corpus from its audio to an error rate."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rnnt.data.audio import write_audio

ROOT = Path(__file__).resolve().parents[2]
WORDS = {"lo": 300, "mid": 900, "hi": 2100}


@pytest.fixture
def checkout(tmp_path):
    """A checkout of its own, with the programs and two recipes of this one."""
    for name in ("rnnt", "local", "utils", "tools", "setup.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    for recipe in ("librispeech", "template"):
        shutil.copytree(
            ROOT / "egs" / recipe / "ASR",
            tmp_path / "egs" / recipe / "ASR",
            ignore=shutil.ignore_patterns("data", "exp", "download", "__pycache__"),
        )
    return tmp_path


def new_recipe(checkout, *arguments):
    return subprocess.run([checkout / "utils/new_recipe.sh", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("recipe", ["template", "librispeech"])
def test_a_recipe_without_its_data(checkout, recipe):
    source = checkout / "egs" / recipe / "ASR"
    # The results of another corpus are left behind like its data.
    expected = sorted(str(p.relative_to(source)) for p in source.rglob("*") if p.name != "RESULTS.md")
    for name in ("data", "exp"):
        (source / name).mkdir()
    (source / "RESULTS.md").touch()
    options = [] if recipe == "template" else ["--from", recipe]
    result = new_recipe(checkout, *options, "mine")
    assert result.returncode == 0, result.stderr
    mine = checkout / "egs" / "mine" / "ASR"
    assert sorted(str(p.relative_to(mine)) for p in mine.rglob("*")) == expected
    assert "egs/mine/ASR/run.sh --import" in result.stdout
    assert sorted(p.name for p in (checkout / "egs").iterdir()) == ["librispeech", "mine", "template"]


def test_bad_names_are_refused(checkout):
    for arguments, message in (
        (["template"], "already exists"),
        (["a/b"], "a name is letters"),
        (["--from", "none", "x"], "no such recipe; --from is one of librispeech template"),
        ([], "expected one name, got 0"),
    ):
        result = new_recipe(checkout, *arguments)
        assert result.returncode == 1 and message in result.stderr
        assert sorted(p.name for p in (checkout / "egs").iterdir()) == ["librispeech", "template"]


def write_kaldi(folder, number, seed):
    """A Kaldi directory of `number` utterances of tones, 8000 samples per second, with lower-case words."""
    generator = np.random.default_rng(seed)
    files = {"wav.scp": [], "text": [], "utt2spk": []}
    for i in range(number):
        words = [list(WORDS)[k] for k in generator.integers(0, 3, 3)]
        tones = [np.sin(2 * np.pi * WORDS[word] * np.arange(2400) / 8000) for word in words]
        samples = 0.2 * np.concatenate(tones) + 0.01 * generator.standard_normal(7200)
        name = f"caller{i % 2}_call-{seed}-{i}"
        folder.mkdir(parents=True, exist_ok=True)
        write_audio(folder / f"{name}.wav", samples, 8000)
        for file, value in (("wav.scp", f"{name}.wav"), ("text", " ".join(words)), ("utt2spk", f"caller{i % 2}")):
            files[file].append(f"{name} {value}\n")
    for file, lines in files.items():
        (folder / file).write_text("".join(lines))


@pytest.mark.slow
def test_the_copy_takes_another_corpus_to_an_error_rate(checkout):
    assert new_recipe(checkout, "--from", "librispeech", "calls").returncode == 0
    for seed, (name, number) in enumerate({"ask": 12, "check": 4, "final": 4}.items()):
        write_kaldi(checkout / "corpus" / name, number, seed)
    result = subprocess.run(
        [
            checkout / "egs/calls/ASR/run.sh",
            *("--import", "train=corpus/ask dev=corpus/check exam=corpus/final", "--nj", "1", "--vocab-size", "12"),
            *("--config", "conf/small.yaml", "--decode-methods", "greedy_search", "--train-opts"),
            "--num-epochs 2 --encoder-dim 32 --encoder-layers 1 --joiner-dim 16 --predictor-dim 16 --threads 1",
        ],
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    recipe = checkout / "egs/calls/ASR"
    for name in ("dev", "exam"):
        wer = (recipe / f"exp/small/decode_greedy_search/{name}/wer").read_text()
        assert re.match(r"%WER \d+\.\d+ \[ \d+ / 12, ", wer)
    assert "12 of 12 utterances kept" in result.stdout
    assert "8000 samples/s are resampled to 16000" in result.stdout
    assert "exam" in result.stdout.split("decoding: ")[-1]
