"""The first hours of three users: the commands of README, from_kaldi.md and from_icefall.md run as they stand.

They run in a checkout of their own, on tiny corpora, with a small model in the recipe's conf/train.yaml. The seconds to
the first result of each are printed (`pytest -s`). The Python user's pieces: test_python.py.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from rnnt.data.audio import write_audio

ROOT = Path(__file__).resolve().parents[2]
SMALL = """\
subsampling_factor: 4
encoder: lstm
encoder_dim: 24
encoder_layers: 1
predictor_dim: 24
joiner_dim: 24
base_lr: 5.0e-3
warmup_steps: 5
max_duration: 10
num_epochs: 3
threads: 1
"""
ZIPFORMER = """\
encoder: zipformer
embed_channels: [4, 8, 8]
num_encoder_layers: [1, 1]
downsampling_factor: [1, 2]
encoder_dim: [24, 32]
encoder_unmasked_dim: [24, 24]
feedforward_dim: [32, 48]
num_heads: [2, 2]
cnn_module_kernel: [7, 7]
icefall_predictor: true
predictor_dim: 24
joiner_dim: 24
normalize_features: false
loss: pruned
max_duration: 20
num_epochs: 3
threads: 1
"""
# What an icefall user brings: a model and its tokens, here of a training of this checkout.
FROM_ICEFALL = """\
./prepare.sh --import "train=/corpus/train dev=/corpus/dev test=/corpus/test" --vocab-size 500
. ./path.sh
train.py --config conf/zipformer-m.yaml --exp-dir exp/source --num-epochs 1
export_model.py --format icefall --exp-dir exp/source --out icefall/exp
mkdir icefall/data
cp -r data/lang_bpe_500 icefall/data
"""


def words(generator, number):
    """Pseudo-words of two syllables, so that word pieces are found in them."""
    syllables = [c + v for c in "bdfgklmnprst" for v in "aeiou"]
    return [" ".join("".join(generator.choice(syllables, 2)) for _ in range(4)) for _ in range(number)]


def write_corpus(folder):
    """Kaldi data directories in `train`, `dev`, `test` of the folder and its `data`, and test.tsv: noise with texts."""
    for seed, (name, number) in enumerate({"train": 120, "dev": 2, "test": 2}.items()):
        generator = np.random.default_rng(seed)
        lines = {"wav.scp": [], "text": [], "utt2spk": []}
        table = ["audio\ttext\n"]
        (folder / name).mkdir(parents=True)
        for i, text in enumerate(words(generator, number)):
            speaker = f"{name}{i % 6}"
            path = folder / name / f"{speaker}-{i:03}.wav"
            write_audio(path, 0.1 * generator.standard_normal(24000).astype(np.float32), 16000)
            for file, value in (("wav.scp", path), ("text", text), ("utt2spk", speaker)):
                lines[file].append(f"{path.stem} {value}\n")
            table.append(f"{path}\t{text}\n")
        for file, content in lines.items():
            (folder / name / file).write_text("".join(sorted(content)))
        (folder / f"{name}.tsv").write_text("".join(table))
    (folder / "data").symlink_to(folder)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout that shares the programs of this one, with the template and a corpus in `corpus`."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("rnnt", "local", "utils", "tools", "setup.py", "docs"):
        (folder / name).symlink_to(ROOT / name)
    ignored = shutil.ignore_patterns("data", "exp", "download", "__pycache__")
    shutil.copytree(ROOT / "egs/template/ASR", folder / "egs/template/ASR", ignore=ignored)
    (folder / "egs/template/ASR/conf/train.yaml").write_text(SMALL)
    write_corpus(folder / "corpus")
    return folder


@pytest.fixture
def block_of(fenced):
    """`block_of(page, words)`: the block of commands of a page with these words, by default that of a new recipe."""

    def find(page, words="new_recipe.sh mycorpus"):
        (block,) = (b for b in fenced((ROOT / page).read_text(encoding="utf-8")) if words in b)
        return block

    return find


def run(checkout, block, where):
    """Run a block in a folder of the checkout; its corpora are those of the checkout."""
    script = re.sub(r"(?<==)/corpus\b", str(checkout / "corpus"), block)
    environment = {**os.environ, "RNNT_VENV": os.environ.get("RNNT_VENV", sys.prefix), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = ["bash", "-euxo", "pipefail", "-c", script]
    result = subprocess.run(command, cwd=checkout / where, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def report(who, began, result):
    """Print how long the first result took, the file `result`."""
    print(f"\n{who}: first result after {result.stat().st_mtime - began:.0f} s, all after {time.time() - began:.0f} s")


@pytest.mark.slow
def test_a_newcomer_with_a_corpus_of_their_own(checkout, block_of):
    block = block_of("README.md")
    began, recipe = time.time(), checkout / "egs/mycorpus/ASR"
    speech = f"cp {checkout}/corpus/test/test0-000.wav egs/mycorpus/ASR/speech.wav\n"
    name, rest = block.split("\n", 1)
    try:
        out = run(checkout, f"{name}\n{speech}{rest}", ".")
        first = min(recipe.glob("exp/train/decode_*/test/wer"), key=lambda path: path.stat().st_mtime)
        report("a newcomer", began, first)
    finally:
        shutil.rmtree(checkout / "egs/mycorpus", ignore_errors=True)
    assert "P(B<A)" in out and "my_model: " in out and "my_graphs: " in out


@pytest.mark.slow
def test_a_user_of_kaldi(checkout, block_of):
    began, recipe = time.time(), checkout / "egs/mycorpus/ASR"
    try:
        out = run(checkout, block_of("docs/from_kaldi.md"), ".")
        first = min(recipe.glob("exp/train/decode_*/test/wer"), key=lambda path: path.stat().st_mtime)
        report("a user of Kaldi", began, first)
    finally:
        shutil.rmtree(checkout / "egs/mycorpus", ignore_errors=True)
    assert "modified_beam_search" in out


@pytest.mark.slow
def test_a_user_of_icefall(checkout, block_of):
    recipe = checkout / "egs/mycorpus/ASR"
    try:
        run(checkout, "utils/new_recipe.sh mycorpus", ".")
        (recipe / "conf/zipformer-m.yaml").write_text(ZIPFORMER)
        settings = (
            (ROOT / "egs/librispeech/ASR/conf/finetune.yaml").read_text().replace("num_epochs: 20", "num_epochs: 3")
        )
        (recipe / "conf/finetune.yaml").write_text(settings)
        shutil.copy(checkout / "corpus/test/test0-000.wav", recipe / "speech.wav")
        run(checkout, FROM_ICEFALL, "egs/mycorpus/ASR")
        began = time.time()
        run(checkout, ". ./path.sh\n" + block_of("docs/from_icefall.md", "import_icefall.py"), "egs/mycorpus/ASR")
        first = min(recipe.glob("exp/*/decode_*/test/wer"), key=lambda path: path.stat().st_mtime)
        report("a user of icefall", began, first)
        assert {p.name for p in (recipe / "for-icefall").iterdir()} == {"pretrained.pt", "bpe.model", "tokens.txt"}
    finally:
        shutil.rmtree(checkout / "egs/mycorpus", ignore_errors=True)
